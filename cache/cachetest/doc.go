// Package cachetest tests stores: a contract that every store keeps (contract.go), a file system that fails at a chosen
// step (failing.go), one that loses what was not synced (powercut.go), and a story that both are tried on (scenario.go),
// with a look at what is left of it (check.go).
package cachetest
