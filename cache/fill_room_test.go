package cache

import (
	"bytes"
	"errors"
	"syscall"
	"testing"
)

// TestAFillOfUnknownLengthTakesRoomInSmallSteps: what it takes ahead of need evicts others, maybe for nothing.
func TestAFillOfUnknownLengthTakesRoomInSmallSteps(t *testing.T) {
	for name, test := range map[string]struct {
		limits Limits
		want   int64
	}{
		"a 256th of the store":                 {Limits{MaxSize: 256 << 20}, 1 << 20},
		"a 256th of what isn't for copies":     {Limits{MaxSize: 512 << 20, UploadRoom: 256 << 20}, 1 << 20},
		"no more in a large store":             {Limits{MaxSize: 64 << 30}, maxGrowthStep},
		"no less than what waits in memory":    {Limits{MaxSize: 1 << 20}, heldBack},
		"no more than a file may ever be long": {Limits{MaxSize: 64 << 30, MaxObject: 1000}, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			s := openOn(t, tightFS{OS(), 1 << 50}, test.limits)
			defer s.begin(t, testKey("a"), FillSpec{Size: -1}).Abort(nil)
			if got := s.Stats().Reserved; got != test.want {
				t.Errorf("%d bytes are taken, not %d", got, test.want)
			}
		})
	}
}

func TestAFillOfUnknownLengthTakesNoMoreThanItNeeds(t *testing.T) {
	for name, test := range map[string]struct {
		limits Limits
		first  int64 // how much comes at first, and how much is taken for it
		more   int64 // how much comes then, until the end
	}{
		"a piece larger than a step":      {Limits{MaxSize: 16 << 20}, 300_000, 0},
		"up to max_object":                {Limits{MaxSize: 16 << 20, MaxObject: 100_000}, 100_000, 0},
		"after a step, up to max_object":  {Limits{MaxSize: 16 << 20, MaxObject: 100_000}, heldBack, 100_000 - heldBack},
		"the last bytes that there are":   {Limits{MaxSize: 200_000}, 3 * heldBack, 200_000 - 3*heldBack},
		"all that there is, in one piece": {Limits{MaxSize: 200_000}, 200_000, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := openOn(t, OS(), test.limits)
			s.cancel()
			s.work.Wait() // the janitor, which would evict the file ahead of need
			k, data := testKey("a"), randomBytes(int(test.first+test.more), 1)
			f := s.begin(t, k, FillSpec{Size: -1})
			f.write(t, data[:test.first])
			if got := s.Stats().Reserved; got != test.first {
				t.Errorf("%d bytes are taken for the first %d", got, test.first)
			}
			f.write(t, data[test.first:])
			if got := s.Stats().Reserved; got != int64(len(data)) {
				t.Errorf("%d bytes are taken for all %d", got, len(data))
			}
			if _, err := f.Commit(s.Generation(k)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.content(t, k), data) {
				t.Error("other bytes were stored")
			}
		})
	}
}

func TestAFileOfJustTheSizeThatIsAllowedFits(t *testing.T) {
	for name, test := range map[string]struct {
		limits Limits
		size   int64
	}{
		"max_size":                      {Limits{MaxSize: 1000}, 1000},
		"max_size without upload_room":  {Limits{MaxSize: 1000, UploadRoom: 400}, 600},
		"max_object":                    {Limits{MaxSize: 1 << 20, MaxObject: 1000}, 1000},
		"nothing, where nothing is had": {Limits{MaxSize: 1000, UploadRoom: 1000}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := openOn(t, OS(), test.limits)
			f := s.begin(t, testKey("a"), FillSpec{Size: test.size})
			defer f.Abort(nil)
			f.write(t, make([]byte, test.size))
			if got := s.Stats().Reserved; got != test.size {
				t.Errorf("%d bytes are taken", got)
			}
			if _, err := f.Write([]byte("x")); !errors.Is(err, ErrTooLong) {
				t.Errorf("one byte more: %v", err)
			}
		})
	}
}

// unknownFS is a file system that doesn't tell what is free.
type unknownFS struct{ FS }

func (unknownFS) Free(string) (int64, error) { return 0, syscall.EIO }

// TestWhatFindsNoRoomIsCounted: an admin sees by the count that the store is too small. Other trouble has counts of its own, and
// strangers can't make it rise.
func TestWhatFindsNoRoomIsCounted(t *testing.T) {
	stranger := UnprovenUpload("192.0.2.1")
	for name, test := range map[string]struct {
		fs     FS
		limits Limits
		spec   FillSpec
		want   int64 // how many are counted
		err    error // nil for none
	}{
		"larger than max_object":         {OS(), Limits{MaxSize: 1 << 20, MaxObject: 1000}, FillSpec{Size: 1001}, 1, ErrNoRoom},
		"larger than max_size":           {OS(), Limits{MaxSize: 1000}, FillSpec{Size: 1001}, 1, ErrNoRoom},
		"more than the disk has":         {tightFS{OS(), 1000}, Limits{MaxSize: 1 << 20}, FillSpec{Size: 1001}, 1, ErrNoRoom},
		"of unknown length":              {tightFS{OS(), 1000}, Limits{MaxSize: 1 << 20}, FillSpec{Size: -1}, 1, ErrNoRoom},
		"a disk that fails":              {unknownFS{OS()}, Limits{MaxSize: 1 << 20}, FillSpec{Size: 1}, 0, ErrDisk},
		"a stranger on such a disk":      {unknownFS{OS()}, Limits{MaxSize: 8 << 20, UploadRoom: 4 << 20}, FillSpec{Size: 1, Copy: stranger}, 0, ErrDisk},
		"a stranger without upload_room": {OS(), Limits{MaxSize: 1 << 20}, FillSpec{Size: 1, Copy: stranger}, 0, ErrNoRoom},
		"a stranger on a full disk":      {tightFS{OS(), 1000}, Limits{MaxSize: 8 << 20, UploadRoom: 4 << 20}, FillSpec{Size: 1, Copy: stranger}, 0, ErrNoRoom},
		"a stranger who announces much":  {OS(), Limits{MaxSize: 5 << 20, UploadRoom: 4 << 20}, FillSpec{Size: 2 << 20, Copy: stranger}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := openOn(t, test.fs, test.limits)
			f, err := s.Begin(testKey("a"), s.Generation(testKey("a")), test.spec)
			if !errors.Is(err, test.err) {
				t.Errorf("begun with %v, not %v", err, test.err)
			}
			if err == nil {
				f.Abort(nil)
			}
			if stats := s.Stats(); stats.NoRoom != test.want || stats.Reserved != 0 || stats.Copies != 0 {
				t.Errorf("%d are counted, not %d: %+v", stats.NoRoom, test.want, stats)
			}
		})
	}
}

// TestWhoWaitsForRoomHearsOfAReaderWhoLeaves: else a fill would wait for the janitor, or in vain.
func TestWhoWaitsForRoomHearsOfAReaderWhoLeaves(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 20})
	s.cancel()
	s.work.Wait() // the janitor, which tells them, too
	f := s.begin(t, testKey("a"), FillSpec{Size: 200_000})
	reader := f.follow(t)
	f.write(t, make([]byte, 150_000))
	f.Abort(nil)
	s.mu.Lock()
	changed := s.space.change()
	s.mu.Unlock()
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody hears of it")
	}
	if stats := s.Stats(); stats.Bytes != 0 {
		t.Errorf("%+v", stats)
	}
}

// TestWhatWasDroppedForADiskThatFreesItLateSparesTheEntries: copies and beginnings go first, and what is freed with them counts
// before the file system shows it.
func TestWhatWasDroppedForADiskThatFreesItLateSparesTheEntries(t *testing.T) {
	const minFree, size = 1 << 20, 200_000
	for name, begin := range map[string]func(t *testing.T, s *Store){
		"the copy of an upload": func(t *testing.T, s *Store) { s.mustBeginCopy(t, "dropped", "a", size) },
		"a beginning": func(t *testing.T, s *Store) {
			s.beginnings.least = 1
			s.breakOff(t, testKey("dropped"), FillSpec{Size: size + 1}, make([]byte, size))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, fs, _ := openLate(t, minFree)
			s.SetLimits(Limits{MaxSize: 1 << 30, MinFree: minFree, UploadRoom: 16 << 20})
			s.cancel()
			s.work.Wait() // the janitor, which would evict beside us
			begin(t, s)
			fs.set(minFree - 50_000)
			for range 3 {
				s.evict()
			}
			if stats := s.Stats(); stats.Entries != 200 || stats.Copies != 0 || stats.Beginnings != 0 {
				t.Errorf("%+v", stats)
			}
		})
	}
}
