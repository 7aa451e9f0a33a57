package upstream

import (
	"fmt"
	"regexp"
	"strings"
)

// Rules say which names are legal. They are immutable and safe for concurrent use; make them by one of the functions
// below, the zero value is of no use.
type Rules struct {
	name string
	// pkg, version and file judge single names that are legal under all rules (legalName).
	pkg, version, file func(string) bool
	// nested says that files may lie in directories.
	nested bool
	// allowed says for people what each parameter may be.
	allowed map[string]string
}

// The characters that GitLab lets names consist of, in 13.5 and today (contract, section 3).
// Every download is checked, and a pattern would cost more than its look-up in the cache.
const (
	decimalDigits      = "0123456789"
	documentedInNames  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + decimalDigits + "._-"
	currentInNames     = documentedInNames + "+" // and in versions
	currentInFileNames = currentInNames + "~@"
)

// consistsOf reports whether all of a name is of these characters.
func consistsOf(name, characters string) bool { return strings.TrimLeft(name, characters) == "" }

func isDocumentedName(name string) bool { return consistsOf(name, documentedInNames) }

func isThreeNumbers(version string) bool {
	numbers := 0
	for number := range strings.SplitSeq(version, ".") {
		if number == "" || !consistsOf(number, decimalDigits) {
			return false
		}
		numbers++
	}
	return numbers == 3
}

// RulesFor135 are the rules of GitLab 13.5's documentation (contract, section 3): letters, digits, dot,
// underscore and hyphen in package and file names (its code took + too, undocumented), three numbers as the version, no
// directories.
func RulesFor135() *Rules {
	return &Rules{
		name: "13.5", pkg: isDocumentedName, version: isThreeNumbers, file: isDocumentedName,
		allowed: map[string]string{
			"package_name":    "letters, digits, dot, underscore and hyphen",
			"package_version": "three numbers, such as 1.0.0",
			"file_name":       "letters, digits, dot, underscore and hyphen, and no directories",
		},
	}
}

// RulesCurrent are today's, of its code and its documentation (contract, section 3): + in
// names, almost any version, ~ and @ inside file names, directories.
func RulesCurrent() *Rules {
	return &Rules{
		name: "current",
		pkg:  func(name string) bool { return consistsOf(name, currentInNames) },
		version: func(version string) bool {
			return consistsOf(version, currentInNames) && !strings.Contains(version, "..")
		},
		file: func(file string) bool {
			return consistsOf(file, currentInFileNames) && !strings.ContainsAny(file[:1]+file[len(file)-1:], "~@")
		},
		nested: true,
		allowed: map[string]string{
			"package_name":    "letters, digits, dot, underscore, hyphen and plus",
			"package_version": "letters, digits, dot, underscore, hyphen and plus, and no two dots in a row",
			"file_name":       "letters, digits and . _ - + ~ @, but neither ~ nor @ at either end",
			"path":            "directories whose names aren't dots alone",
		},
	}
}

// CustomRules are an admin's own patterns (RE2), each for the whole value; an empty one is that of 13.5. Directories are
// not legal.
func CustomRules(name, version, file string) (*Rules, error) {
	rules := RulesFor135()
	rules.name = "custom"
	for _, own := range []struct {
		word, pattern, parameter string
		target                   *func(string) bool
	}{
		{"name", name, "package_name", &rules.pkg},
		{"version", version, "package_version", &rules.version},
		{"file", file, "file_name", &rules.file},
	} {
		if own.pattern == "" {
			continue
		}
		// Alone first, so that the error is about what the admin wrote, and so that no bracket of theirs closes ours.
		if _, err := regexp.Compile(own.pattern); err != nil {
			return nil, fmt.Errorf("the pattern for %s: %w", own.word, err)
		}
		pattern, err := regexp.Compile(`\A(?:` + own.pattern + `)\z`)
		if err != nil {
			return nil, fmt.Errorf("the pattern for %s: %w", own.word, err)
		}
		*own.target = pattern.MatchString
		rules.allowed[own.parameter] = "what the pattern in the edge's settings matches"
	}
	return rules, nil
}

// String names the rules.
func (r *Rules) String() string { return r.name }

// Check returns nil or an *InvalidError for the first illegal name. What is never legal is refused whatever the patterns
// say: dots alone, control characters and all else that isn't ASCII, more than 255 bytes.
func (r *Rules) Check(ref Ref) error {
	file := ref.File[strings.LastIndexByte(ref.File, '/')+1:]
	nested := len(file) < len(ref.File)
	switch {
	case !legalName(ref.Package) || !r.pkg(ref.Package):
		return r.invalid("package_name")
	case !legalName(ref.Version) || !r.version(ref.Version):
		return r.invalid("package_version")
	case nested && !r.nested, !legalName(file) || !r.file(file):
		// Before GitLab had directories (17.1), what stands before the last slash was no part of a legal URL.
		return r.invalid("file_name")
	case !legalDirectories(ref.File):
		return r.invalid("path")
	}
	return nil
}

// invalid is the error for a parameter that the rules don't allow.
func (r *Rules) invalid(parameter string) *InvalidError {
	return &InvalidError{Parameter: parameter, Allowed: r.allowed[parameter]}
}
