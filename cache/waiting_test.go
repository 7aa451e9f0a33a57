package cache

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
)

// fullIndexFS is a file system that has no room for the index while it is full.
type fullIndexFS struct {
	FS
	full atomic.Bool
}

func (f *fullIndexFS) UpdateIndex(transaction func() error) error {
	if f.full.Load() {
		return syscall.ENOSPC
	}
	return transaction()
}

func TestWhatWaitsForAnIndexThatCannotBeWrittenIsBounded(t *testing.T) {
	fs := &fullIndexFS{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	stored := s.put(t, testKey("a"), randomBytes(100, 1))
	link := func(k Key) error {
		_, err := s.Link(k, s.Generation(k), FillSpec{Size: stored.Size, SHA256: stored.Digest})
		return err
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	fs.full.Store(true)
	if err := link(testKey("b")); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(context.Background()); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	// As if all but one of them had been linked; without entries, so that they needn't be written in the end.
	s.mu.Lock()
	for i := range maxPending - 2 {
		key := numberedKey(i)
		s.durability.pending[key.hash()] = &Entry{Key: key}
	}
	s.mu.Unlock()
	if err := link(numberedKey(maxPending)); err != nil {
		t.Fatalf("the last: %v", err)
	}
	if err := link(testKey("c")); !errors.Is(err, ErrNoRoom) {
		t.Errorf("linked one more with %v", err)
	}
	if fill, err := s.Begin(testKey("c"), s.Generation(testKey("c")), FillSpec{Size: 1}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("began one more with %v", err)
		fill.Abort(nil)
	}
	if waiting := s.Stats().Pending; waiting != maxPending {
		t.Errorf("%d wait", waiting)
	}
	fs.full.Store(false)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := link(testKey("c")); err != nil {
		t.Errorf("when the index can be written again: %v", err)
	}
}
