package cache

import (
	"context"
	"errors"
	"testing"
)

// TestNothingIsLeftOfAFileThatWasPublishedOrPurgedMeanwhile has its body break off only after that.
func TestNothingIsLeftOfAFileThatWasPublishedOrPurgedMeanwhile(t *testing.T) {
	k := numberedKey(1)
	for name, raise := range map[string]func(t *testing.T, s *Store){
		"published": func(_ *testing.T, s *Store) { s.Raise(k, Published) },
		"purged": func(t *testing.T, s *Store) {
			if _, err := s.Purge(context.Background(), Selector(k)); err != nil {
				t.Error(err)
			}
		},
		"its version purged": func(t *testing.T, s *Store) {
			if _, err := s.Purge(context.Background(), Selector{Version: k.Version}); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{})
			f := s.begin(t, k, FillSpec{Size: 4 << 20})
			f.write(t, randomBytes(2<<20, 1))
			raise(t, s)
			if f.Leave(errLine, nil) {
				t.Error("it is said to be kept")
			}
			if use := diskUse(t, s.dir); use != 0 || s.Stats().Bytes != 0 {
				t.Errorf("%d bytes are left: %+v", use, s.Stats())
			}
		})
	}
}

// TestTheOldestBeginningMakesRoomForANewOne, and one that was put back is the oldest again.
func TestTheOldestBeginningMakesRoomForANewOne(t *testing.T) {
	s, data := openStore(t, t.TempDir(), Limits{}), randomBytes(leastBeginning, 1)
	breakOff := func(i int) { s.breakOff(t, numberedKey(i), FillSpec{Size: 4 << 20}, data) }
	isThere := func(i int) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.beginnings.has(numberedKey(i))
	}
	for i := range maxBeginnings {
		breakOff(i)
	}
	breakOff(maxBeginnings)
	if isThere(0) || !isThere(1) || !isThere(maxBeginnings) {
		t.Errorf("the first is there: %v, the second: %v, the last: %v", isThere(0), isThere(1), isThere(maxBeginnings))
	}
	s.mustTake(t, numberedKey(30)).PutBack()
	breakOff(maxBeginnings + 1)
	if isThere(30) || !isThere(1) {
		t.Errorf("the one that was put back is there: %v, the second: %v", isThere(30), isThere(1))
	}
}

// TestWhatCannotGoOnIsOver: the next fill is of a shorter file, or began before a publish. Nothing stays of the beginning.
func TestWhatCannotGoOnIsOver(t *testing.T) {
	k := numberedKey(1)
	for name, test := range map[string]struct {
		size    int64
		publish bool
		want    error
	}{
		"of a shorter file":             {1<<20 + 999, false, ErrTooLong},
		"begun before a publish":        {4 << 20, true, ErrSuperseded},
		"of an empty file":              {0, false, ErrTooLong},
		"of a shorter one, published":   {1<<20 + 999, true, ErrSuperseded},
		"larger than the store may be":  {1 << 40, false, ErrNoRoom},
		"exactly what has arrived, yes": {1<<20 + 1000, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{})
			s.breakOff(t, k, FillSpec{Size: -1}, randomBytes(1<<20+1000, 1))
			g := s.Generation(k)
			b := s.mustTake(t, k)
			if test.publish {
				s.Raise(k, Published)
			}
			f, err := s.Continue(b, g, FillSpec{Size: test.size})
			if !errors.Is(err, test.want) {
				t.Errorf("goes on: %v", err)
			}
			if err == nil {
				_, err = f.Commit(g)
			}
			want := int64(0)
			if err == nil {
				want = test.size
			}
			if use := diskUse(t, s.dir); use != want {
				t.Errorf("%d bytes are on the disk", use)
			}
			s.checkBytes(t, "afterwards")
		})
	}
}
