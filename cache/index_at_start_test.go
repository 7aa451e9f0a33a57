package cache

import (
	"errors"
	"os"
	"testing"
)

// damagingFS damages the index when its name is made durable.
type damagingFS struct {
	FS
	armed bool
}

func (f *damagingFS) SyncDir(path string) error {
	if f.armed && isOnDisk(indexPath(path)) {
		f.armed = false
		if err := os.Truncate(indexPath(path), 4096); err != nil {
			return err
		}
	}
	return f.FS.SyncDir(path)
}

func isOnDisk(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestAnIndexThatBreaksAmidTheStartIsNotTakenForEmpty: the start fails, and leaves an empty one to the next, which doesn't wait for
// the lock of this one's.
func TestAnIndexThatBreaksAmidTheStartIsNotTakenForEmpty(t *testing.T) {
	dir := leftWith(t, testKey("a"), randomBytes(1000, 1))
	fs := &damagingFS{FS: OS(), armed: true}
	if s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, FS: fs}); !errors.Is(err, errDamagedIndex) {
		t.Errorf("opened: %v", err)
		if err == nil {
			_ = s.Close()
		}
	}
	s := openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	if stats := s.Stats(); stats.Entries != 0 || stats.Bytes != 0 {
		t.Errorf("%+v", stats)
	}
}
