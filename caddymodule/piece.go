package caddymodule

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// writePiece is how much is written to a client at once. Bigger pieces cost fewer system calls, and by HTTP/2 fewer turns
	// between the handler and Go's loop of frames; this size still lets a client of 10 KB/s through within Caddy's minute.
	writePiece = 512 << 10
	// copyPiece is how much of what may arrive slowly is sent at once, and of all else when memory for larger pieces is taken.
	copyPiece = 32 << 10
	// maxLargePieces bounds how many pieces of writePiece there are at a time, 64 MiB in all.
	maxLargePieces = 64 << 20 / writePiece
)

var (
	copyBuffers      = sync.Pool{New: func() any { return new([copyPiece]byte) }}
	largePieces      = sync.Pool{New: func() any { return new([writePiece]byte) }}
	largePiecesTaken atomic.Int32
)

// piece is memory through which a file's bytes go to one client.
type piece struct {
	bytes []byte
	small *[copyPiece]byte
	large *[writePiece]byte
}

// takePiece returns memory for up to size bytes at a time, or less. It is to be given back by giveBack.
func takePiece(size int64) piece {
	if size > copyPiece {
		if largePiecesTaken.Add(1) <= maxLargePieces {
			large := largePieces.Get().(*[writePiece]byte)
			return piece{bytes: large[:], large: large}
		}
		largePiecesTaken.Add(-1)
	}
	small := copyBuffers.Get().(*[copyPiece]byte)
	return piece{bytes: small[:], small: small}
}

// giveBack ends the use of a piece. Others use the memory then, unless a Write of it failed: after that, Go's HTTP/2 may still
// read from it, for a frame that it had begun, and the frame would get bytes of somebody else's file.
func (p piece) giveBack(written bool) {
	if p.large != nil {
		largePiecesTaken.Add(-1)
	}
	switch {
	case !written:
	case p.large != nil:
		largePieces.Put(p.large)
	default:
		copyBuffers.Put(p.small)
	}
}

// sendPieces copies source to w: each piece is written when it is there, under a deadline of its own. Of size, which may be -1 for
// unknown, it knows how large the pieces should be. after, if set, follows each Write.
func sendPieces(w io.Writer, source io.Reader, size int64, after func() error) (total int64, err error) {
	if size < 0 {
		size = copyPiece
	}
	p := takePiece(size)
	written := false
	defer func() { p.giveBack(written) }()
	for {
		n, failed := source.Read(p.bytes)
		if n > 0 {
			sent, err := w.Write(p.bytes[:n])
			total += int64(sent)
			if err == nil && sent < n {
				err = io.ErrShortWrite
			}
			if err == nil && after != nil {
				err = after()
			}
			if err != nil {
				return total, &writeError{err}
			}
		}
		if failed != nil {
			written = true
			if errors.Is(failed, io.EOF) {
				failed = nil
			}
			return total, failed
		}
	}
}

// writeError is of writing to a client, which has left or takes nothing any more.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

// sendCopied writes bytes that are another file's when their reader has left.
func sendCopied(w io.Writer, data []byte) (total int64, err error) {
	p := takePiece(int64(len(data)))
	written := false
	defer func() { p.giveBack(written) }()
	for len(data) > 0 {
		n := copy(p.bytes, data)
		sent, err := w.Write(p.bytes[:n])
		total += int64(sent)
		if err != nil {
			return total, err
		}
		data = data[n:]
	}
	written = true
	return total, nil
}
