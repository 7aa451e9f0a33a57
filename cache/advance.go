package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
)

// takenInPiece is how much of what has arrived ahead is read back at a time, to be hashed: the disk's cache has it still.
const takenInPiece = 256 << 10

var takenInBuffers = sync.Pool{New: func() any { return new([takenInPiece]byte) }}

// Advance takes in what has arrived ahead and has no gap before it any more: it counts for the sum, and for Written, from then
// on. It reports whether there was anything. A part may be taken in while it still arrives. What comes while Advance works waits
// for the next call. After an error the fill is over, as after Write's.
//
// Only who writes the fill may call it, between two calls of Write or after the last.
func (f *Fill) Advance() (advanced bool, err error) {
	f.mu.Lock()
	at, until, end, ended := f.written, f.arrivedLocked(f.written), f.end, f.ended
	f.mu.Unlock()
	if ended {
		return false, f.refuse()
	}
	if at == until {
		return false, nil
	}
	buffer := takenInBuffers.Get().(*[takenInPiece]byte)
	defer takenInBuffers.Put(buffer)
	for held := f.heldFrom(); at < until; at = f.written {
		var piece []byte
		if at < held {
			piece = buffer[:min(takenInPiece, min(until, held)-at)]
			if err := f.readBack(piece, at); err != nil {
				f.finish(ending{err: err})
				return false, err
			}
		} else {
			piece = end[at-held : until-held]
		}
		if f.taken != nil {
			if err := f.taken(piece); err != nil {
				return advanced, err
			}
		}
		if err := f.takeIn(piece); err != nil {
			return false, err
		}
	}
	return true, nil
}

// OnTaken has a function told of all bytes that Advance takes in, in their order and before they count, such as one that makes another
// sum of them. After its error Advance returns that, and the fill is as it was. Only who writes the fill may call it, before Advance.
func (f *Fill) OnTaken(told func(piece []byte) error) { f.taken = told }

// MayHaveParts reports whether Ahead can begin parts (FillSpec.Parts).
func (f *Fill) MayHaveParts() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.parts
}

// readBack reads what has arrived in the part.
func (f *Fill) readBack(piece []byte, at int64) error {
	n, err := f.file.ReadAt(piece, at)
	switch {
	case n == len(piece):
		return nil
	case errors.Is(err, os.ErrClosed):
		return f.refuse() // aborted meanwhile
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return f.store.diskError("reading a fill", err)
}

// takeIn makes the next bytes some of those that have arrived without a gap.
func (f *Fill) takeIn(piece []byte) error {
	_, _ = f.hash.Write(piece) // never fails
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return f.refuseLocked()
	}
	f.written += int64(len(piece))
	held := f.heldFrom()
	f.flushed = min(f.written, held)
	if f.written > held {
		f.tail = f.end[:f.written-held]
	}
	f.dropTakenLocked() // who waits for bytes has heard of these when they came
	return nil
}

// AwaitAhead waits until Advance has something to take in. ErrGap says that it would wait in vain: no part ahead is open at
// Written. Of a fill that has ended the error is why, and of a context its cause. Only who writes the fill may call it.
func (f *Fill) AwaitAhead(ctx context.Context) error {
	for {
		f.mu.Lock()
		next := f.aheadAtLocked(f.written)
		switch {
		case f.ended:
			f.mu.Unlock()
			return f.refuse()
		case next == nil:
			f.mu.Unlock()
			return ErrGap
		case next.arrived > f.written:
			f.mu.Unlock()
			return nil
		}
		if f.aheadCame == nil {
			f.aheadCame = make(chan struct{})
		}
		came := f.aheadCame
		f.mu.Unlock()
		select {
		case <-came:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
