package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// printTable prints the mutants that survived, or all, and how many were noticed.
func printTable(w io.Writer, pkg string, mutants []*mutant, all bool) {
	counts := make(map[verdict]int)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, m := range mutants {
		counts[m.verdict]++
		if all || m.verdict == survived || m.verdict == uncovered {
			result := m.verdict.String()
			if m.by != "" {
				result += " by " + m.by
			}
			_, _ = fmt.Fprintf(table, "%s\t%s\n", m, result)
		}
	}
	_ = table.Flush()
	tried := counts[noticed] + counts[survived] + counts[uncovered]
	_, _ = fmt.Fprintf(w, "%s: %d of %d mutants noticed", pkg, counts[noticed], tried)
	if tried > 0 {
		_, _ = fmt.Fprintf(w, " (%.1f %%)", 100*float64(counts[noticed])/float64(tried))
	}
	_, _ = fmt.Fprintf(w, "; %d survived, %d not reached; %d more are equivalent, %d untried\n",
		counts[survived], counts[uncovered], counts[equivalent], counts[untried])
}
