//go:build linux

package main

import (
	"fmt"
	"slices"
)

// goal is something that the edge has to reach.
type goal struct {
	// must says what, shown how the edge stands; shown is empty where the table's cell says so anyway.
	must, shown string
	met         bool
}

// absolute is a goal that compares with no other server.
func absolute(must string, met bool) goal { return goal{must: must, met: met} }

// atLeast wants a figure to be so many times another server's. Single rounds differ by more than what is looked for, so a
// ratio is missed only if it was missed in every round.
func (f figures) atLeast(times float64, p peer, of string) goal {
	rounds := f.over(p)
	return goal{
		must:  fmt.Sprintf("%s ≥ %g × %s", of, times, p.name),
		shown: fmt.Sprintf("%s %s × %s", of, rounds.format("%.2f"), p.name),
		met:   len(rounds) == 0 || slices.Max(rounds) >= times,
	}
}

// atMost wants a figure to be no more than so many times another server's, in one round at least.
func (f figures) atMost(times float64, p peer, of string) goal {
	rounds := f.over(p)
	return goal{
		must:  fmt.Sprintf("%s ≤ %g × %s", of, times, p.name),
		shown: fmt.Sprintf("%s %s × %s", of, rounds.format("%.2f"), p.name),
		met:   len(rounds) == 0 || slices.Min(rounds) <= times,
	}
}

// within wants a figure, which is in seconds, to be at most so many microseconds above another server's, in one round at
// least.
func (f figures) within(microseconds float64, p peer, of string) goal {
	rounds := f.beyond(p)
	for round := range rounds {
		rounds[round] *= 1e6
	}
	return goal{
		must:  fmt.Sprintf("%s ≤ %s + %g µs", of, p.name, microseconds),
		shown: fmt.Sprintf("%s %s %s µs", of, p.name, rounds.format("%+.1f")),
		met:   len(rounds) == 0 || slices.Min(rounds) <= microseconds,
	}
}

// shownOnly is how the edge stands beside another server where nothing has to be reached.
func (f figures) shownOnly(p peer, of string) goal {
	return goal{shown: fmt.Sprintf("%s %s × %s", of, f.over(p).format("%.2f"), p.name), met: true}
}
