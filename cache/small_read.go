package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// smallFile is the size up to which a file that isn't in memory is read whole and closed, before it is served: one open and
	// one read. The kernel sends larger ones without copying them, which pays from about here on.
	smallFile = 64 << 10
	// maxSmallBuffers bounds how many such files are being served at a time, 16 MiB. Beyond that files stay open.
	maxSmallBuffers = 256
)

// smallBuffer is memory for one small file, and one byte more by which a file that is too long is noticed.
type smallBuffer [smallFile + 1]byte

var (
	smallBuffers      = sync.Pool{New: func() any { return new(smallBuffer) }}
	smallBuffersTaken atomic.Int32
)

// takeSmallBuffer returns a buffer, to be released; nil if too many are taken.
func takeSmallBuffer() *smallBuffer {
	if smallBuffersTaken.Add(1) > maxSmallBuffers {
		smallBuffersTaken.Add(-1)
		return nil
	}
	return smallBuffers.Get().(*smallBuffer)
}

// release gives a buffer to whoever needs one next; nil is none.
func (b *smallBuffer) release() {
	if b != nil {
		smallBuffersTaken.Add(-1)
		smallBuffers.Put(b)
	}
}

// readSmall reads the file of a blob that was entered, and leaves it.
func (s *Store) readSmall(state *blobState, buffer *smallBuffer) (*Blob, error) {
	blob, err := s.readInto(state, buffer)
	s.leaveBlob(state)
	if err != nil {
		buffer.release()
		return nil, err
	}
	return blob, nil
}

func (s *Store) readInto(state *blobState, buffer *smallBuffer) (*Blob, error) {
	file, err := s.openNamed(state)
	if err != nil {
		return nil, err
	}
	n, err := io.ReadAtLeast(file, buffer[:state.size+1], int(state.size))
	_ = file.Close() // it was only read
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), err == nil && int64(n) != state.size:
		s.discard(state, reasonLength)
		return nil, ErrMiss
	case err != nil:
		return nil, s.openFailed(state, "reading a blob", err)
	}
	if reason := s.checkOnce(state, buffer[:n]); reason != "" {
		s.discard(state, reason)
		return nil, ErrMiss
	}
	blob := &Blob{size: state.size, data: buffer[:n], buffer: buffer}
	blob.memory = *bytes.NewReader(blob.data)
	return blob, nil
}

// checkOnce makes sure that a file is what its name says, where nobody has since the start: what changed on the disk until then.
func (s *Store) checkOnce(state *blobState, data []byte) (reason string) {
	s.mu.Lock()
	checked := state.checked
	s.mu.Unlock()
	if checked {
		return ""
	}
	if reason := s.compare(state, data); reason != "" {
		return reason
	}
	s.mu.Lock()
	state.checked = true
	s.mu.Unlock()
	return ""
}

// compare tells what is wrong with a file's bytes, if anything is.
func (s *Store) compare(state *blobState, data []byte) (reason string) {
	if Digest(sha256.Sum256(data)) != state.digest {
		s.counters.checksumFailures.Add(1)
		return reasonChecksum
	}
	return ""
}
