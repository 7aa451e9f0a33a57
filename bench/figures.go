//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// figures are what a row measures of each server, by its name and one figure a round. Figures of one round were measured
// right after each other.
type figures map[string][]float64

func (f figures) add(p peer, figure float64) { f[p.name] = append(f[p.name], figure) }

func (f figures) median(p peer) float64 { return median(f[p.name]) }

// compared are the edge's figures beside another server's, one of each round.
func (f figures) compared(p peer, compare func(edge, other float64) float64) (rounds spread) {
	ours, others := f[theEdge.name], f[p.name]
	for round := range min(len(ours), len(others)) {
		rounds = append(rounds, compare(ours[round], others[round]))
	}
	return rounds
}

// over are the ratios of the edge's figures to another server's.
func (f figures) over(p peer) spread {
	return f.compared(p, func(edge, other float64) float64 { return edge / other })
}

// beyond are the differences of the edge's figures to another server's.
func (f figures) beyond(p peer) spread {
	return f.compared(p, func(edge, other float64) float64 { return edge - other })
}

// spread is what one comparison gave in each round.
type spread []float64

// format writes the median and, of several rounds, the range.
func (s spread) format(verb string) string {
	switch len(s) {
	case 0:
		return "–"
	case 1:
		return fmt.Sprintf(verb, s[0])
	}
	return fmt.Sprintf(verb+" ("+verb+"–"+verb+")", median(s), slices.Min(s), slices.Max(s))
}

// median is the middle one of some figures.
func median[T float64 | time.Duration | int64](figures []T) T {
	sorted := slices.Sorted(slices.Values(figures))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// percentile is the least of sorted figures that a share of all doesn't exceed.
func percentile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(share*float64(len(sorted))))-1, 0)]
}
