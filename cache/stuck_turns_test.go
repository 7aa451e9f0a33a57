package cache

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilesThatCannotBeRemovedKeepNoOtherForLong has a disk refuse to remove many blobs and one part, and then only some.
func TestFilesThatCannotBeRemovedKeepNoOtherForLong(t *testing.T) {
	const blobs = 30
	s, fs := openSticky(t, Limits{MaxSize: 1 << 20}, new(testClock))
	fs.keep(func(string) bool { return true })
	for i := range blobs {
		s.put(t, numberedKey(i), randomBytes(100, byte(i)))
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Purge(context.Background(), Selector{}); err != nil {
		t.Fatal(err)
	}
	k := numberedKey(blobs)
	f, err := s.Begin(k, s.Generation(k), FillSpec{Size: 200_000})
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, randomBytes(100_000, 1))
	f.Abort(errors.New("the upstream broke off"))
	for range blobs {
		s.asJanitor(func() {
			s.retry() // one more may show otherwise, each time
			s.remove()
		})
	}
	left := func(pattern string) []string {
		found, err := filepath.Glob(filepath.Join(s.dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	const anyBlob, anyPart = "blobs/*/*", "fills/*.part"
	if stuck := len(s.leaving.stuck.files); stuck != blobs+1 || len(left(anyBlob)) != blobs || len(left(anyPart)) != 1 {
		t.Fatalf("%d files are stuck", stuck)
	}

	// Blobs that somebody made immutable keep no part: its bytes take room.
	fs.keep(func(path string) bool { return strings.Contains(path, "/blobs/") })
	s.asJanitor(s.retry)
	if parts := left(anyPart); len(parts) != 0 {
		t.Errorf("left after a tick: %v", parts)
	}
	// Nor do they keep a blob for longer than they take their turns.
	for stuck := blobs; stuck > 0; stuck-- {
		free := left(anyBlob)[0]
		fs.keep(func(path string) bool { return strings.Contains(path, "/blobs/") && path != free })
		for range (stuck + maxStuck - 1) / maxStuck {
			s.asJanitor(s.retry)
		}
		if now := len(left(anyBlob)); now != stuck-1 {
			t.Fatalf("%d of %d blobs are left", now, stuck-1)
		}
	}
}
