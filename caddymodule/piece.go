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
	// readPiece is how much is read at once of a stored file that the kernel could send by itself, if its size is readPieceFrom or more: see
	// sendFrom.
	readPiece     = 1 << 20
	readPieceFrom = 4 << 20
)

var (
	copyPieces = newPieces(copyPiece, 0)
	// writePieces are for what has to be copied anyway.
	writePieces = newPieces(writePiece, 64<<20)
	// readPieces are for what hasn't.
	readPieces = newPieces(readPiece, 8<<20)
)

// pieces are memory of one size through which files' bytes go to clients.
type pieces struct {
	size int
	// most is how many there may be at a time; 0 for any number.
	most  int32
	taken atomic.Int32
	pool  sync.Pool
}

// newPieces returns pieces of that size, which take no more than so many bytes in all; 0 for no limit.
func newPieces(size, inAll int) *pieces {
	p := &pieces{size: size, most: int32(inAll / size)} //nolint:gosec // constants
	p.pool.New = func() any { return &piece{from: p, bytes: make([]byte, size)} }
	return p
}

// take returns a piece, to be given back; nil if all are taken.
func (p *pieces) take() *piece {
	if p.taken.Add(1) > p.most && p.most > 0 {
		p.taken.Add(-1)
		return nil
	}
	return p.pool.Get().(*piece)
}

// takePiece returns a piece for up to size bytes at a time, or less. It is to be given back.
func takePiece(size int64) *piece {
	if size > copyPiece {
		if p := writePieces.take(); p != nil {
			return p
		}
	}
	return copyPieces.take()
}

// piece is memory through which a file's bytes go to one client.
type piece struct {
	from  *pieces
	bytes []byte
}

// giveBack ends the use of a piece. Others use the memory then, unless a Write of it failed: after that, Go's HTTP/2 may still
// read from it, for a frame that it had begun, and the frame would get bytes of somebody else's file.
func (p *piece) giveBack(written bool) {
	p.from.taken.Add(-1)
	if written {
		p.from.pool.Put(p)
	}
}

// sendPieces copies source to w: each piece is written when it is there, under a deadline of its own. Of size, which may be -1 for
// unknown, it knows how large the pieces should be. after, if set, follows each Write.
func sendPieces(w io.Writer, source io.Reader, size int64, after func() error) (total int64, err error) {
	if size < 0 {
		size = copyPiece
	}
	return takePiece(size).send(w, source, after)
}

// send copies source to w by way of the piece, and gives that back.
func (p *piece) send(w io.Writer, source io.Reader, after func() error) (total int64, err error) {
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
