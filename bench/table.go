//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// table is what is printed at the end.
type table struct{ rows [][]string }

// columns are in the order of the table.
var columns = []string{columnNginx, columnVarnish, columnCaddy, columnModule, columnEdge}

// cells are what each column shows in a row.
type cells map[string]string

// add shows what a server did in its column, with its name where that isn't the column's.
func (c cells) add(p peer, format string, arguments ...any) {
	text := fmt.Sprintf(format, arguments...)
	if p.column == columnCaddy {
		text = p.name + " " + text
	}
	c.join(p.column, text)
}

func (c cells) join(column, text string) {
	if c[column] != "" {
		text = c[column] + "; " + text
	}
	c[column] = text
}

// add adds a row. Without a goal nothing has to be reached.
func (t *table) add(name string, shown cells, goals ...goal) {
	var musts, missed []string
	for _, g := range goals {
		if g.shown != "" {
			shown.join(columnEdge, g.shown)
		}
		if g.must != "" {
			musts = append(musts, g.must)
		}
		if !g.met {
			missed = append(missed, g.must)
		}
	}
	row := append(make([]string, 0, len(columns)+3), name)
	for _, column := range columns {
		text := shown[column]
		if text == "" {
			text = "–"
		}
		row = append(row, text)
	}
	verdict := "met"
	switch {
	case len(missed) > 0:
		verdict = "**not met**: " + strings.Join(missed, ", ")
	case len(musts) == 0:
		verdict = "–"
	}
	t.rows = append(t.rows, append(row, strings.Join(musts, ", "), verdict))
}

// print writes the table as Markdown.
func (t *table) print(w io.Writer) {
	line := func(cells ...string) { _, _ = fmt.Fprintln(w, "| "+strings.Join(cells, " | ")+" |") }
	line(append(append([]string{""}, columns...), "must", "")...)
	line(strings.Split(strings.Repeat("---,", len(columns)+2)+"---", ",")...)
	for _, row := range t.rows {
		line(row...)
	}
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
