package caddymodule

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// storedFile is the file of a key in an edge's Caddy storage.
func storedFile(e *edge, key string) string {
	return filepath.Join(filepath.Dir(e.directory), "storage", filepath.FromSlash(key))
}

// restartAfter ends the edge, changes what lies on disk, and starts it as a new process would.
func (e *edge) restartAfter(t testing.TB, options string, meanwhile func()) {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	process.lastSwitches.Store(nil)
	meanwhile()
	e.reload(t, options)
}

// cutShort leaves the first half of a file.
func cutShort(t testing.TB, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAProjectStaysOffOverARestartThatFindsTheSwitchesDamaged(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(t *testing.T, e *edge)
	}{
		{"cut short", func(t *testing.T, e *edge) { cutShort(t, storedFile(e, switchesKey)) }},
		{"empty", func(t *testing.T, e *edge) {
			if err := os.Truncate(storedFile(e, switchesKey), 0); err != nil {
				t.Fatal(err)
			}
		}},
		{"the former version too", func(t *testing.T, e *edge) {
			cutShort(t, storedFile(e, switchesKey))
			cutShort(t, storedFile(e, previousSwitchesKey))
		}},
		{"no copy in the cache directory", func(t *testing.T, e *edge) {
			cutShort(t, storedFile(e, switchesKey))
			remove(t, filepath.Join(e.directory, switchesCopyName))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, _ := startSwitchable(t, "")
			e.expectCLI(t, 0, nil, "disable", "24")
			e.expectCLI(t, 0, nil, "disable", "31") // so that the former version has the first
			e.restartAfter(t, "", func() { test.harm(t, e) })
			e.expectStatus(t, http.StatusNotFound, "24")
			e.expectStatus(t, http.StatusOK, "25")
			e.expectCLI(t, 1, []string{"those known last are in force"}, "status", "--check")
			if !strings.Contains(e.log(t), "those known last are in force") {
				t.Error("the log doesn't tell")
			}
			e.reload(t, "max_age 2m")
			e.expectStatus(t, http.StatusNotFound, "24")

			e.expectCLI(t, 0, nil, "disable", "25")
			e.expectStatus(t, http.StatusNotFound, "24", "25")
			e.expectCLI(t, 0, []string{"working"}, "status", "--check")
			e.restartAfter(t, "", func() {})
			e.expectStatus(t, http.StatusNotFound, "24", "25")
			if _, err := os.Stat(storedFile(e, damagedSwitchesKey)); err != nil {
				t.Errorf("what was damaged is lost: %v", err)
			}
		})
	}
}

func TestNothingIsServedWhileNobodyKnowsWhatWasSwitched(t *testing.T) {
	for _, mend := range [][]string{{"disable", "31"}, {"enable", "31"}, {"reset", "--all"}} {
		t.Run(mend[0], func(t *testing.T) {
			e, gitlab := startSwitchable(t, "")
			e.expectStatus(t, http.StatusOK, "24")
			e.expectCLI(t, 0, nil, "disable", "25")
			e.restartAfter(t, "", func() {
				cutShort(t, storedFile(e, switchesKey))
				remove(t, storedFile(e, previousSwitchesKey), filepath.Join(e.directory, switchesCopyName))
			})
			before := len(gitlab.Requests())
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions} {
				got := e.do(t, call{method: method, path: filePath("app.bin"), token: developer})
				if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
					t.Errorf("%s: %s, Retry-After %q", method, got.Status, got.Header.Get("Retry-After"))
				}
			}
			if after := len(gitlab.Requests()); after != before {
				t.Error("GitLab was asked")
			}
			e.expectCLI(t, 1, []string{"all requests get 503"}, "status", "--check")
			e.expectCLI(t, 0, []string{"undecided"}, "projects")
			if !strings.Contains(e.log(t), "all requests get 503") {
				t.Error("the log doesn't tell")
			}
			e.reload(t, "max_age 2m")
			e.expectStatus(t, http.StatusServiceUnavailable, "24")

			e.expectCLI(t, 0, nil, mend...)
			e.expectStatus(t, http.StatusOK, "24")
			e.expectCLI(t, 0, []string{"working"}, "status", "--check")
		})
	}
}

func TestAnEdgeThatKnowsNoSwitchesServesAgainWhenTheFileIsMended(t *testing.T) {
	setForTest(t, &process.switchesPoll, 5*time.Millisecond)
	e, _ := startSwitchable(t, "")
	e.expectCLI(t, 0, nil, "disable", "24")
	good, err := os.ReadFile(storedFile(e, switchesKey))
	if err != nil {
		t.Fatal(err)
	}
	e.restartAfter(t, "", func() {
		cutShort(t, storedFile(e, switchesKey))
		remove(t, storedFile(e, previousSwitchesKey), filepath.Join(e.directory, switchesCopyName))
	})
	e.expectStatus(t, http.StatusServiceUnavailable, "24", "25")
	if err := os.WriteFile(storedFile(e, switchesKey), good, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return e.status(t, "25") == http.StatusOK })
	e.expectStatus(t, http.StatusNotFound, "24")
}

func TestWhatAnotherInstanceSwitchesReachesTheCopyBesideTheIndex(t *testing.T) {
	setForTest(t, &process.switchesPoll, 5*time.Millisecond)
	e, gitlab := startSwitchable(t, "")
	_, _, err := otherInstance(e).change(t.Context(), gitlab.URL, func(said *runtimeSwitches) {
		said.Projects["24"] = runtimeSwitch{Since: time.Now()}
	})
	if err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		data, err := os.ReadFile(filepath.Join(e.directory, switchesCopyName))
		return err == nil && strings.Contains(string(data), `"24"`)
	})
}

func TestOffWinsWhereCopiesDiffer(t *testing.T) {
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	on, off := &runtimeSwitch{On: true, Since: late}, &runtimeSwitch{Since: early}
	for _, test := range []struct {
		name       string
		a, b, want *runtimeSwitch
	}{
		{"on and off", on, off, off},
		{"off and the config's word", off, nil, off},
		{"on and the config's word, which may be off", on, nil, nil},
		{"both on", on, on, on},
		{"nothing said", nil, nil, nil},
	} {
		of := func(said *runtimeSwitch) *storedSwitches {
			switches := &runtimeSwitches{All: said, Projects: make(map[string]runtimeSwitch)}
			if said != nil {
				switches.Projects["24"] = *said
			}
			return &storedSwitches{Upstreams: map[string]*runtimeSwitches{"https://gitlab.example.com": switches}}
		}
		for _, joined := range []*storedSwitches{of(test.a).strictest(of(test.b)), of(test.b).strictest(of(test.a))} {
			if !joined.equal(of(test.want)) {
				t.Errorf("%s: %+v", test.name, joined.Upstreams["https://gitlab.example.com"])
			}
		}
	}
	// A GitLab that one copy doesn't have.
	one := &storedSwitches{Upstreams: map[string]*runtimeSwitches{"https://a.example.com": {All: on}}}
	other := &storedSwitches{Upstreams: map[string]*runtimeSwitches{"https://b.example.com": {All: off}}}
	for _, joined := range []*storedSwitches{one.strictest(other), other.strictest(one)} {
		if a, b := joined.Upstreams["https://a.example.com"], joined.Upstreams["https://b.example.com"]; a.All != nil || b.All == nil || b.All.On {
			t.Errorf("a %+v, b %+v", a.All, b.All)
		}
	}
}
