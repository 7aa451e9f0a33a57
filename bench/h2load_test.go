//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const h2loadOutput = `
finished in 5.01s, 27962.60 req/s, 110.04MB/s
requests: 139813 total, 139941 started, 139813 done, 139813 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 139820 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 550.19MB (576918610) total, 3.34MB (3499437) headers (space savings 94.43%), 546.14MB (572674048) data
                     min         max         mean         sd        +/- sd
`

func TestWhatH2loadPrints(t *testing.T) {
	got, err := readH2load(h2loadOutput, 5*time.Second)
	want := load{requests: 139813, bytes: 576918610 - 3499437, took: 5 * time.Second, allRequests: 139820, allBytes: 572674048}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for name, output := range map[string]string{
		"nothing":       "",
		"a failure":     strings.Replace(h2loadOutput, "0 failed", "1 failed", 1),
		"another error": strings.Replace(h2loadOutput, "0 errored", "1 errored", 1),
		"a refusal":     strings.Replace(h2loadOutput, "0 4xx", "1 4xx", 1),
	} {
		if _, err := readH2load(output, time.Second); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTheLogOfLatencies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("2000000\t200\t300\n1000000\t200\t50\n3500000\t200\t70\n")
	times, lasted, err := readLatencies(path)
	want := []time.Duration{300 * time.Microsecond, 50 * time.Microsecond, 70 * time.Microsecond}
	if err != nil || !slices.Equal(times, want) || lasted != 2500*time.Millisecond {
		t.Errorf("%v, %v, %v", times, lasted, err)
	}
	for _, text := range []string{"2000000\t503\t300\n", "2000000\t-1\t300\n", "not a log\n"} {
		write(text)
		if _, _, err := readLatencies(path); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
