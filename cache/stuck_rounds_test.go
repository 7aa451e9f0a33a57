package cache

import (
	"errors"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestARoundTriesAFewOfEachKindInVain and all that can be removed: a disk that hangs with each file must not keep the janitor for
// as many files as there are.
func TestARoundTriesAFewOfEachKindInVain(t *testing.T) {
	const files = 3 * maxStuck
	s, fs := openSticky(t, Limits{MaxSize: 1 << 20}, new(testClock))
	core, logs := observer.New(zap.ErrorLevel)
	fs.keep(func(string) bool { return true })
	s.asJanitor(func() {
		s.logger = zap.New(core)
		for i := range files {
			f := s.begin(t, numberedKey(i), FillSpec{Size: 1000})
			f.write(t, randomBytes(1000, byte(i)))
			f.Abort(errors.New("the upstream broke off"))
		}
		if told := s.Stats().DiskErrors; told != files {
			t.Errorf("%d errors of the disk are told", told)
		}
		s.orphan(0, files)
		for _, blob := range s.blobs {
			s.leaving.refuse(blob, s.now())
		}
		before := s.Stats().DiskErrors
		fs.tried.Store(0)
		s.retry()
		if tried, told := fs.tried.Load(), s.Stats().DiskErrors-before; tried != 2*maxStuck || told != 2*maxStuck {
			t.Errorf("%d are tried, %d errors of the disk are told", tried, told)
		}
		if logs.Len() != 1 {
			t.Errorf("told %v", logs.All())
		}
		fs.heal()
		s.retry()
		if stats := s.Stats(); len(s.leaving.stuck.files) != 0 || stats.Blobs != 0 {
			t.Errorf("%d are stuck still, %+v", len(s.leaving.stuck.files), stats)
		}
		if logs.Len() != 1 {
			t.Errorf("told %v", logs.All())
		}
	})
}

// TestOnlyWhatIsStuckStillIsTriedAgain: between two files of a round one may be named anew, or be to be removed in its turn, which
// comes after the index's.
func TestOnlyWhatIsStuckStillIsTriedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		change func(s *Store, b *blobState)
		want   bool
	}{
		"stuck":              {func(*Store, *blobState) {}, true},
		"to be removed":      {func(s *Store, b *blobState) { s.leaving.orphan(b) }, false},
		"named anew":         {func(s *Store, b *blobState) { b.entries = 1 }, false},
		"being stored again": {func(_ *Store, b *blobState) { b.busy = make(chan struct{}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newBareStore(t, OS(), Limits{MaxSize: 1 << 20})
			blob := &blobState{digest: numberedDigest(1)}
			s.blobs[blob.digest] = blob
			s.leaving.refuse(blob, s.now())
			test.change(s, blob)
			tried, err := blob.removeAgain(s)
			if err != nil || tried != test.want || blob.unlinked != test.want {
				t.Errorf("tried: %v, %v; removed: %v", tried, err, blob.unlinked)
			}
		})
	}
}
