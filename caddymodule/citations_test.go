package caddymodule

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Comments and pages cite a section of docs/gitlab-contract.md by its number, and one of docs/design.md by its heading up to
// the first bracket: (contract, section 4), (contract, sections 1 and 11), (design, "The store").
var (
	contractCitation = regexp.MustCompile(`\bcontract, sections? (\d+(?:(?:, | and )\d+)*)`)
	designCitation   = regexp.MustCompile(`\bdesign, "([^"]*)"`)
	// bracketed is where a citation of one of the forms above should stand.
	bracketed = regexp.MustCompile(`\((?:contract|design)[,:][^)]*\)`)
	// otherCitation is of a form that isn't looked up.
	otherCitation = regexp.MustCompile(`\bcontract's sections?\b|\bsections? \d[\d, and]* of the contract\b`)

	contractSection = regexp.MustCompile(`(?m)^## (\d+)\. `)
	designSection   = regexp.MustCompile(`(?m)^##+ (.+)$`)

	citedPage    = regexp.MustCompile(`\bdocs/[\w-]+\.md\b`)
	relativeLink = regexp.MustCompile(`\]\(([^)\s:]+)\)`)
	heading      = regexp.MustCompile(`(?m)^#+ (.+)$`)
	commentBreak = regexp.MustCompile(`\n[ \t]*(?:(?://|#+)[ \t]*)?`)
)

// pages are the sections that can be cited.
type pages struct{ contract, design []string }

func readPages(t *testing.T) (p pages) {
	t.Helper()
	for _, match := range contractSection.FindAllStringSubmatch(readText(t, "../docs/gitlab-contract.md"), -1) {
		p.contract = append(p.contract, match[1])
	}
	for _, match := range designSection.FindAllStringSubmatch(readText(t, "../docs/design.md"), -1) {
		name, _, _ := strings.Cut(match[1], " (")
		if slices.Contains(p.design, name) {
			t.Errorf("docs/design.md has two sections of the name %q", name)
		}
		p.design = append(p.design, name)
	}
	if len(p.contract) < 10 || len(p.design) < 15 {
		t.Fatalf("found only %d sections of the contract and %d of the design", len(p.contract), len(p.design))
	}
	return p
}

// wrong returns what is wrong with a text's citations, and how many there are that are right.
func (p pages) wrong(text string) (problems []string, right int) {
	if !strings.Contains(text, "contract") && !strings.Contains(text, "design") {
		return nil, 0 // most files; the rest takes long
	}
	text = commentBreak.ReplaceAllString(text, " ")
	check := func(sections []string, name, citation string) {
		if slices.Contains(sections, name) {
			right++
		} else {
			problems = append(problems, "there is no such section: "+citation)
		}
	}
	for _, match := range contractCitation.FindAllStringSubmatch(text, -1) {
		for number := range strings.SplitSeq(strings.ReplaceAll(match[1], " and ", ", "), ", ") {
			check(p.contract, number, match[0])
		}
	}
	for _, match := range designCitation.FindAllStringSubmatch(text, -1) {
		check(p.design, match[1], match[0])
	}
	for _, brackets := range bracketed.FindAllString(text, -1) {
		if !contractCitation.MatchString(brackets) && !designCitation.MatchString(brackets) {
			problems = append(problems, "names no section: "+brackets)
		}
	}
	for _, other := range otherCitation.FindAllString(text, -1) {
		problems = append(problems, "isn't of the form that is looked up: "+other)
	}
	return problems, right
}

// TestEachCitedSectionExists reads all code, pages and Caddyfiles of the repository: who follows a citation must find
// something.
func TestEachCitedSectionExists(t *testing.T) {
	sections := readPages(t)
	found := 0
	eachText(t, func(path, text string) {
		problems, right := sections.wrong(text)
		found += right
		for _, problem := range problems {
			t.Errorf("%s: %s", path, problem)
		}
		for _, page := range citedPage.FindAllString(text, -1) {
			if _, err := os.Stat(filepath.Join("..", page)); err != nil {
				t.Errorf("%s names a page that isn't there: %v", path, err)
			}
		}
	})
	if found < 50 {
		t.Errorf("found only %d citations", found)
	}
}

// TestACitationOfNoSectionIsNoticed shows what TestEachCitedSectionExists objects to. Its texts are put together, or they would
// be objected to themselves.
func TestACitationOfNoSectionIsNoticed(t *testing.T) {
	sections := readPages(t)
	for text, problems := range map[string]int{
		"(%s, section 4)":                    0,
		"(%s, sections 1,\n// 2 and 3)":      0,
		"as the %s, section\n\t// 4, has it": 0,
		"(%s, section 99)":                   1,
		"(%s, sections 1, 98 and 99)":        2,
		"(%s, which says so)":                1,
		"the %s's section 4":                 1,
		"section 4 of the %s":                1,
	} {
		if got, _ := sections.wrong(fmt.Sprintf(text, "contract")); len(got) != problems {
			t.Errorf("%q: %q", text, got)
		}
	}
	for text, problems := range map[string]int{
		`(%s, "The store")`:        0,
		"(%s, \"The\n// store\")":  0,
		`(%s, "The attic")`:        1,
		`(%s, "The store"; %[1]s)`: 0,
		`(%s, The store)`:          1,
	} {
		if got, _ := sections.wrong(fmt.Sprintf(text, "design")); len(got) != problems {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// TestEachLinkOfThePagesLeadsSomewhere follows the links from one page of the repository to another, and within one.
func TestEachLinkOfThePagesLeadsSomewhere(t *testing.T) {
	links := 0
	eachText(t, func(path, text string) {
		if filepath.Ext(path) != ".md" {
			return
		}
		for _, match := range relativeLink.FindAllStringSubmatch(text, -1) {
			links++
			page, anchor, _ := strings.Cut(match[1], "#")
			target := path
			if page != "" {
				target = filepath.Join(filepath.Dir(path), page)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to what isn't there: %v", path, err)
			} else if anchor != "" && !slices.Contains(anchorsOf(readText(t, target)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", path, match[1])
			}
		}
	})
	if links < 20 {
		t.Errorf("found only %d links", links)
	}
}

// anchorsOf are the names by which a page's headings are linked to, as GitHub makes them.
func anchorsOf(page string) (anchors []string) {
	for _, match := range heading.FindAllStringSubmatch(page, -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z':
				return r
			}
			return -1
		}, strings.ToLower(match[1]))
		anchors = append(anchors, anchor)
	}
	return anchors
}

// eachText calls a function with each Go file, page and Caddyfile of the repository.
func eachText(t *testing.T, read func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != "..":
			return filepath.SkipDir
		case entry.IsDir():
			return nil
		}
		if extension := filepath.Ext(path); extension == ".go" || extension == ".md" || strings.Contains(entry.Name(), "Caddyfile") {
			read(path, readText(t, path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
