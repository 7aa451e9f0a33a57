package upstream

import (
	"errors"
	"regexp"
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

// What RulesFor135 and RulesCurrent say must be what GitLab's own patterns say (lib/gitlab/regex.rb in 13.5,
// lib/gitlab/regex/packages.rb today), but for the look-ahead (?!.*\.\.) of versions, which RE2 doesn't have.
var (
	documentedName = regexp.MustCompile(`\A[A-Za-z0-9._-]+\z`)
	threeNumbers   = regexp.MustCompile(`\A\d+\.\d+\.\d+\z`)
	currentName    = regexp.MustCompile(`\A[A-Za-z0-9._\-+]+\z`)
	currentVersion = regexp.MustCompile(`\A[\w+.-]+\z`)
	currentFile    = regexp.MustCompile(`\A[A-Za-z0-9._\-+~@]+\z`)
)

// FuzzNamesAreThoseOfGitLabsPatterns compares the rules with the patterns.
func FuzzNamesAreThoseOfGitLabsPatterns(f *testing.F) {
	for char := range rune(0x100) {
		f.Add("a" + string(char) + "1")
	}
	for _, name := range []string{"a", "-", "~a", "a@", "1.0.0", "1.0", "1.0.0.0", "1..0", ".1.0.0", "1.0.0.", "1.0.x", "1.0.0+x", "a..b", "…", "\xff"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !legalName(name) {
			return // under no rules
		}
		for what, test := range map[string]struct{ got, want bool }{
			"13.5's name":       {RulesFor135().pkg(name), documentedName.MatchString(name)},
			"13.5's version":    {RulesFor135().version(name), threeNumbers.MatchString(name)},
			"13.5's file":       {RulesFor135().file(name), documentedName.MatchString(name)},
			"the current name":  {RulesCurrent().pkg(name), currentName.MatchString(name)},
			"a current version": {RulesCurrent().version(name), currentVersion.MatchString(name) && !strings.Contains(name, "..")},
			"a current file":    {RulesCurrent().file(name), currentFile.MatchString(name) && !strings.ContainsAny(name[:1]+name[len(name)-1:], "~@")},
		} {
			if test.got != test.want {
				t.Errorf("%q as %s: %v", name, what, test.got)
			}
		}
	})
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
