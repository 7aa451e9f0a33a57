package main

import (
	"fmt"
	"os"
	"path"
	"strings"
)

// equivalents are mutants that nobody can notice. The list has one a line: file, function, change and reason, with tabs
// between. Lines that begin with # are comments.
type equivalents []equivalentLine

type equivalentLine struct{ file, function, change, reason string }

func readEquivalents(path string) (equivalents, error) {
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path) //nolint:gosec // the developer's own file
	if err != nil {
		return nil, fmt.Errorf("reading what is equivalent: %w", err)
	}
	return parseEquivalents(string(content))
}

func parseEquivalents(content string) (equivalents, error) {
	var all equivalents
	number := 0
	for line := range strings.Lines(content) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, "\t")
		if len(parts) != 4 || parts[3] == "" {
			return nil, fmt.Errorf("line %d of what is equivalent needs file, function, change and reason, with tabs between: %s", number, line)
		}
		all = append(all, equivalentLine{parts[0], parts[1], parts[2], parts[3]})
	}
	return all, nil
}

// mark gives the listed mutants their reasons. It returns the lines about files of the same package that fit no mutant.
func (e equivalents) mark(mutants []*mutant) (stale []string) {
	byName := make(map[equivalentLine]*mutant)
	folders := make(map[string]bool)
	for _, m := range mutants {
		byName[equivalentLine{m.file, m.function, m.change, ""}] = m
		folders[path.Dir(m.file)] = true
	}
	for _, line := range e {
		m := byName[equivalentLine{line.file, line.function, line.change, ""}]
		switch {
		case m != nil:
			m.reason = line.reason
		case folders[path.Dir(line.file)]:
			stale = append(stale, line.file+" "+line.function+" "+line.change)
		}
	}
	return stale
}
