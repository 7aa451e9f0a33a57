package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// mutant is one change that the tests should notice.
type mutant struct {
	// number turns the mutant on in the test binary. They count from 1.
	number int
	// file is the path in the module ("upstream/fetch.go"), function the function or method in it ("Client.Fetch").
	file, function string
	line           int
	// change says what is changed, with the text of the code: "negated: d.Length >= 0". The second one alike in a
	// function ends in " (2)", and so on.
	change string
	// reason says why nobody can notice the mutant, if it is listed as equivalent.
	reason string

	verdict verdict
	// by is the test that noticed the mutant, or how a test binary ended that can't tell its test.
	by string
}

// verdict is what became of a mutant.
type verdict int

const (
	untried verdict = iota
	noticed
	// survived says that the tests pass with the mutant.
	survived
	// uncovered says that no test reaches the mutant.
	uncovered
	// equivalent says that the mutant is listed as one that nobody can notice.
	equivalent
)

func (v verdict) String() string {
	return [...]string{"untried", "noticed", "survived", "not reached", "equivalent"}[v]
}

func (m *mutant) String() string {
	return fmt.Sprintf("%s:%d\t%s\t%s", m.file, m.line, m.function, m.change)
}

// choose picks the mutants to try.
func choose(mutants []*mutant, s settings) ([]*mutant, error) {
	var table string
	if s.again != "" {
		content, err := os.ReadFile(s.again)
		if err != nil {
			return nil, fmt.Errorf("reading the former table: %w", err)
		}
		table = strings.Join(strings.Fields(string(content)), " ")
	}
	var chosen []*mutant
	for _, m := range mutants {
		isWanted := (len(s.files) == 0 || slices.Contains(s.files, path.Base(m.file))) && strings.Contains(m.String(), s.only)
		// Lines may have moved since the table was printed.
		if isWanted && (s.again == "" || strings.Contains(table, " "+m.function+" "+m.change+" ")) {
			chosen = append(chosen, m)
		}
	}
	if s.sample > 0 && s.sample < len(chosen) {
		random := rand.New(rand.NewPCG(s.seed, 0)) //nolint:gosec // the same seed must choose the same mutants
		random.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		chosen = chosen[:s.sample]
		slices.SortFunc(chosen, func(a, b *mutant) int { return cmp.Compare(a.number, b.number) })
	}
	return chosen, nil
}

// test is a test that the recording has run alone.
type test struct {
	name string
	took time.Duration
	// reaches says for each mutant's number whether the test reaches it.
	reaches []byte
}
