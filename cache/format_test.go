package cache

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// TestAnIndexOfAnEarlierFormatIsSetAsideAndTheCacheBeginsEmpty is what an upgrade does to a directory of a format that isn't
// migrated (CHANGELOG.md): an edge keeps no file whose name it can't read.
func TestAnIndexOfAnEarlierFormatIsSetAsideAndTheCacheBeginsEmpty(t *testing.T) {
	for _, format := range []string{"gitlab_packages 2", "gitlab_packages 03", "gitlab_packages", "gitlab_packages x", "others 999", ""} {
		t.Run(format, func(t *testing.T) {
			dir := leftWith(t, testKey("app"), randomBytes(1000, 1))
			writeFormat(t, dir, format)

			s := openStore(t, dir, Limits{})
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

// TestAnIndexOfAFormatThatIsMigratedGetsThePresentName, so that an edge of that format leaves it as it is after a roll-back.
func TestAnIndexOfAFormatThatIsMigratedGetsThePresentName(t *testing.T) {
	for _, format := range migrated {
		dir := leftWith(t, testKey("app"), randomBytes(1000, 1))
		writeFormat(t, dir, format)
		s := openStore(t, dir, Limits{})
		awaitLoaded(t, s)
		if _, err := s.Lookup(testKey("app")); err != nil {
			t.Errorf("of %q: %v", format, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if now := readFormat(t, dir); now != indexFormat {
			t.Errorf("%q has become %q", format, now)
		}
		if formatNumber(format) >= formatNumber(indexFormat) {
			t.Errorf("an edge of the format %q wouldn't know that %q is a later one", format, indexFormat)
		}
	}
}

// TestADirectoryThatALaterVersionWroteIsLeftAsItIs is what a roll-back does to a directory: whoever goes back to the later
// version finds all of it.
func TestADirectoryThatALaterVersionWroteIsLeftAsItIs(t *testing.T) {
	for _, format := range []string{"gitlab_packages 5", "gitlab_packages 10", "gitlab_packages 999"} {
		t.Run(format, func(t *testing.T) {
			dir := leftWith(t, testKey("app"), randomBytes(1000, 1))
			writeFormat(t, dir, format)
			// What the later version may keep of a file that broke off.
			if err := os.WriteFile(filepath.Join(fillsPath(dir), "later.part"), []byte("begun"), 0o600); err != nil {
				t.Fatal(err)
			}
			before := sumsOfFiles(t, dir)
			for range 2 { // the edge tries every ten seconds
				if s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}}); !errors.Is(err, ErrNewerFormat) {
					t.Fatalf("opened: %v, %v", s, err)
				}
			}
			if after := sumsOfFiles(t, dir); !maps.Equal(before, after) {
				t.Errorf("the files were %v and are %v", before, after)
			}

			writeFormat(t, dir, indexFormat) // the later version again, as far as a test can have one
			s := openStore(t, dir, Limits{})
			awaitLoaded(t, s)
			if _, err := s.Lookup(testKey("app")); err != nil {
				t.Error(err)
			}
		})
	}
}

// sumsOfFiles are the SHA-256 of all files below a directory.
func sumsOfFiles(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	sums := make(map[string][sha256.Size]byte)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // the test's own
		sums[path] = sha256.Sum256(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
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

// readFormat is what the index of a store that is closed says of its format.
func readFormat(t *testing.T, dir string) (format string) {
	t.Helper()
	db, err := bolt.Open(indexPath(dir), 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bolt.Tx) error {
		format = string(tx.Bucket(metaBucket).Get(formatName))
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return format
}
