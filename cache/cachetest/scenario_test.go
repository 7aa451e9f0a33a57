package cachetest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// isStep leaves out what is the same for each of the 256 directories of blobs.
func isStep(operation, path string) bool {
	switch operation {
	case "list", "mkdir":
		name := filepath.Base(path)
		return len(name) != 2 || name == "00"
	}
	return true
}

// emptyStore makes a store's directory, or empties one: its 256 directories of blobs are there and hold nothing. Making
// them each time would be most of what these tests do.
func emptyStore(t *testing.T, dir string) {
	t.Helper()
	for first := range 256 {
		if err := os.MkdirAll(filepath.Join(dir, "blobs", fmt.Sprintf("%02x", first)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, pattern := range []string{"*", "fills/*", "blobs/??/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			info, err := os.Stat(path)
			if err == nil && !info.IsDir() {
				err = os.Remove(path)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTheScenarioPassesUntouched(t *testing.T) {
	c := &Scenario{Dir: filepath.Join(t.TempDir(), "store")}
	c.Play(t)
	Check(t, c.Dir, "afterwards", c.Promises(), false)
}

// TestEveryAnswerIsRightWhicheverStepFails fails step 0 of the scenario, then step 1, until it passes untouched: first
// that step alone; then, at every fifth, it and those after it for a while, or to the end.
func TestEveryAnswerIsRightWhicheverStepFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		count  int
		err    error
		stride int
	}{
		{"one I/O error", 1, syscall.EIO, 1},
		{"no space for a while", 25, syscall.ENOSPC, 5},
		{"broken from then on", 1 << 30, syscall.EIO, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "store")
			stride := test.stride
			if testing.Short() {
				stride *= 10
			}
			for step := 0; !t.Failed(); step += stride {
				emptyStore(t, dir)
				failing := NewFailingFS(nil)
				failing.Counts = isStep
				c := &Scenario{Dir: dir, FS: failing, Troubled: true}
				failing.Fail(step, test.count, test.err)
				if !playUntilTheDiskIsGone(t, c, test.count == 1<<30) {
					failing.Heal()
				}
				when := failing.Hit()
				failing.Heal()
				Check(t, dir, when, c.Promises(), true)
				if when == "" {
					t.Logf("%d steps", step)
					return
				}
			}
		})
	}
}

// playUntilTheDiskIsGone plays the scenario. Where the disk stays broken the store can't be opened again, and the
// scenario ends there.
func playUntilTheDiskIsGone(t *testing.T, c *Scenario, forever bool) (ended bool) {
	if !forever {
		c.Play(t)
		return true
	}
	played := &endable{TB: t}
	done := make(chan struct{})
	// Ends with the scenario, or where it can't go on.
	go func() {
		defer close(done)
		c.Play(played)
	}()
	<-done
	if c.store != nil {
		_ = c.store.Close() // its error is the disk's
	}
	return !played.ended
}

// endable is a test whose end is not the test's.
type endable struct {
	testing.TB
	ended bool
}

// Fatalf ends the scenario alone.
func (e *endable) Fatalf(string, ...any) {
	e.ended = true
	runtime.Goexit()
}

// TestNothingWrongSurvivesAPowerCut cuts the power after each step of the scenario, and looks at what is left.
func TestNothingWrongSurvivesAPowerCut(t *testing.T) {
	t.Parallel()
	for _, survival := range Survivals {
		t.Run(survival.String(), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "store")
			left := filepath.Join(t.TempDir(), "left")
			var c *Scenario
			steps := 0
			power := NewPowerFS(dir, nil)
			power.after = func(step string) {
				steps++
				when := fmt.Sprintf("power cut after step %d (%s)", steps, step)
				emptyStore(t, left)
				if err := power.Cut(left, survival); err != nil {
					t.Errorf("%s: %v", when, err)
					return
				}
				Check(t, left, when, c.Promises(), false)
			}
			c = &Scenario{Dir: dir, FS: power}
			c.Play(t)
			t.Logf("%d steps", steps)
		})
	}
}
