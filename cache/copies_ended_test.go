package cache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
)

// newBareStore is a store without an index and a janitor, for fills in a bubble of synctest.
func newBareStore(t *testing.T, fs FS, limits Limits) *Store {
	t.Helper()
	s := newStore(Config{Dir: t.TempDir(), FS: fs, Limits: limits})
	if err := os.MkdirAll(fillsPath(s.dir), 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestACopyThatIsToGiveWayIsNobodysAnyMore: whoever vouches for it, or goes on with it, hears that it gave way, and not before its
// room is free.
func TestACopyThatIsToGiveWayIsNobodysAnyMore(t *testing.T) {
	for name, use := range map[string]func(f *Fill) error{
		"vouching for it": (*Fill).Adopt,
		"writing more":    func(f *Fill) error { _, err := f.Write(make([]byte, copyStep)); return err },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newBareStore(t, OS(), Limits{MaxSize: 64 << 20, UploadRoom: copyShares * copyStep})
			f := s.mustBeginCopy(t, "a", "a", 1)
			// Another one of the same address asks for room.
			other := &Fill{store: s, spec: FillSpec{Copy: UnprovenUpload("a")}, room: &s.space.copies.holding}
			s.mu.Lock()
			quietest, err := s.tryReserveCopyLocked(other, copyStep, 1<<40)
			s.mu.Unlock()
			if quietest != f || err != nil {
				t.Fatalf("another one is to give way: %v", err)
			}
			used := make(chan error, 1)
			go func() { used <- use(f) }() // ends with the copy
			synctest.Wait()
			if len(used) > 0 {
				t.Errorf("%s: over before the copy is: %v", name, <-used)
				return
			}
			quietest.drop()
			if err := <-used; !errors.Is(err, errCopyDropped) {
				t.Errorf("%s: %v", name, err)
			}
			if stats := s.Stats(); stats.Bytes != 0 || stats.Copies != 0 {
				t.Errorf("%s: %+v", name, stats)
			}
		})
	}
}

// TestTheRoomOfACopyIsTakenOnceItsPartIsGone has somebody else end it, whose removal takes long.
func TestTheRoomOfACopyIsTakenOnceItsPartIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newHeldRemoval()
		s := newBareStore(t, fs, Limits{MaxSize: 64 << 20, UploadRoom: copyShares * copyStep})
		first := s.mustBeginCopy(t, "first", "a", 1)
		fs.name = filepath.Base(first.path)
		go first.Abort(nil) // ends when the removal is let go
		<-fs.removing
		begun := make(chan error, 1)
		go func() { // ends when the removal is let go
			_, err := s.beginCopy(t, "second", "a", 1)
			begun <- err
		}()
		synctest.Wait()
		if len(begun) > 0 {
			t.Error("the second one didn't wait")
		}
		close(fs.held)
		if err := <-begun; err != nil {
			t.Errorf("the second one began with %v", err)
		}
		synctest.Wait()
		if stats := s.Stats(); stats.Copies != 1 || stats.CopyBytes != copyStep {
			t.Errorf("%+v", stats)
		}
	})
}
