//go:build !race

package caddymodule

// raceDetector says whether the tests were built with it.
const raceDetector = false
