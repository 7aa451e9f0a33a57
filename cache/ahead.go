package cache

import (
	"errors"
	"fmt"
	"slices"
)

// Ahead is a part of a fill's file that may arrive before the bytes in front of it. One goroutine writes each, beside the
// fill's own writer and those of other parts:
//
//	0            Written           from          Written of it      to            size - 64 KiB    size
//	|-- hashed -----|    (a hole)    |-- arrived -----|  (a hole)   |   (a hole)        |   in memory  |
//
// What arrives lies in its place in the fill's part on the disk, of whose length a hole takes nothing; the file's end waits in
// memory, as it does when it comes in order. Readers may read it there at once. It counts for the sum, and for Written of the
// fill, when the fill's writer has taken it in (Fill.Advance).
type Ahead struct {
	fill *Fill

	// All below is guarded by Fill.mu. The bytes from..arrived have arrived, and those before to are this part's to bring.
	from, arrived, to int64
	closed            bool
	// news is of what may be read of it.
	news
}

// Ahead begins a part of the file that reaches from one offset to before another. Anybody may call it, at any time.
//
// ErrInOrder: the fill wasn't begun for that (FillSpec.Parts), or no more are to come (EndParts); or it goes on in the part of one that wasn't, and that one still
// has readers. ErrTaken: some of the bytes are there already, or the fill's writer or another part is bringing them. Of a fill
// that has ended the error is why.
func (f *Fill) Ahead(from, to int64) (*Ahead, error) {
	if from < 0 || to <= from || to > f.spec.Size {
		return nil, fmt.Errorf("a part from byte %d to %d of a file of %d", from, to, f.spec.Size)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.parts || f.partsEnded:
		return nil, ErrInOrder
	case f.err != nil:
		return nil, f.err
	case from < max(f.written, f.claimed):
		return nil, ErrTaken
	}
	// What begins before its end must end before its beginning.
	next := slices.IndexFunc(f.aheads, func(other *Ahead) bool { return other.from >= to })
	if next < 0 {
		next = len(f.aheads)
	}
	if next > 0 && f.aheads[next-1].to > from {
		return nil, ErrTaken
	}
	a := &Ahead{fill: f, from: from, arrived: from, to: to}
	f.aheads = slices.Insert(f.aheads, next, a)
	f.tell() // who waits for bytes of it hears of it from now on
	return a, nil
}

// Write appends to the part. After ErrTooLong, or ErrDisk, the fill is over, as it is after these errors of Fill.Write. Of a
// fill that has ended the error is why. It may wait for room on the disk, as Fill.Write does.
func (a *Ahead) Write(p []byte) (int, error) {
	f := a.fill
	at, err := a.begin(len(p))
	if errors.Is(err, ErrTooLong) {
		f.finish(ending{err: err, aborted: true})
	}
	if err != nil {
		return 0, err
	}
	defer f.underWay.Done()
	inPart := p[:min(int64(len(p)), max(f.heldFrom()-at, 0))]
	if err := f.writePiece(inPart, at); err != nil {
		f.finish(ending{err: err, aborted: true})
		return 0, err
	}
	if err := a.arrive(p, len(inPart)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// begin claims the place of the next n bytes. Without an error the caller must tell when it is no longer writing there
// (Fill.underWay).
func (a *Ahead) begin(n int) (at int64, err error) {
	f := a.fill
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
		return 0, f.refuseLocked()
	case a.closed:
		return 0, errors.New("writing to a part that is closed")
	case a.arrived+int64(n) > a.to:
		return 0, ErrTooLong
	}
	f.underWay.Add(1)
	return a.arrived, nil
}

// arrive lets others have what was written: so many bytes to the part, and those after them to memory.
func (a *Ahead) arrive(p []byte, inPart int) error {
	f := a.fill
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return f.refuseLocked()
	}
	if inPart < len(p) {
		copy(f.endLocked()[a.arrived+int64(inPart)-f.heldFrom():], p[inPart:])
	}
	if a.arrived += int64(len(p)); inPart > 0 {
		a.come(&f.mu, a.arrived)
	}
	if a.from <= f.written {
		f.wakeLocked()
	}
	return nil
}

// Written is the offset in the file up to which the part has arrived.
func (a *Ahead) Written() int64 {
	a.fill.mu.Lock()
	defer a.fill.mu.Unlock()
	return a.arrived
}

// Close ends the part where it has come to: what has arrived stays, and others may bring the rest (Fill.Ahead, Fill.Write). Its
// writer calls it when it gives up; after the last byte, or the fill's end, it changes nothing.
func (a *Ahead) Close() {
	f := a.fill
	f.mu.Lock()
	defer f.mu.Unlock()
	a.closed, a.to = true, a.arrived
	f.dropTakenLocked()
	a.tell() // who waits for the rest waits for another to bring it
	f.wakeLocked()
}

// EndParts says that no more parts will begin. When those that there are have been taken in the file has no holes any more, and
// its readers are sent it by the kernel again. Anybody may call it.
func (f *Fill) EndParts() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.partsEnded = true
	f.dropTakenLocked()
}

// ArrivedUntil is up to where the bytes from offset on may be read without a gap, also ahead of Written; offset itself if the
// one there can't be read yet. Anybody may call it.
func (f *Fill) ArrivedUntil(offset int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.whole {
		return max(offset, f.written)
	}
	return max(offset, f.readableLocked(offset))
}

// heldFrom is where the end begins that is held back, in a file of known length.
func (f *Fill) heldFrom() int64 { return max(f.spec.Size-heldBack, 0) }

// readableLocked is up to where the bytes from offset on are in the part and may be read; not more than offset for none.
func (f *Fill) readableLocked(offset int64) int64 {
	if !f.parts {
		return f.flushed
	}
	return min(f.arrivedLocked(offset), f.heldFrom())
}

// arrivedLocked is up to where the bytes from offset on have arrived, be they in the part or in memory; offset for none.
func (f *Fill) arrivedLocked(offset int64) int64 {
	until := max(offset, f.written)
	for _, a := range f.aheads {
		if a.from > until {
			break
		}
		until = max(until, a.arrived)
	}
	return until
}

// aheadAtLocked returns the part whose matter the byte at offset is; nil for none.
func (f *Fill) aheadAtLocked(offset int64) *Ahead {
	for _, a := range f.aheads {
		if a.from <= offset && offset < a.to {
			return a
		}
	}
	return nil
}

// newsOfLocked is of the place where the byte at offset arrives. What is held back may be read only at the fill's end, of which
// all hear.
func (f *Fill) newsOfLocked(offset int64) *news {
	if a := f.aheadAtLocked(offset); a != nil && offset < f.heldFrom() {
		return &a.news
	}
	return &f.news
}

// dropTakenLocked forgets parts of which nothing is to be taken in, and nothing to come.
func (f *Fill) dropTakenLocked() {
	f.aheads = slices.DeleteFunc(f.aheads, func(a *Ahead) bool { return a.to <= max(f.written, a.from) })
	if f.partsEnded && len(f.aheads) == 0 && !f.ended {
		f.parts = false
	}
}

// wakeLocked has the writer look again whether there is something to take in.
func (f *Fill) wakeLocked() {
	if f.aheadCame != nil {
		close(f.aheadCame)
		f.aheadCame = nil
	}
}

// tellAllLocked has all look again who wait for something of the fill.
func (f *Fill) tellAllLocked() {
	f.tell()
	for _, a := range f.aheads {
		a.tell()
	}
	f.wakeLocked()
}
