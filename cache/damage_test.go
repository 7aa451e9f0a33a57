package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// TestAnIndexThatBreaksWhileTheStoreRunsIsReplaced damages index.db under a running store: what memory knows is served
// on and kept, the rest is a miss, and nothing ends the process.
func TestAnIndexThatBreaksWhileTheStoreRunsIsReplaced(t *testing.T) {
	const files = 300
	for name, damage := range map[string]func(path string) error{
		"truncated": func(path string) error { return os.Truncate(path, 4096) }, // the mapping now ends in nothing
		"noise": func(path string) error {
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			info, err := file.Stat()
			if err != nil {
				return err
			}
			_, err = file.WriteAt(randomBytes(int(info.Size())-8192, 9), 8192)
			return errors.Join(err, file.Close())
		},
		"overwritten": func(path string) error {
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = file.Write(randomBytes(16_384, 9))
			return errors.Join(err, file.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := leftWithNumbered(t, files)
			s := openStore(t, dir, Limits{})
			awaitLoaded(t, s)
			if !bytes.Equal(s.content(t, numberedKey(1)), randomBytes(1000, 1)) {
				t.Fatal("not stored")
			}
			if err := damage(indexPath(dir)); err != nil {
				t.Fatal(err)
			}
			// Somebody must look before it shows.
			for i := range files {
				_, err := s.Lookup(numberedKey(i))
				if err != nil && !errors.Is(err, ErrMiss) && !errors.Is(err, errDamagedIndex) {
					t.Errorf("looking up: %v", err)
				}
			}
			s.put(t, testKey("new"), randomBytes(2000, 5))
			_ = s.Sync(context.Background()) // may be the first to find the damage
			if err := s.Sync(context.Background()); err != nil {
				t.Errorf("the new index: %v", err)
			}
			if aside, _ := filepath.Glob(damagedIndexPattern(dir)); len(aside) != 1 {
				t.Errorf("set aside: %v", aside)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			s = openStore(t, dir, Limits{})
			awaitLoaded(t, s)
			if !bytes.Equal(s.content(t, testKey("new")), randomBytes(2000, 5)) {
				t.Error("what was stored after the damage is lost")
			}
			if !bytes.Equal(s.content(t, numberedKey(1)), randomBytes(1000, 1)) {
				t.Error("what memory knew was not put into the new index")
			}
			if stats := s.Stats(); stats.Bytes != diskUse(t, dir) {
				t.Errorf("%d bytes are on the disk: %+v", diskUse(t, dir), stats)
			}
		})
	}
}

func TestADamagedRecordIsAMissAndNoOther(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	for i := range 3 {
		s.put(t, testKey(fmt.Sprint(i)), randomBytes(1000, byte(i)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := openIndex(indexPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		key := testKey("1").bytes()
		record := bytes.Clone(tx.Bucket(entriesBucket).Get(key))
		record[40]++
		// And a record under another's key.
		return errors.Join(tx.Bucket(entriesBucket).Put(key, record),
			tx.Bucket(entriesBucket).Put(testKey("2").bytes(), bytes.Clone(tx.Bucket(entriesBucket).Get(testKey("0").bytes()))))
	})
	if err := errors.Join(err, db.close()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	for file, want := range map[string][]byte{"0": randomBytes(1000, 0), "1": nil, "2": nil} {
		if got := s.content(t, testKey(file)); !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes", file, len(got))
		}
	}
}

func TestAForeignIndexIsSetAside(t *testing.T) {
	for name, begin := range map[string]func(path string) error{
		"another program's": func(path string) error {
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				return err
			}
			err = db.Update(func(tx *bolt.Tx) error {
				_, err := tx.CreateBucket([]byte("theirs"))
				return err
			})
			return errors.Join(err, db.Close())
		},
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a text":      func(path string) error { return os.WriteFile(path, []byte("hello"), 0o600) },
		"no free list": func(path string) error {
			db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true})
			if err != nil {
				return err
			}
			err = db.Update(func(tx *bolt.Tx) error {
				_, err := tx.CreateBucket(metaBucket)
				return err
			})
			return errors.Join(err, db.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			// In a store's own directory: elsewhere a file of that name keeps it from being taken.
			s := openStore(t, dir, Limits{})
			if err := errors.Join(s.Close(), os.Remove(indexPath(dir)), begin(indexPath(dir))); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, dir, Limits{})
			s.put(t, testKey("a"), randomBytes(1000, 1))
			if err := s.Sync(context.Background()); err != nil {
				t.Error(err)
			}
			if aside, _ := filepath.Glob(damagedIndexPattern(dir)); len(aside) != 1 {
				t.Errorf("set aside: %v", aside)
			}
		})
	}
}

func TestStrayFilesAreLeftAloneAndOrphansRemoved(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	e := s.put(t, testKey("a"), randomBytes(1000, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	orphan := blobPath(dir, numberedDigest(1))
	stray := filepath.Join(shardPath(dir, 0xab), "README")
	part := filepath.Join(fillsPath(dir), "1-2.part")
	for _, path := range []string{orphan, stray, part} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	for path, stays := range map[string]bool{orphan: false, stray: true, part: false, blobPath(dir, e.Digest): true} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) == stays {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestASharedBlobThatProvesWrongIsAMissUnderAllItsNames(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	data := randomBytes(1000, 1)
	e := s.put(t, testKey("a"), data)
	s.put(t, testKey("b"), data)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blobPath(s.dir, e.Digest), 10); err != nil {
		t.Fatal(err)
	}
	if s.content(t, testKey("a")) != nil {
		t.Error("served")
	}
	if _, err := s.Lookup(testKey("b")); !errors.Is(err, ErrMiss) {
		t.Errorf("under its other name: %v", err)
	}
	if _, err := s.Link(testKey("c"), s.Generation(testKey("c")), FillSpec{Size: 1000, SHA256: e.Digest}); !errors.Is(err, ErrMiss) {
		t.Errorf("linked: %v", err)
	}
	s.put(t, testKey("b"), data)
	if !bytes.Equal(s.content(t, testKey("b")), data) {
		t.Error("not stored again")
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Bytes != 1000 || stats.Damaged != 1 {
		t.Errorf("%+v", stats)
	}
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	for i := range 10 {
		s.put(t, numberedKey(i), randomBytes(10_000, byte(i%8))) // two are shared
	}
	changed, _ := s.Lookup(numberedKey(3))
	gone, _ := s.Lookup(numberedKey(4))
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blobPath(dir, changed.Digest), randomBytes(10_000, 99), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(blobPath(dir, gone.Digest)); err != nil {
		t.Fatal(err)
	}
	looked, before := 0, s.now()
	result, err := s.Verify(context.Background(), 0, func(p VerifyProgress) { looked = p.Entries })
	if err != nil || result.Blobs != 8 || result.Damaged != 2 || looked != 10 {
		t.Errorf("%+v of %d, %v", result, looked, err)
	}
	for i := range 10 {
		if missing := s.content(t, numberedKey(i)) == nil; missing != (i == 3 || i == 4) {
			t.Errorf("%d is missing: %v", i, missing)
		}
	}
	if result, err := s.Verify(context.Background(), 0, nil); err != nil || result.Blobs != 6 || result.Damaged != 0 {
		t.Errorf("again: %+v, %v", result, err)
	}
	last, err := s.LastVerified()
	if err != nil || last.Before(before) || last.After(s.now()) {
		t.Errorf("last verified %v instead of after %v, %v", last, before, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	if again, err := s.LastVerified(); err != nil || !again.Equal(last) {
		t.Errorf("after a restart: last verified %v instead of %v, %v", again, last, err)
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Verify(stopped, 1, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}
