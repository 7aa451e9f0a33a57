//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

func TestARatioIsMissedOnlyIfEveryRoundMissedIt(t *testing.T) {
	tests := map[string]struct {
		edge, other     []float64
		atLeast, atMost bool // 1 ×
	}{
		"always more":        {[]float64{11, 12, 13}, []float64{10, 10, 10}, true, false},
		"always less":        {[]float64{7, 8, 9}, []float64{10, 10, 10}, false, true},
		"once as much":       {[]float64{8, 10, 9}, []float64{10, 10, 10}, true, true},
		"more in one round":  {[]float64{8, 11, 9}, []float64{10, 10, 10}, true, true},
		"the other's median": {[]float64{8, 20, 9}, []float64{10, 30, 10}, false, true}, // rounds count, not the best of each server
		"not measured":       {nil, []float64{10}, true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := figures{theEdge.name: test.edge, theNginx.name: test.other}
			if g := f.atLeast(1, theNginx, "rate"); g.met != test.atLeast {
				t.Errorf("%s: met is %t; %s", g.must, g.met, g.shown)
			}
			if g := f.atMost(1, theNginx, "CPU"); g.met != test.atMost {
				t.Errorf("%s: met is %t; %s", g.must, g.met, g.shown)
			}
		})
	}
}

func TestMicrosecondsAboveAnother(t *testing.T) {
	tests := map[string]struct {
		edge []float64
		met  bool
		want string
	}{
		"within in one round": {[]float64{60e-6, 52e-6, 63e-6}, true, "CPU nginx +20.0 (+12.0–+23.0) µs"},
		"never within":        {[]float64{60e-6, 53e-6, 63e-6}, false, "CPU nginx +20.0 (+13.0–+23.0) µs"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := figures{theEdge.name: test.edge, theNginx.name: {40e-6, 40e-6, 40e-6}}
			if g := f.within(12.000001, theNginx, "CPU"); g.met != test.met || g.shown != test.want {
				t.Errorf("met is %t; %s", g.met, g.shown)
			}
		})
	}
}

func TestTheTableTellsWhichGoalsAreMissed(t *testing.T) {
	var printed strings.Builder
	var made table
	shown := make(cells)
	shown.add(theEdge, "5/s")
	shown.add(respond(1), "6/s")
	shown.add(reverseProxy, "7/s")
	made.add("a row", shown, absolute("≥ 4/s", true), absolute("≥ 6/s", false), goal{shown: "as it is", met: true})
	made.add("another", make(cells))
	made.print(&printed)
	for _, want := range []string{
		"| a row | – | – | `respond` 6/s; `reverse_proxy` 7/s | – | 5/s; as it is | ≥ 4/s, ≥ 6/s | **not met**: ≥ 6/s |\n",
		"| another | – | – | – | – | – |  | – |\n",
	} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("%q isn't in %s", want, printed.String())
		}
	}
}

func TestPercentilesAreOfThoseMeasured(t *testing.T) {
	sorted := make([]time.Duration, 1000)
	for n := range sorted {
		sorted[n] = time.Duration(n + 1)
	}
	for share, want := range map[float64]time.Duration{0.5: 500, 0.99: 990, 0.999: 999, 1: 1000} {
		if got := percentile(sorted, share); got != want {
			t.Errorf("%g: %d, not %d", share, got, want)
		}
	}
	if got := percentile(nil, 0.5); got != 0 {
		t.Errorf("of none: %d", got)
	}
}
