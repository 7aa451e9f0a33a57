package upstream

import (
	"fmt"
	"regexp"
	"strings"
)

// Rules say which names are legal. They are immutable; make them by one of the functions below.
type Rules struct {
	name   string
	pkg    func(string) bool
	vers   func(string) bool
	file   func(string) bool
	nested bool
}

var (
	documentedName = regexp.MustCompile(`\A[A-Za-z0-9._-]+\z`)
	threeNumbers   = regexp.MustCompile(`\A\d+\.\d+\.\d+\z`)
	currentName    = regexp.MustCompile(`\A[A-Za-z0-9._\-+]+\z`)
	currentVersion = regexp.MustCompile(`\A[A-Za-z0-9_+.-]+\z`)
	currentFile    = regexp.MustCompile(`\A[A-Za-z0-9._\-+~@]+\z`)
)

// RulesFor135 are the rules of GitLab 13.5's documentation: letters, digits, dot, underscore and hyphen in package and
// file names (its code took + too, undocumented), three numbers as the version, no directories.
func RulesFor135() *Rules {
	return &Rules{
		name: "13.5", pkg: documentedName.MatchString, vers: threeNumbers.MatchString, file: documentedName.MatchString,
	}
}

// RulesCurrent are today's: lib/gitlab/regex/packages.rb, and the documentation's section on valid file names.
func RulesCurrent() *Rules {
	return &Rules{
		name: "current",
		pkg:  currentName.MatchString,
		vers: func(version string) bool {
			return currentVersion.MatchString(version) && !strings.Contains(version, "..")
		},
		file: func(file string) bool {
			return currentFile.MatchString(file) && !strings.ContainsAny(file[:1]+file[len(file)-1:], "~@")
		},
		nested: true,
	}
}

// CustomRules are an admin's own patterns (RE2), each for the whole value; an empty one is that of 13.5.
func CustomRules(name, version, file string) (*Rules, error) {
	rules := RulesFor135()
	rules.name = "custom"
	for _, own := range []struct {
		word, pattern string
		target        *func(string) bool
	}{{"name", name, &rules.pkg}, {"version", version, &rules.vers}, {"file", file, &rules.file}} {
		if own.pattern == "" {
			continue
		}
		// Alone first, so that the error is about what the admin wrote.
		if _, err := regexp.Compile(own.pattern); err != nil {
			return nil, fmt.Errorf("the pattern for %s: %w", own.word, err)
		}
		pattern, err := regexp.Compile(`\A(?:` + own.pattern + `)\z`)
		if err != nil {
			return nil, fmt.Errorf("the pattern for %s: %w", own.word, err)
		}
		*own.target = pattern.MatchString
	}
	return rules, nil
}

// String names the rules.
func (r *Rules) String() string { return r.name }

// Check returns nil or an *InvalidError. What is never legal is refused whatever the patterns say.
func (r *Rules) Check(ref Ref) error {
	file := ref.File
	if slash := strings.LastIndexByte(file, '/'); slash >= 0 {
		directory := file[:slash]
		file = file[slash+1:]
		if !r.nested {
			return &InvalidError{Parameter: "file_name"}
		}
		for segment := range strings.SplitSeq(directory, "/") {
			if !legalSegment(segment) {
				return &InvalidError{Parameter: "path"}
			}
		}
	}
	switch {
	case !legalSegment(ref.Package) || !r.pkg(ref.Package):
		return &InvalidError{Parameter: "package_name"}
	case !legalSegment(ref.Version) || !r.vers(ref.Version):
		return &InvalidError{Parameter: "package_version"}
	case !legalSegment(file) || !r.file(file):
		return &InvalidError{Parameter: "file_name"}
	}
	return nil
}
