//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// table is what is printed at the end.
type table struct{ rows []tableRow }

type tableRow struct {
	name string
	// measured is what each server showed, by its name.
	measured map[string]string
	// must is what the edge has to reach, verdict how it stands.
	must, verdict string
}

// columns are in the order of the table.
var columns = []string{theNginx.name, theVarnish.name, plainCaddy.name, theEdge.name}

// add adds a row. met is nil where nothing has to be reached.
func (t *table) add(name string, measured map[string]string, must string, met ...bool) {
	verdict := "–"
	if len(met) > 0 {
		verdict = "met"
		if slices.Contains(met, false) {
			verdict = "**not met**"
		}
	}
	t.rows = append(t.rows, tableRow{name, measured, must, verdict})
}

// print writes the table as Markdown.
func (t *table) print(w io.Writer) {
	line := func(cells ...string) { _, _ = fmt.Fprintln(w, "| "+strings.Join(cells, " | ")+" |") }
	line(append(append([]string{""}, columns...), "must", "")...)
	line(strings.Split(strings.Repeat("---,", len(columns)+2)+"---", ",")...)
	for _, row := range t.rows {
		cells := make([]string, 0, len(columns)+3)
		cells = append(cells, row.name)
		for _, column := range columns {
			measured := row.measured[column]
			if measured == "" {
				measured = "–"
			}
			cells = append(cells, measured)
		}
		line(append(cells, row.must, row.verdict)...)
	}
}

// median is the middle one of some figures.
func median[T float64 | time.Duration | int64](figures []T) T {
	sorted := slices.Sorted(slices.Values(figures))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<19)>>20) }

func gigabytes(perSecond float64) string { return fmt.Sprintf("%.2f GB/s", perSecond/1e9) }

func milliseconds(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	}
	if d < time.Second {
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
