package upstream

import (
	"errors"
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	custom, err := CustomRules("[a-z]+", "v[0-9]+", "a|b")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		rules   *Rules
		ref     Ref
		invalid string
	}{
		{RulesFor135(), Ref{"1", "My_pkg-1.x", "0.0.1", "file.tar-x_y.gz"}, ""},
		{RulesFor135(), Ref{"1", "a+b", "0.0.1", "f"}, "package_name"},
		{RulesFor135(), Ref{"1", "a b", "0.0.1", "f"}, "package_name"},
		{RulesFor135(), Ref{"1", "..", "0.0.1", "f"}, "package_name"},
		{RulesFor135(), Ref{"1", "a", "0.1", "f"}, "package_version"},
		{RulesFor135(), Ref{"1", "a", "v0.0.1", "f"}, "package_version"},
		{RulesFor135(), Ref{"1", "a", "0.0.1-rc", "f"}, "package_version"},
		{RulesFor135(), Ref{"1", "a", "0.0.1\n", "f"}, "package_version"},
		{RulesFor135(), Ref{"1", "a", "1.2.3.4", "f"}, "package_version"},
		{RulesFor135(), Ref{"1", "a", "0.0.1", "a+b"}, "file_name"},
		{RulesFor135(), Ref{"1", "a", "0.0.1", "d/f"}, "file_name"},
		{RulesFor135(), Ref{"1", "a", "0.0.1", "."}, "file_name"},
		{RulesFor135(), Ref{"1", "a", "0.0.1", strings.Repeat("a", 255)}, ""},
		{RulesFor135(), Ref{"1", "a", "0.0.1", strings.Repeat("a", 256)}, "file_name"},
		{RulesCurrent(), Ref{"1", "a+b", "v1.0-rc_1+x", "d/e f/a~b@c+d"}, ""},
		{RulesCurrent(), Ref{"1", "a", "1..2", "f"}, "package_version"},
		{RulesCurrent(), Ref{"1", "a", ".", "f"}, "package_version"},
		{RulesCurrent(), Ref{"1", "a", "1", "~f"}, "file_name"},
		{RulesCurrent(), Ref{"1", "a", "1", "f@"}, "file_name"},
		{RulesCurrent(), Ref{"1", "a", "1", "d/../f"}, "path"},
		{RulesCurrent(), Ref{"1", "a", "1", "d//f"}, "path"},
		{custom, Ref{"1", "abc", "v12", "b"}, ""},
		{custom, Ref{"1", "abc1", "v12", "b"}, "package_name"},
		{custom, Ref{"1", "abc", "xv12", "b"}, "package_version"},
		{custom, Ref{"1", "abc", "v12", "ab"}, "file_name"},
	} {
		err := test.rules.Check(test.ref)
		var invalid *InvalidError
		if got := errors.As(err, &invalid); got != (test.invalid != "") || (got && invalid.Parameter != test.invalid) {
			t.Errorf("%s: %v: %v, want %q", test.rules, test.ref, err, test.invalid)
		}
	}
	if _, err := CustomRules("[a", "", ""); err == nil || strings.Contains(err.Error(), `\z`) {
		t.Errorf("a broken pattern: %v", err)
	}
}

// FuzzRules: nothing that is never legal gets through, not even patterns that would allow it.
func FuzzRules(f *testing.F) {
	everything, err := CustomRules("(?s).*", "(?s).*", "(?s).*")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("pkg", "1.0.0", "app.bin")
	f.Add("..", "1..0", "d/./f")
	f.Fuzz(func(t *testing.T, name, version, file string) {
		ref := Ref{"1", name, version, file}
		for _, rules := range []*Rules{RulesFor135(), RulesCurrent(), everything} {
			if rules.Check(ref) != nil {
				continue
			}
			if route, err := ParseRoute(ref.EscapedPath()); err == nil && route.Ref != ref {
				t.Errorf("%v is legal and its path is %v", ref, route.Ref)
			}
			for _, part := range append([]string{name, version}, strings.Split(file, "/")...) {
				if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\x00\n/") || len(part) > maxNameBytes {
					t.Errorf("%s allows %q", rules, part)
				}
			}
		}
	})
}
