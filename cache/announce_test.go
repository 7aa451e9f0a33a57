package cache

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWhoWaitsForBytesHearsOfAGoodPieceAtOnceAndOfLessWithinFiveMilliseconds, and is woken for nothing by nobody: many who are sent
// every packet by itself cost more than all else.
func TestWhoWaitsForBytesHearsOfAGoodPieceAtOnceAndOfLessWithinFiveMilliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t, t.TempDir(), Limits{})
		f := s.begin(t, testKey("a"), FillSpec{Size: 16 << 20})
		defer f.Abort(nil)
		var grown <-chan struct{}
		wait := func() { _, grown = f.view(f.flushed) }
		pass := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		heard := func(when string, want bool) {
			t.Helper()
			heard := false
			select {
			case <-grown:
				heard = true
			default:
			}
			if heard != want {
				t.Errorf("%s: heard of it: %v", when, heard)
			}
		}
		f.write(t, make([]byte, 600<<10))
		if f.announcing || f.announced != 0 {
			t.Error("nobody waits, and is told")
		}
		wait()
		f.write(t, make([]byte, 1000))
		heard("the first bytes", true)

		wait()
		f.write(t, make([]byte, 1000))
		pass(announceDelay - 2)
		f.write(t, make([]byte, 1000))
		pass(1)
		heard("less, before the time is over", false)
		pass(1)
		heard("less, and the time is over", true)
		wait()
		pass(announceDelay - 1)
		heard("nothing more", false)
		f.write(t, make([]byte, 1000))
		heard("less, just before the time is over", false)
		pass(announceDelay)
		heard("less, once more", true)

		wait()
		pass(announceDelay)
		f.write(t, make([]byte, 1000))
		heard("less, when they heard nothing for so long", true)

		wait()
		f.write(t, make([]byte, announcePiece-1))
		heard("almost a piece", false)
		f.write(t, make([]byte, 1))
		heard("a piece", true)
	})
}
