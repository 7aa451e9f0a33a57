package cache

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// segment is a piece of memory that the operating system gives directly, outside of Go's heap: there, the collector would let
// as much again grow beside it. Files lie in it one behind the other. A segment is used again, or given back, only while nobody
// reads from it.
//
// Which files it holds is the memory tier's matter (memory.go), guarded by Store.mu. Leaving it isn't.
type segment struct {
	data []byte
	// filled is where the next file begins, live how many bytes before that are of files that are still held, or on their way in.
	filled, live int
	// files are those that were put here, in their order. Some may have gone since.
	files []Digest

	// readers are those who may read the bytes now. They come only under Store.mu, and leave without it.
	readers atomic.Int32
	// retired says that the last reader gives the memory back.
	retired atomic.Bool
	release sync.Once
	// mapped is the tier's count of the bytes it has from the system.
	mapped *atomic.Int64
}

// newSegment takes memory from the operating system. It counts in mapped until it is given back. The pages are the process's
// only once they are written to.
func newSegment(size int, mapped *atomic.Int64) (*segment, error) {
	data, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("taking %d bytes of memory from the system: %w", size, err)
	}
	mapped.Add(int64(size))
	return &segment{data: data, mapped: mapped}, nil
}

func (s *segment) enter() { s.readers.Add(1) }

// leave ends a reading. Nothing of the segment may be read afterwards.
func (s *segment) leave() {
	if s.readers.Add(-1) == 0 && s.retired.Load() {
		s.unmap()
	}
}

// retire gives the memory back as soon as nobody reads from it. Nobody may enter any more.
func (s *segment) retire() {
	s.retired.Store(true)
	if s.readers.Load() == 0 {
		s.unmap()
	}
}

// unmap comes from whoever sees first that the segment is retired and without readers: both who retires it and who leaves it
// last may.
func (s *segment) unmap() {
	s.release.Do(func() {
		size := len(s.data)
		if err := unix.Munmap(s.data); err != nil {
			return // it stays counted, as it stays
		}
		s.data = nil
		s.mapped.Add(-int64(size))
	})
}
