package cache

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// setAside returns what the one index that is set aside has in it; nil if there is none.
func setAside(t *testing.T, dir string) []byte {
	t.Helper()
	found, err := filepath.Glob(damagedIndexPattern(dir))
	if err != nil || len(found) > 1 {
		t.Fatalf("set aside: %v, %v", found, err)
	}
	if len(found) == 0 {
		return nil
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// openObserved opens a store in a directory, waits until it is loaded, and returns what it logs from warnings on.
func openObserved(t *testing.T, dir string) (*Store, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	s.CloseAtEnd(t, t.Log)
	awaitLoaded(t, s)
	return s, logs
}

// TestADamagedIndexIsReplacedOnce although several meet its damage. It can be looked at later, and what isn't remembered of it takes
// no room.
func TestADamagedIndexIsReplacedOnce(t *testing.T) {
	dir := leftWithNumbered(t, 3)
	s, logs := openObserved(t, dir)
	remembered := s.lookup(t, numberedKey(1))
	damaged, reason := s.index.db, errors.New("its pages are wrong")
	before, err := os.ReadFile(indexPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.replaceIndex(damaged, reason); !errors.Is(err, reason) {
		t.Errorf("the first is told %v", err)
	}
	begun := s.index.db
	if begun == nil || begun == damaged || s.index.replaced != 1 || s.index.condemned != nil {
		t.Errorf("the index after that: %+v", &s.index)
	}
	if err := s.replaceIndex(damaged, reason); !errors.Is(err, reason) || s.index.db != begun {
		t.Errorf("the second is told %v, and the index is another: %v", err, s.index.db != begun)
	}
	if !bytes.Equal(setAside(t, dir), before) {
		t.Error("what is set aside isn't what was damaged")
	}
	if errorsOfDisk := s.Stats().DiskErrors; errorsOfDisk != 1 || logs.Len() != 1 {
		t.Errorf("%d errors of the disk count; told %v", errorsOfDisk, logs.All())
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Entries != 1 || stats.Pending != 0 {
		t.Errorf("%+v", stats)
	}
	if record, err := s.readIndex(numberedKey(1)); err != nil || record == nil || record.Digest != remembered.Digest {
		t.Errorf("the new index has %+v, %v", record, err)
	}
}

// TestADamagedIndexTakesThePlaceOfTheOneBefore: those that are set aside take room that counts nowhere.
func TestADamagedIndexTakesThePlaceOfTheOneBefore(t *testing.T) {
	dir := t.TempDir()
	s, logs := openObserved(t, dir)
	earlier := damagedIndexPath(dir, 1)
	if err := os.WriteFile(earlier, []byte("an earlier one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.replaceIndex(s.index.db, errors.New("its pages are wrong")); err == nil {
		t.Error("nobody is told")
	}
	if aside := setAside(t, dir); len(aside) < 1<<10 || logs.Len() != 1 {
		t.Errorf("%d bytes are set aside; told %v", len(aside), logs.All())
	}
}

// TestAnIndexThatIsDamagedAndGoneIsBegunAnew although there is nothing to set aside.
func TestAnIndexThatIsDamagedAndGoneIsBegunAnew(t *testing.T) {
	dir := t.TempDir()
	s, _ := openObserved(t, dir)
	if err := os.Remove(indexPath(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.setIndexAside(errDamagedIndex); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("set aside: %v", err)
	}
	if err := s.replaceIndex(s.index.db, errors.New("its pages are wrong")); err == nil {
		t.Error("nobody is told")
	}
	s.put(t, testKey("a"), randomBytes(1000, 1))
	if err := s.Sync(t.Context()); err != nil || setAside(t, dir) != nil {
		t.Errorf("synced: %v", err)
	}
}

// withoutIndex takes a store's index away, as if none could be begun in the place of a damaged one.
func (s *Store) withoutIndex(t *testing.T) {
	t.Helper()
	s.index.mu.Lock()
	db := s.index.db
	s.index.db = nil
	s.index.mu.Unlock()
	if err := db.close(); err != nil {
		t.Fatal(err)
	}
}

// TestWhatStandsInTheWayOfANewIndexIsSetAside if it is no index, and used if it is one.
func TestWhatStandsInTheWayOfANewIndexIsSetAside(t *testing.T) {
	for name, left := range map[string][]byte{"noise": randomBytes(20_000, 1), "an index": nil} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, _ := openObserved(t, dir)
			s.withoutIndex(t)
			if left != nil {
				if err := os.WriteFile(indexPath(dir), left, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.LastVerified(); !errors.Is(err, errNoIndex) {
				t.Errorf("without an index: %v", err)
			}
			s.mendIndex()
			if _, err := s.LastVerified(); err != nil {
				t.Errorf("with one: %v", err)
			}
			if !bytes.Equal(setAside(t, dir), left) {
				t.Error("something else is set aside")
			}
		})
	}
}

// TestAStoreThatEndsWhileItsIndexIsBegunLeavesItToTheNext: whoever opens the directory next would wait for its lock.
func TestAStoreThatEndsWhileItsIndexIsBegunLeavesItToTheNext(t *testing.T) {
	dir := t.TempDir()
	s, _ := openObserved(t, dir)
	s.withoutIndex(t)
	s.index.condemned = errors.New("its pages are wrong")
	core, _ := observer.New(zap.ErrorLevel)
	s.logger = zap.New(core, zap.Hooks(func(zapcore.Entry) error { // it is being set aside
		s.index.mu.Lock()
		defer s.index.mu.Unlock()
		s.index.closed = true
		return nil
	}))
	s.mendIndex()
	db, err := openIndex(indexPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.close(); err != nil {
		t.Error(err)
	}
}

// TestTheIndexOfAnotherStoreIsNotSetAside: somebody has put another directory in the place of this one.
func TestTheIndexOfAnotherStoreIsNotSetAside(t *testing.T) {
	dir := t.TempDir()
	if err := openStore(t, dir, Limits{}).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(indexPath(dir), []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStore(Config{Dir: dir})
	if err := s.takeDirectory(); err != nil {
		t.Fatal(err)
	}
	defer s.lock.Close()
	if err := os.Remove(lockPath(dir)); err != nil {
		t.Fatal(err)
	}
	reason := errors.New("its pages are wrong")
	if err := s.setIndexAside(reason); !errors.Is(err, reason) {
		t.Errorf("set aside: %v", err)
	}
	if err := s.beginIndex(); !errors.Is(err, errDamagedIndex) {
		t.Errorf("begun: %v", err)
	}
	if data, err := os.ReadFile(indexPath(dir)); err != nil || string(data) != "theirs" {
		t.Errorf("there is %q, %v", data, err)
	}
}
