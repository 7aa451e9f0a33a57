package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
)

// TestASmallFileIsReadFromItsFillsMemoryJustAfterItsEnd, and needs no file for that; a larger one, and one that wasn't kept, is
// looked up.
func TestASmallFileIsReadFromItsFillsMemoryJustAfterItsEnd(t *testing.T) {
	for name, test := range map[string]struct {
		size      int
		published bool // while the fill ran
		readable  bool
	}{
		"an empty file":            {0, false, true},
		"a small file":             {20_000, false, true},
		"the largest of these":     {heldBack, false, true},
		"one byte more":            {heldBack + 1, false, false},
		"one that was overtaken":   {20_000, true, false},
		"a large one that's taken": {heldBack * 3, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{})
			awaitLoaded(t, s)
			k, data := testKey("a"), randomBytes(test.size, 1)
			f := s.begin(t, k, FillSpec{Size: int64(test.size)})
			g := f.generation
			f.write(t, data)
			if test.published {
				s.Raise(k, Published)
			}
			entry, err := f.Commit(g)
			if (err == nil) == test.published {
				t.Fatal(err)
			}
			reader, err := f.NewReader(context.Background())
			if !test.readable {
				if !errors.Is(err, ErrMiss) {
					t.Fatalf("a reader: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Purge(context.Background(), Selector(entry.Key)); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(struct{ io.Reader }{reader}); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if err := reader.Close(); err != nil {
				t.Error(err)
			}
			if stats := s.Stats(); stats.Bytes != 0 {
				t.Errorf("left over: %+v", stats)
			}
		})
	}
}
