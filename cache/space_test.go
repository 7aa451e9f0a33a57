package cache

import (
	"errors"
	"fmt"
	"testing"
)

// tightFS has a fixed number of bytes free, whatever is removed.
type tightFS struct {
	FS
	free int64
}

func (f tightFS) Free(string) (int64, error) { return f.free, nil }

func TestAFileThatCanNeverFitEvictsNothing(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30, MinFree: 1 << 20}, FS: tightFS{osFS{}, 2 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	awaitLoaded(t, s)
	for i := range 5 {
		s.put(t, testKey(fmt.Sprint(i)), randomBytes(100_000, byte(i)))
	}
	k := testKey("big")
	if _, err := s.Begin(k, s.Generation(k), FillSpec{Size: 10 << 20}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v", err)
	}
	if stats := s.Stats(); stats.Entries != 5 || stats.Evictions != 0 {
		t.Errorf("%+v", stats)
	}
}
