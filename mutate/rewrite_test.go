package main

import (
	"go/importer"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// sourceOf is a package with a function of this body. Its files are those of the real one, with no imports.
func sourceOf(t *testing.T, declarations string) *source {
	t.Helper()
	s := &source{importPath: "example.test/module/p", path: "p", name: "p", fset: token.NewFileSet()}
	if err := s.parse("p.go", []byte("package p\n"+declarations)); err != nil {
		t.Fatal(err)
	}
	if err := s.check(importer.ForCompiler(s.fset, "source", nil)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEachChangeIsCompiledInBesideTheCodeItself(t *testing.T) {
	for _, test := range []struct {
		name, code, rewritten string
		changes               []string
	}{
		{
			"a condition", "func f(a bool) { if a { f(a) } }",
			"func f(a bool) { if (mutantAt(1) != (a)) { if !mutantAt(2) { f(a) } } }",
			[]string{"negated: a", "dropped: f(a)"},
		},
		{
			"operands, of which each is left out", "func f(a, b, c bool) bool { return a && (b || c) }",
			"func f(a, b, c bool) bool { return ((a) || mutantAt(1)) && (((((b) && !mutantAt(3)) || ((c) && !mutantAt(4)))) || mutantAt(2)) }",
			[]string{"always true: a", "always true: (b || c)", "always false: b", "always false: c"},
		},
		{
			"a boundary, whose operands are computed once", "func f(a int) bool { return g() <\n a }; func g() int { return 0 }",
			"func f(a int) bool { return (mutantAt(1) != (mutantLess(2, g() ,\n a))) }; func g() int { return 0 }",
			[]string{"negated: g() < a", "boundary moved: g() < a"},
		},
		{
			"sums and numbers", "func f(a int64) int64 { return a + 1 }",
			"func f(a int64) int64 { return mutantSum(1, a , mutantNumber(2, 3, int64(1))) }",
			[]string{"other operator: a + 1", "1 more than 1 in a + 1", "1 less than 1 in a + 1"},
		},
		{
			"an error", "func f(e error) (int, error) { if e == nil { return 1, nil }; return 0, e }",
			"func f(e error) (int, error) { if (mutantAt(1) != (e == nil)) { return 1, nil }; return 0, mutantError(2, e) }",
			[]string{"negated: e == nil", "error swallowed: return 0, e"},
		},
		{
			"yes and no", "func f() bool { return true }",
			"func f() bool { return (mutantAt(1) != true) }",
			[]string{"swapped: true in return true"},
		},
		{
			"statements", "type t struct{ n int }; func f(a *t, m map[int]int) { a.n = 2; a.n += 3; a.n++; delete(m, 1); b := 1; _ = b }",
			"type t struct{ n int }; func f(a *t, m map[int]int) { if !mutantAt(1) { a.n = 2 }; if !mutantAt(2) { a.n += 3 }; if !mutantAt(3) { a.n++ }; if !mutantAt(4) { delete(m, 1) }; b := 1; _ = b }",
			[]string{"dropped: a.n = 2", "dropped: a.n += 3", "dropped: a.n++", "dropped: delete(m, 1)"},
		},
		{
			"times", "import \"time\"; func f(a, b time.Time) bool { return !a.After(b) }",
			"import \"time\"; func f(a, b time.Time) bool { return (mutantAt(1) != (!mutantAfter(2, a, b))) }",
			[]string{"negated: !a.After(b)", "boundary moved: a.After(b)"},
		},
		{
			"bounds of a slice", "func f(a []int) []int { return a[1:] }",
			"func f(a []int) []int { return a[mutantNumber(1, 2, int(1)):] }",
			[]string{"1 more than 1 in a[1:]", "1 less than 1 in a[1:]"},
		},
		{
			"the same twice", "func f() { f(); f() }",
			"func f() { if !mutantAt(1) { f() }; if !mutantAt(2) { f() } }",
			[]string{"dropped: f()", "dropped: f() (2)"},
		},
		{
			"a case", "func f(a bool) { switch { case a: f(a) } }",
			"func f(a bool) { switch { case (mutantAt(1) != (a)): if !mutantAt(2) { f(a) } } }",
			[]string{"negated: a", "dropped: f(a)"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := sourceOf(t, test.code)
			mutants := s.find()
			changes := make([]string, 0, len(mutants))
			for _, m := range mutants {
				changes = append(changes, m.change)
			}
			if !slices.Equal(changes, test.changes) {
				t.Errorf("changes: %q", changes)
			}
			rewritten := string(s.files[0].edits.apply(s.files[0].content))
			if rewritten != "package p\n"+test.rewritten {
				t.Errorf("rewritten: %s", rewritten)
			}
		})
	}
}

func TestWordsAndLocksHaveNoMutants(t *testing.T) {
	for name, code := range map[string]string{
		"an error's text":             "import \"errors\"; var e = errors.New(f(true)); func f(bool) string { panic(errors.New(f(true))) }",
		"the text of an error's type": "type e struct{ n int }; func (e e) Error() string { if e.n > 1 { return \"many\" }; return \"one\" }",
		"a lock":                      "import \"sync\"; var mu sync.Mutex; func f() { mu.Lock(); defer mu.Unlock() }",
		"a constant":                  "func f() { const c = 1 + 2 }",
	} {
		if found := sourceOf(t, code).find(); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func TestALineThatFitsNothingIsStale(t *testing.T) {
	mutants := sourceOf(t, "func f(a bool) { if a { f(a) } }").find()
	known, err := parseEquivalents("# a comment\n\np/p.go\tf\tnegated: a\tboth do the same\n" +
		"p/p.go\tf\tnegated: b\tgone\nother/p.go\tf\tnegated: b\tanother package\n")
	if err != nil {
		t.Fatal(err)
	}
	stale := known.mark(mutants)
	if len(stale) != 1 || !strings.Contains(stale[0], "negated: b") {
		t.Errorf("stale: %q", stale)
	}
	if mutants[0].reason != "both do the same" || mutants[1].reason != "" {
		t.Errorf("%q, %q", mutants[0].reason, mutants[1].reason)
	}
	if _, err := parseEquivalents("p/p.go\tf\tnegated: a\n"); err == nil {
		t.Error("a line without a reason is taken")
	}
}

func TestOnlyTestsThatReachAMutantRunTheFastestFirst(t *testing.T) {
	r := &runner{}
	for i, name := range []string{"A", "B", "C", "D"} {
		r.tests = append(r.tests, &test{name: name, took: firstBatch / 2, reaches: []byte{0, byte(i % 4)}})
	}
	var names []string
	for _, batch := range r.batches(1) {
		for _, t := range batch {
			names = append(names, t.name)
		}
		names = append(names, "|")
	}
	if got := strings.Join(names, ""); got != "BC|D|" {
		t.Error(got)
	}
}

func TestTheTestThatNoticedIsNamed(t *testing.T) {
	for output, want := range map[string]string{
		"--- FAIL: TestA (0.1s)\n    --- FAIL: TestA/b (0.1s)\n":               "TestA",
		"panic: test timed out after 10s\n\trunning tests:\n\t\tTestB (10s)\n": "TestB (took too long)",
		"fatal error: all goroutines are asleep\n\ngoroutine 1\n":              "fatal error: all goroutines are asleep",
		"": "the test binary's exit status",
	} {
		if got := noticedBy(output); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
