package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func TestAReloadKeepsTheStoreTheGrantsAndRunningDownloads(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	small, big := someBytes(10_000, 1), someBytes(16<<20, 2)
	publishOld(gitlab, "small.bin", small)
	publishOld(gitlab, "big.bin", big)
	e.mustGet(t, "small.bin", developer, small)

	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release})
	first, rest := e.beginDownload(t, "big.bin", developer, 1)

	e.reload(t, "max_age 2m")
	before := len(gitlab.Requests())
	if got := e.mustGet(t, "small.bin", developer, small); !strings.Contains(got.cacheStatus(), "; hit") || len(gitlab.Requests()) != before {
		t.Errorf("after the reload: %q", got.cacheStatus())
	}
	close(release)
	if digest, err := digestOfRest(first, rest); err != nil || digest != hexSHA256(big) {
		t.Errorf("the download that was running: %v", err)
	}
	if got := e.mustGet(t, "big.bin", developer, big); !strings.Contains(got.cacheStatus(), "; hit") {
		t.Errorf("the file that was on its way in: %q", got.cacheStatus())
	}
}

func TestValidatingAndAReloadThatFailsLeaveTheRunningEdgeUntouched(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(10_000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	limits := func() int64 { return runningState().inForce.Load().limits.MaxSize }
	before := limits()

	other := e.config("cache " + e.directory + " {\n max_size 5MiB\n min_free 0\n}")
	config := new(caddy.Config)
	if err := json.Unmarshal(other, config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(config); err != nil {
		t.Fatal(err)
	}
	// A config that fails as late as can be: its apps start, and one of them can't.
	failing := bytes.Replace(other, []byte(`"apps":{`), []byte(`"apps":{"gitlab_packages_test_failing":{},`), 1)
	if err := caddy.Load(failing, true); err == nil {
		t.Fatal("the failing config was loaded")
	}
	e.awaitOneListener(t)
	if limits() != before {
		t.Errorf("max_size is %d now", limits())
	}
	if got := e.mustGet(t, "app.bin", developer, body); !strings.Contains(got.cacheStatus(), "; hit") {
		t.Errorf("after that: %q", got.cacheStatus())
	}
	e.reload(t, "cache "+e.directory+" {\n max_size 5MiB\n min_free 0\n}")
	if limits() != 5<<20 {
		t.Errorf("after a reload that works max_size is %d", limits())
	}
}

// failingApp starts after all and fails.
type failingApp struct{}

func init() { caddy.RegisterModule(failingApp{}) }

func (failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gitlab_packages_test_failing", New: func() caddy.Module { return new(failingApp) }}
}

func (failingApp) Start() error { return os.ErrInvalid }

func (failingApp) Stop() error { return nil }

func TestARestartServesWhatWasStoredAfterOneQuestion(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(300_000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	e.reload(t, "")
	e.mustGet(t, "app.bin", developer, body)
	if fetches, questions := gitlab.CountFetches(), gitlab.CountQuestions(); fetches != 1 || questions != 1 {
		t.Errorf("%d fetches and %d questions", fetches, questions)
	}
}

func TestADirectoryThatCannotBeUsedDoesNotStopTheEdge(t *testing.T) {
	gitlab := newGitLab(t)
	occupied := t.TempDir() + "/file"
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e := startEdge(t, gitlab.URL, "cache "+occupied)
	body := someBytes(10_000, 1)
	publishOld(gitlab, "app.bin", body)
	for range 2 {
		if got := e.mustGet(t, "app.bin", developer, body); !strings.Contains(got.cacheStatus(), "fwd=bypass") {
			t.Errorf("got %q", got.cacheStatus())
		}
	}
	if !strings.Contains(e.log(t), "the cache directory can't be used") {
		t.Error("the log does not tell")
	}
}

func TestHandlersThatDisagreeOnADirectoryAreAConfigError(t *testing.T) {
	app := new(App)
	first, err := app.attach("/a", defaultStoreSettings(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := app.attach("/a", defaultStoreSettings(), nil); err != nil || second != first {
		t.Errorf("the same settings twice: %v", err)
	}
	other := defaultStoreSettings()
	other.limits.MaxSize++
	if _, err := app.attach("/a", other, nil); err == nil || !strings.Contains(err.Error(), "disagree") {
		t.Errorf("other settings: %v", err)
	}
}

// TestRequestsToAConfigThatNeverStartsDoNotWaitForEver has a handler whose app doesn't start, as when another app of the
// config fails to.
func TestRequestsToAConfigThatNeverStartsDoNotWaitForEver(t *testing.T) {
	setForTest(t, &process.startPatience, time.Millisecond)
	app := &App{process: process, started: make(chan struct{})}
	if err := app.wait(t.Context()); !errors.Is(err, errNotStarted) {
		t.Errorf("got %v", err)
	}
}

// TestAFillUnderWayMayEndWhenTheEdgeStops stops the app while its HTTP server still runs, as Caddy may at the end of the
// process.
func TestAFillUnderWayMayEndWhenTheEdgeStops(t *testing.T) {
	setForTest(t, &process.closePatience, time.Minute)
	s := newState(process, t.TempDir(), defaultStoreSettings())
	if !s.enter() {
		t.Fatal("no work may begin")
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.Destruct() }() // ends with the work
	await(t, func() bool {
		if s.enter() {
			s.leave()
			return false
		}
		return true
	})
	select {
	case <-s.ctx.Done():
		t.Error("what was under way was ended at once")
	default:
	}
	s.leave()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
