package cache

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

// TestErrorsOfTheSystemCountAsWhatTheyAre: a file that is given up for want of descriptors is fetched once more, and one that the
// disk can't give back and that stays fails for ever.
func TestErrorsOfTheSystemCountAsWhatTheyAre(t *testing.T) {
	for err, want := range map[error]struct{ shortage, ofFile, media, full bool }{
		syscall.EMFILE:  {shortage: true},
		syscall.ENFILE:  {shortage: true},
		syscall.ENOMEM:  {shortage: true},
		syscall.EACCES:  {ofFile: true},
		syscall.EPERM:   {ofFile: true},
		syscall.ELOOP:   {ofFile: true},
		syscall.ENOTDIR: {ofFile: true},
		syscall.EIO:     {ofFile: true, media: true},
		syscall.ENOSPC:  {full: true},
		syscall.EDQUOT:  {full: true},
		syscall.EPIPE:   {},
		os.ErrClosed:    {},
	} {
		wrapped := fmt.Errorf("reading: %w", err)
		got := struct{ shortage, ofFile, media, full bool }{isShortage(wrapped), isOfFile(wrapped), isMediaError(wrapped), isFull(wrapped)}
		if got != want {
			t.Errorf("%v: %+v, not %+v", err, got, want)
		}
		for _, told := range []bool{true, false} {
			full := 0
			s := newStore(Config{Dir: t.TempDir()})
			if told {
				s.onFull = func(is bool) { full += 2 - b2i(is) }
			}
			for range 2 {
				if of := s.diskError("reading", err); !errors.Is(of, ErrDisk) || !errors.Is(of, err) {
					t.Errorf("%v is told as %v", err, of)
				}
			}
			if s.counters.diskErrors.Load() != 2 || s.full.Load() != want.full || full != b2i(want.full && told) {
				t.Errorf("%v: %d errors count, the disk is full: %v, told %d times", err, s.counters.diskErrors.Load(), s.full.Load(), full)
			}
		}
	}
	for target, want := range map[error]bool{ErrClosed: true, ErrDisk: true, ErrNoRoom: false, ErrMiss: false} {
		if is := errors.Is(ErrFillsEnded, target); is != want {
			t.Errorf("a fill that is ended with the store is taken for %q: %v", target, is)
		}
	}
}
