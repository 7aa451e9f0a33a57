package cache

import (
	"errors"
	"testing"
)

// TestNothingLargerThanMaxObjectIsKept: where the length isn't known, the bytes tell.
func TestNothingLargerThanMaxObjectIsKept(t *testing.T) {
	const most = 500_000
	k := testKey("a")
	for name, begin := range map[string]func(t *testing.T, s *Store, some []byte) *Fill{
		"a fetch": func(t *testing.T, s *Store, some []byte) *Fill {
			f := s.begin(t, k, FillSpec{Size: -1})
			f.write(t, some)
			return f
		},
		"a fetch that goes on after its body broke off": func(t *testing.T, s *Store, some []byte) *Fill {
			s.breakOff(t, k, FillSpec{Size: -1}, some)
			f, err := s.Continue(s.mustTake(t, k), s.Generation(k), FillSpec{Size: -1})
			if err != nil {
				t.Fatal(err)
			}
			return f
		},
		"a stranger's upload": func(t *testing.T, s *Store, some []byte) *Fill {
			return s.mustBeginCopy(t, "a", "192.0.2.1", len(some))
		},
		"an upload that was vouched for": func(t *testing.T, s *Store, some []byte) *Fill {
			f := s.mustBeginCopy(t, "a", "192.0.2.1", len(some))
			if err := f.Adopt(); err != nil {
				t.Fatal(err)
			}
			return f
		},
	} {
		s, data := openOn(t, OS(), Limits{MaxSize: 64 << 20, MaxObject: most, UploadRoom: 4 << 20}), make([]byte, most)
		s.beginnings.least = 1
		for _, arrived := range []int{1, 100_000, most - 1, most} {
			f := begin(t, s, data[:arrived])
			f.write(t, data[arrived:])
			if reserved := s.Stats().Reserved; reserved > most {
				t.Errorf("%s, %d bytes first: %d bytes are taken", name, arrived, reserved)
			}
			if _, err := f.Write([]byte("x")); !errors.Is(err, ErrNoRoom) {
				t.Errorf("%s, %d bytes first: a byte more is written with %v", name, arrived, err)
			}
			f.Abort(nil)
		}
	}
}

// TestAFetchThatGoesOnHasRoomForAllThatItBrings, also where max_object has become smaller meanwhile.
func TestAFetchThatGoesOnHasRoomForAllThatItBrings(t *testing.T) {
	const size, most = 300_000, 250_000
	s, k := openOn(t, OS(), Limits{MaxSize: 64 << 20}), testKey("a")
	s.beginnings.least = 1
	s.breakOff(t, k, FillSpec{Size: -1}, make([]byte, size))
	s.SetLimits(Limits{MaxSize: 64 << 20, MaxObject: most})
	f, err := s.Continue(s.mustTake(t, k), s.Generation(k), FillSpec{Size: -1})
	if err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Reserved != size || stats.Bytes != size {
		t.Errorf("%d bytes are taken for %d", stats.Reserved, size)
	}
	if _, err := f.Write([]byte("x")); !errors.Is(err, ErrNoRoom) {
		t.Errorf("a byte more is written with %v", err)
	}
	if stats := s.Stats(); stats.Bytes != 0 || stats.Reserved != 0 {
		t.Errorf("left over: %+v", stats)
	}
}
