package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

func TestOnlyAnIndexThatTheDiskCannotGiveBackIsDamaged(t *testing.T) {
	for err, damaged := range map[error]bool{
		bolterrors.ErrTimeout: false, syscall.EMFILE: false, syscall.EACCES: false, syscall.ENOSPC: false, syscall.EROFS: false,
		syscall.EIO: true, syscall.EISDIR: true, bolterrors.ErrInvalid: true, bolterrors.ErrVersionMismatch: true,
	} {
		got := classifyOpenError(fmt.Errorf("trying: %w", err))
		if !errors.Is(got, err) || errors.Is(got, errDamagedIndex) != damaged {
			t.Errorf("%v becomes %v", err, got)
		}
	}
	if _, err := openIndex(filepath.Join(t.TempDir(), "gone", "index.db")); !errors.Is(err, os.ErrNotExist) || errors.Is(err, errDamagedIndex) {
		t.Errorf("in a directory that isn't there: %v", err)
	}
}

// makeIndex makes an index, lets it be changed, and returns its path.
func makeIndex(t *testing.T, change func(*bolt.Tx) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index.db")
	db, err := openIndex(path)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		err = db.Update(change)
	}
	if err := errors.Join(err, db.close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// overwrite changes bytes of a page.
func (x *openedIndex) overwrite(t *testing.T, page, at uint64, data []byte) {
	t.Helper()
	if _, err := x.os.WriteAt(data, int64(page*x.pageSize+at)); err != nil { //nolint:gosec // a small file
		t.Fatal(err)
	}
}

// bothMeta changes both pages of meta data, and makes their check sums right again.
func (x *openedIndex) bothMeta(t *testing.T, change func(meta []byte)) {
	t.Helper()
	for page := range uint64(boltMetaPages) {
		meta := make([]byte, boltMetaLength)
		if err := x.read(meta, page, boltPageHeader); err != nil {
			t.Fatal(err)
		}
		change(meta)
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:56])
		binary.NativeEndian.PutUint64(meta[56:], sum.Sum64())
		x.overwrite(t, page, boltPageHeader, meta)
	}
}

// TestAnIndexThatIsNotOursIsDamaged, whatever finds that: our look at its pages, bbolt's at its beginning, or ours at what is in
// it.
func TestAnIndexThatIsNotOursIsDamaged(t *testing.T) {
	removing := func(name []byte) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error { return tx.DeleteBucket(name) }
	}
	for _, test := range []struct {
		name   string
		change func(*bolt.Tx) error
		harm   func(t *testing.T, x *openedIndex)
		// looked says that a look at the beginning, as before each transaction, finds it.
		looked bool
	}{
		{"without entries", removing(entriesBucket), nil, false},
		{"without uses", removing(usesBucket), nil, false},
		{"without a format", removing(metaBucket), nil, false},
		{"of another version of bbolt's", nil, func(t *testing.T, x *openedIndex) {
			x.bothMeta(t, func(meta []byte) { binary.NativeEndian.PutUint32(meta[4:], 3) })
		}, false},
		{"with no list of free pages", nil, func(t *testing.T, x *openedIndex) {
			x.bothMeta(t, func(meta []byte) { binary.NativeEndian.PutUint64(meta[32:], boltNoFreelist) })
		}, true},
		{"whose list of free pages is none", nil, func(t *testing.T, x *openedIndex) {
			x.overwrite(t, x.meta.freelist, 8, []byte{boltLeaf, 0})
		}, false},
		{"whose last page is cut off", nil, func(t *testing.T, x *openedIndex) {
			if err := x.os.Truncate(int64(x.meta.pages*x.pageSize) - 1); err != nil { //nolint:gosec // a small file
				t.Error(err)
			}
		}, true},
		{"whose beginning is gone", nil, func(t *testing.T, x *openedIndex) {
			for page := range uint64(boltMetaPages) {
				x.overwrite(t, page, boltPageHeader, make([]byte, boltMetaLength))
			}
		}, true},
		{"whose names of buckets are far beyond the end", nil, func(t *testing.T, x *openedIndex) {
			root, err := x.header(x.meta.root)
			if err != nil {
				t.Fatal(err)
			}
			for i := range uint64(root.count) { // as keys of their own, which our look passes over
				x.overwrite(t, root.number, boltPageHeader+i*boltElement, []byte{0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x7F})
			}
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := makeIndex(t, test.change)
			if test.harm != nil {
				x := examine(t, path)
				test.harm(t, x)
				if _, err := inspectIndex(x.os); errors.Is(err, errDamagedIndex) != test.looked {
					t.Errorf("a look at the beginning says %v", err)
				}
			}
			if db, err := openIndex(path); !errors.Is(err, errDamagedIndex) {
				t.Errorf("opened with %v", err)
				if err == nil {
					_ = db.close()
				}
			}
		})
	}
}

// TestAnIndexAsLongAsItSaysIsSound has no byte after the last page.
func TestAnIndexAsLongAsItSaysIsSound(t *testing.T) {
	x := examine(t, makeIndex(t, nil))
	if err := x.os.Truncate(int64(x.meta.pages * x.pageSize)); err != nil { //nolint:gosec // a small file
		t.Fatal(err)
	}
	if _, err := inspectIndex(x.os); err != nil {
		t.Error(err)
	}
}

func TestAnEmptyIndexThatCannotBeWrittenIsNoIndex(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	empty, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := empty.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := checkFormat(db); !errors.Is(err, bolterrors.ErrDatabaseReadOnly) {
		t.Errorf("taken with %v", err)
	}
}

// TestAFaultInTheMappingIsAnError as where a disk fails under the index: it ends what was asked and not the process. What runs
// in the goroutine after that faults as everything else.
func TestAFaultInTheMappingIsAnError(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "mapped"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	mapped, err := syscall.Mmap(int(file.Fd()), 0, os.Getpagesize(), syscall.PROT_READ, syscall.MAP_SHARED) // of a file without bytes
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(mapped) }()
	read := func() (err error) {
		defer guardDamage(&err)()
		_ = mapped[0] + mapped[1]
		if mapped[2] == 1 {
			t.Error("there is something")
		}
		return nil
	}
	if err := read(); !errors.Is(err, errDamagedIndex) {
		t.Errorf("read with %v", err)
	}
	if debug.SetPanicOnFault(false) {
		t.Error("a fault is a panic ever after")
	}
}

func TestUsingTheIndexTellsWhatWentWrong(t *testing.T) {
	db, err := openIndex(makeIndex(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	x := &index{db: db}
	refused := errors.New("refused")
	if _, err := x.update(func(*bolt.Tx) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("changed with %v", err)
	}
	if _, err := x.view(func(*bolt.Tx) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("read with %v", err)
	}
	// As while another takes its place.
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.view(func(*bolt.Tx) error { return nil }); !errors.Is(err, errNoIndex) {
		t.Errorf("read with %v, although the database is closed", err)
	}
	if err := db.file.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.view(func(*bolt.Tx) error { return nil }); !errors.Is(err, errNoIndex) {
		t.Errorf("read with %v, although the file is closed", err)
	}
	if err := x.close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed with %v", err)
	}
	if _, err := x.view(func(*bolt.Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("read with %v, although the index is closed", err)
	}
}

// TestAnIndexWhoseLocksAreHeldForEverKeepsNothingFromEnding, as after a panic within bbolt.
func TestAnIndexWhoseLocksAreHeldForEverKeepsNothingFromEnding(t *testing.T) {
	db, err := openIndex(makeIndex(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	held, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.closeWithin(time.Millisecond); err == nil {
		t.Error("it is closed amid a transaction")
	}
	if err := held.Rollback(); err != nil { // so that nothing is left of the test
		t.Error(err)
	}
}

// TestAQuestionThatTheIndexCannotAnswerIsNoMiss: of a miss, the entry would be given up, and the file fetched again.
func TestAQuestionThatTheIndexCannotAnswerIsNoMiss(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	for i := range 2 {
		s.put(t, numberedKey(i), randomBytes(100, byte(i)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	swap := func(db *database) (before *database) {
		s.index.mu.Lock()
		defer s.index.mu.Unlock()
		before, s.index.db = s.index.db, db
		return before
	}
	db := swap(nil)
	_, err := s.Lookup(numberedKey(0))
	swap(db)
	if !errors.Is(err, ErrDisk) {
		t.Errorf("without an index: %v", err)
	}
	if s.content(t, numberedKey(0)) == nil {
		t.Error("the entry is gone")
	}
	if err := os.Truncate(indexPath(dir), 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lookup(numberedKey(1)); !errors.Is(err, errDamagedIndex) {
		t.Errorf("with a damaged index: %v", err)
	}
}

// TestAChangeOfTheIndexThatFailsHalfwayChangesNothing and is told.
func TestAChangeOfTheIndexThatFailsHalfwayChangesNothing(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	refused := errors.New("refused")
	err := s.updateIndex(func(tx *bolt.Tx) error {
		return errors.Join(tx.Bucket(metaBucket).Put([]byte("half"), []byte("done")), refused)
	})
	if !errors.Is(err, refused) {
		t.Errorf("changed with %v", err)
	}
	err = s.viewIndex(func(tx *bolt.Tx) error {
		if tx.Bucket(metaBucket).Get([]byte("half")) != nil {
			t.Error("a half stays")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestABatchBeginsAnIndexWhereThereIsNone, as where the disk was full when the damaged one was set aside.
func TestABatchBeginsAnIndexWhereThereIsNone(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.put(t, testKey("a"), randomBytes(100, 1))
	s.index.mu.Lock()
	db := s.index.db
	s.index.db, s.index.condemned = nil, errDamagedIndex
	s.index.mu.Unlock()
	if err := db.close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Error(err)
	}
	if record, err := s.readIndex(testKey("a")); err != nil || record == nil {
		t.Errorf("the new index has %v, %v", record, err)
	}
	if aside, _ := filepath.Glob(damagedIndexPattern(s.dir)); len(aside) != 1 {
		t.Errorf("set aside: %v", aside)
	}
}
