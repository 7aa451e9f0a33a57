package main

import (
	"bytes"
	"cmp"
	"slices"
)

// edit replaces the bytes of a file from start to end by text. Edits nest: those of an inner expression lie within an
// outer one's.
type edit struct {
	start, end int
	text       string
	// closing edits end what an opening one began. At the same place closing ones come first.
	closing bool
	// order is when the edit was noted. Outer nodes are visited before their inner ones.
	order int
}

// edits collects the edits of one file.
type edits struct{ all []edit }

// replace puts text in the place of what stands between two offsets.
func (e *edits) replace(start, end int, text string) {
	e.all = append(e.all, edit{start: start, end: end, text: text, order: len(e.all)})
}

// surround puts before and after around what stands between two offsets.
func (e *edits) surround(start, end int, before, after string) {
	e.all = append(e.all,
		edit{start: start, end: start, text: before, order: len(e.all)},
		edit{start: end, end: end, text: after, closing: true, order: len(e.all)})
}

// apply returns the file with all edits in. Lines keep their numbers as long as no text has a line break.
func (e *edits) apply(content []byte) []byte {
	slices.SortFunc(e.all, func(a, b edit) int {
		if order := cmp.Compare(a.start, b.start); order != 0 {
			return order
		}
		switch {
		case a.closing && b.closing:
			return cmp.Compare(b.order, a.order) // the inner one was noted last and ends first
		case a.closing:
			return -1
		case b.closing:
			return 1
		}
		return cmp.Compare(a.order, b.order)
	})
	var out bytes.Buffer
	at := 0
	for _, change := range e.all {
		out.Write(content[at:change.start])
		out.WriteString(change.text)
		at = change.end
	}
	out.Write(content[at:])
	return out.Bytes()
}
