package cache

import (
	"errors"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// TestAnIndexOfAnotherFormatIsSetAsideAndTheCacheBeginsEmpty is what an upgrade or a downgrade does to a directory
// (CHANGELOG.md): an edge reads no format but its own, and keeps no file whose name it can't read.
func TestAnIndexOfAnotherFormatIsSetAsideAndTheCacheBeginsEmpty(t *testing.T) {
	for _, format := range []string{"gitlab_packages 2", "gitlab_packages 999"} {
		t.Run(format, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir, Limits{})
			s.put(t, testKey("app"), randomBytes(1000, 1))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			writeFormat(t, dir, format)

			s = openStore(t, dir, Limits{})
			awaitLoaded(t, s)
			if _, err := s.Lookup(testKey("app")); !errors.Is(err, ErrMiss) {
				t.Errorf("an entry of another format: %v", err)
			}
			if used := diskUse(t, dir); used != 0 {
				t.Errorf("%d bytes of files that nothing names", used)
			}
			if aside, _ := filepath.Glob(damagedIndexPattern(dir)); len(aside) != 1 {
				t.Errorf("set aside: %v", aside)
			}
			s.put(t, testKey("new"), randomBytes(1000, 2))
		})
	}
}

// writeFormat has the index of a store that is closed say that it is of that format.
func writeFormat(t *testing.T, dir, format string) {
	t.Helper()
	db, err := bolt.Open(indexPath(dir), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(formatName, []byte(format)) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}
