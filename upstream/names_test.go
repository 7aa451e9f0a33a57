package upstream

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// parameterOf returns which parameter an error calls invalid, "" for none.
func parameterOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	invalid, ok := errors.AsType[*InvalidError](err)
	if !ok {
		t.Fatalf("got %v, want an InvalidError", err)
	}
	return invalid.Parameter
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// TestEveryByteInEveryNameUnderAllRules tries each of the 256 bytes at the beginning, inside and at the end of each name
// (contract, section 3).
func TestEveryByteInEveryNameUnderAllRules(t *testing.T) {
	type set struct{ first, inside, last string }
	same := func(characters string) set { return set{characters, characters, characters} }
	for _, test := range []struct {
		rules               *Rules
		name, version, file set
	}{
		{
			rules: RulesFor135(),
			name:  same(letters + digits + "._-"), file: same(letters + digits + "._-"),
			// Of 1.2.3 with something before, within and after the 2.
			version: set{digits, digits + ".", digits},
		},
		{
			rules: RulesCurrent(),
			name:  same(letters + digits + "._-+"), version: same(letters + digits + "._-+"),
			file: set{letters + digits + "._-+", letters + digits + "._-+~@", letters + digits + "._-+"},
		},
	} {
		versionHead, versionTail := "a", "a"
		if test.rules.String() == "13.5" {
			versionHead, versionTail = "1.2", "2.3"
		}
		for c := range 256 {
			character := string([]byte{byte(c)})
			for _, field := range []struct {
				parameter, head, tail string
				allowed               set
				of                    func(string) Ref
			}{
				{"package_name", "a", "a", test.name, func(s string) Ref { return Ref{"1", s, "1.2.3", "f"} }},
				{"package_version", versionHead, versionTail, test.version, func(s string) Ref { return Ref{"1", "p", s, "f"} }},
				{"file_name", "a", "a", test.file, func(s string) Ref { return Ref{"1", "p", "1.2.3", s} }},
			} {
				if character == "/" && field.parameter == "file_name" {
					continue // a directory
				}
				tail := field.tail
				if versionHead == "1.2" && field.parameter == "package_version" {
					tail = ".3"
					if character == "." {
						tail = "3"
					}
				}
				for value, allowed := range map[string]string{
					character + field.head + tail:   field.allowed.first,
					field.head + character + tail:   field.allowed.inside,
					field.head + tail + character:   field.allowed.last,
					field.head + character + "\n":   "",
					field.head + tail + "\n":        "",
					character + field.head + "\x00": "",
				} {
					want := field.parameter
					if strings.Contains(allowed, character) {
						want = ""
					}
					if got := parameterOf(t, test.rules.Check(field.of(value))); got != want {
						t.Errorf("%s: %s %q: %q is invalid, want %q", test.rules, field.parameter, value, got, want)
					}
				}
			}
		}
	}
}

// TestVersionsUnderAllRules has the versions of GitLab's own documentation and specs, and those that its patterns were
// widened and narrowed for.
func TestVersionsUnderAllRules(t *testing.T) {
	custom, err := CustomRules("", `v?\d+(\.\d+)*`, "")
	if err != nil {
		t.Fatal(err)
	}
	for version, legal := range map[string][]*Rules{
		"1.2.3": {RulesFor135(), RulesCurrent(), custom}, "0.0.1": {RulesFor135(), RulesCurrent(), custom},
		"01.002.0003": {RulesFor135(), RulesCurrent(), custom}, "99999999999999999999.0.0": {RulesFor135(), RulesCurrent(), custom},
		"1.2": {RulesCurrent(), custom}, "v1.2": {RulesCurrent(), custom}, "v1.2.3": {RulesCurrent(), custom}, "1.2.3.4": {RulesCurrent(), custom},
		"1": {RulesCurrent(), custom}, "1.2.3-beta": {RulesCurrent()}, "1.2.3-rc.1+build_5": {RulesCurrent()}, "1.3.350.20201230123456": {RulesCurrent(), custom},
		"e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4": {RulesCurrent()}, "a": {RulesCurrent()}, "...x": {}, ".1": {RulesCurrent()}, "1.": {RulesCurrent()},
		"1..2": {}, "..": {}, ".": {}, "1.2.3..": {}, "": {}, " 1.2.3": {}, "1.2.3 ": {}, "1/2/3": {}, "1.2.3%": {}, "1.2.3\n": {}, "\n1.2.3": {},
		"1.2.3\x00": {}, "1.2.3\r\n": {}, "١.٢.٣": {}, "1.2.3~1": {}, "1.2.3@x": {}, "1:2": {},
	} {
		for _, rules := range []*Rules{RulesFor135(), RulesCurrent(), custom} {
			allowed := slices.ContainsFunc(legal, func(other *Rules) bool { return other.String() == rules.String() })
			if got := parameterOf(t, rules.Check(Ref{"1", "p", version, "f"})); (got == "") != allowed {
				t.Errorf("%s: version %q: %q is invalid", rules, version, got)
			}
		}
	}
}

func TestLengthsUnderAllRules(t *testing.T) {
	custom, err := CustomRules(".*", ".*", ".*")
	if err != nil {
		t.Fatal(err)
	}
	for _, rules := range []*Rules{RulesCurrent(), custom} {
		for length, legal := range map[int]bool{0: false, 1: true, 255: true, 256: false, 100_000: false} {
			name := strings.Repeat("1", length)
			for parameter, ref := range map[string]Ref{
				"package_name": {"1", name, "1", "f"}, "package_version": {"1", "p", name, "f"}, "file_name": {"1", "p", "1", name},
			} {
				if got := parameterOf(t, rules.Check(ref)); (got == "") != legal || (got != "" && got != parameter) {
					t.Errorf("%s: %s of %d bytes: %q is invalid", rules, parameter, length, got)
				}
			}
		}
	}
	if got := parameterOf(t, RulesFor135().Check(Ref{"1", "p", strings.Repeat("1", 250) + ".1.1", "f"})); got != "" {
		t.Errorf("a version of 254 bytes: %q is invalid", got)
	}
	if got := parameterOf(t, RulesFor135().Check(Ref{"1", "p", strings.Repeat("1", 252) + ".1.1", "f"})); got != "package_version" {
		t.Errorf("a version of 256 bytes: %q is invalid", got)
	}
}

// TestDirectoriesUnderAllRules: only today's GitLab has them, with no set of characters, but with checks against
// traversal and double encoding (contract, section 3).
func TestDirectoriesUnderAllRules(t *testing.T) {
	custom, err := CustomRules("", "", "(?s).*")
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"d/f": "", "d/e/f": "", "d e/f": "", "~d@/f": "", "d+(1);x=[y]/f": "", "d:*?\"<>|/f": "", ".../f": "", "-/f": "", "a..b/f": "",
		"../f": "path", "d/../f": "path", "./f": "path", "d/./f": "path", "/f": "path", "d//f": "path", "//f": "path",
		"%2e%2e/f": "path", "d%2Fe/f": "path", "50%/f": "path", "d\\e/f": "path", "d\x00/f": "path", "d\n/f": "path", "d\x7f/f": "path", "dä/f": "path",
		"d/": "file_name", "d/..": "file_name", "d/.": "file_name", "d/~f": "file_name", "d/f f": "file_name", "d/f%2fg": "file_name", "/": "file_name",
		strings.Repeat("d", 255) + "/f": "", strings.Repeat("d", 256) + "/f": "path",
	} {
		if got := parameterOf(t, RulesCurrent().Check(Ref{"1", "p", "1", file})); got != want {
			t.Errorf("current: %q: %q is invalid, want %q", file, got, want)
		}
		for _, rules := range []*Rules{RulesFor135(), custom} {
			if got := parameterOf(t, rules.Check(Ref{"1", "p", "1.0.0", file})); got != "file_name" {
				t.Errorf("%s: %q: %q is invalid, want file_name", rules, file, got)
			}
		}
	}
}

func TestTheFirstIllegalNameIsNamedInGitLabsOrder(t *testing.T) {
	for _, test := range []struct {
		ref  Ref
		want string
	}{
		{Ref{"1", "p p", "x x", "d/../f f"}, "package_name"},
		{Ref{"1", "p", "x x", "d/../f f"}, "package_version"},
		{Ref{"1", "p", "1.0.0", "d/../f f"}, "file_name"},
		{Ref{"1", "p", "1.0.0", "d/../f"}, "path"},
	} {
		if got := parameterOf(t, RulesCurrent().Check(test.ref)); got != test.want {
			t.Errorf("%v: %q, want %q", test.ref, got, test.want)
		}
	}
	if got := (&InvalidError{Parameter: "package_version"}).Error(); got != "package_version is invalid" {
		t.Errorf("the error says %q", got)
	}
}

// TestOwnPatternsAreForTheWholeValue: no pattern can match a part, and none can allow what is never legal.
func TestOwnPatternsAreForTheWholeValue(t *testing.T) {
	for _, test := range []struct {
		pattern           string
		matching, foreign []string
	}{
		{"a|b", []string{"a", "b"}, []string{"ab", "ba", "ax", "xb", "a|b"}},
		{"^a$|^b$", []string{"a", "b"}, []string{"ab", "a\nb"}},
		{"(?m)^a$", []string{"a"}, []string{"a\nb", "b\na", "a\n"}},
		{"(?i)abc", []string{"ABC", "aBc"}, []string{"xabc", "abcx"}},
		{"a*?", []string{"a", "aaa"}, []string{"", "b", "ab"}},
		{`\Qa.b\E`, []string{"a.b"}, []string{"axb", "a.bc"}},
		{`[[:alpha:]]+\.tar\.gz`, []string{"app.tar.gz"}, []string{"app.tar.gzip", "app_tar.gz", ".tar.gz"}},
		{"(?s).*", []string{"a", "~", "a b", "%2F", "...", strings.Repeat("x", 255)}, []string{"", ".", "..", "a\x00", "a\nb", "\x7f", "ä", "\xff", "a\\b", strings.Repeat("x", 256)}},
	} {
		rules, err := CustomRules(test.pattern, test.pattern, test.pattern)
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		good := test.matching[0]
		for _, value := range test.matching {
			if err := rules.Check(Ref{"1", value, value, value}); err != nil {
				t.Errorf("%s: %q: %v", test.pattern, value, err)
			}
		}
		for _, value := range test.foreign {
			for want, ref := range map[string]Ref{
				"package_name": {"1", value, good, good}, "package_version": {"1", good, value, good}, "file_name": {"1", good, good, value},
			} {
				if got := parameterOf(t, rules.Check(ref)); got != want {
					t.Errorf("%s: %q as %s: %q is invalid", test.pattern, value, want, got)
				}
			}
		}
	}
	for _, broken := range []string{"a)|(?:b", "[", "(?!x)", `\Qa`, "(", "*", "a{2000}"} {
		for i := range 3 {
			patterns := make([]string, 3)
			patterns[i] = broken
			word := []string{"name", "version", "file"}[i]
			if rules, err := CustomRules(patterns[0], patterns[1], patterns[2]); err == nil || rules != nil || !strings.Contains(err.Error(), "for "+word) {
				t.Errorf("%q for %s: %v, %v", broken, word, rules, err)
			}
		}
	}
}

func TestAnEmptyPatternIsThatOf135(t *testing.T) {
	rules, err := CustomRules("", "", "x+")
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[Ref]string{
		{"1", "a_B-1.x", "1.2.3", "xx"}: "", {"1", "a+b", "1.2.3", "xx"}: "package_name", {"1", "a", "1.2", "xx"}: "package_version", {"1", "a", "1.2.3", "y"}: "file_name",
	} {
		if got := parameterOf(t, rules.Check(ref)); got != want {
			t.Errorf("%v: %q is invalid, want %q", ref, got, want)
		}
	}
}
