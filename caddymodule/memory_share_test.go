package caddymodule

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestGosBoundOfMemoryLeavesRoomForTheMemoryTiers(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	inForce := func() int64 { return debug.SetMemoryLimit(-1) }
	const gibibyte = 1 << 30
	var shares memoryShares
	one, other := new(state), new(state)

	debug.SetMemoryLimit(math.MaxInt64)
	shares.take(one, gibibyte/4)
	if inForce() != math.MaxInt64 {
		t.Error("a bound that nobody has set is in force")
	}
	debug.SetMemoryLimit(gibibyte) // as Caddy does in a container
	for _, step := range []struct {
		of    *state
		takes int64
		want  int64
	}{
		{one, gibibyte / 4, gibibyte * 3 / 4},
		{one, gibibyte / 4, gibibyte * 3 / 4}, // a reload
		{other, gibibyte / 8, gibibyte * 5 / 8},
		{one, gibibyte / 8, gibibyte * 6 / 8},
		{one, 4 * gibibyte, gibibyte / 4},
		{one, 0, gibibyte * 7 / 8},
		{other, 0, gibibyte},
	} {
		if shares.take(step.of, step.takes); inForce() != step.want {
			t.Errorf("with %d bytes the bound is %d, want %d", step.takes, inForce(), step.want)
		}
	}
	shares.take(one, gibibyte/4)
	debug.SetMemoryLimit(2 * gibibyte) // somebody has set another
	if shares.take(one, gibibyte/4); inForce() != 2*gibibyte-gibibyte/4 {
		t.Errorf("of another bound is left %d", inForce())
	}
}

func TestAnEdgeTakesItsMemoryOffGosBoundWhileItRuns(t *testing.T) {
	before := debug.SetMemoryLimit(1 << 30)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	gitlab := newGitLab(t)
	directory := t.TempDir()
	with := func(memory string) string {
		return "cache " + directory + " {\n memory " + memory + "\n min_free 0\n}"
	}
	t.Run("", func(t *testing.T) {
		e := startEdge(t, gitlab.URL, with("128MiB"))
		if left := debug.SetMemoryLimit(-1); left != 1<<30-128<<20 {
			t.Errorf("the bound is %d", left)
		}
		e.reload(t, with("64MiB"))
		if left := debug.SetMemoryLimit(-1); left != 1<<30-64<<20 {
			t.Errorf("after a reload the bound is %d", left)
		}
	})
	if left := debug.SetMemoryLimit(-1); left != 1<<30 {
		t.Errorf("when the edge has stopped the bound is %d", left)
	}
}
