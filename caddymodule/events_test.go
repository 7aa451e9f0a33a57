package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// eventRecorder is an event handler that remembers what it was told.
type eventRecorder struct{}

var recorded struct {
	mu     sync.Mutex
	events []string
}

func init() { caddy.RegisterModule(eventRecorder{}) }

func (eventRecorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.gitlab_packages_test", New: func() caddy.Module { return new(eventRecorder) }}
}

func (eventRecorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

func (eventRecorder) Handle(_ context.Context, e caddy.Event) error {
	recorded.mu.Lock()
	defer recorded.mu.Unlock()
	recorded.events = append(recorded.events, fmt.Sprint(e.Name(), " ", e.Data))
	return nil
}

// recordEvents begins anew to remember events.
func recordEvents() around {
	recorded.mu.Lock()
	defer recorded.mu.Unlock()
	recorded.events = nil
	lines := "events {\n"
	for _, name := range []string{eventDiskFull, eventUpstreamDown, eventUpstreamUp, eventSwitched, eventSharedDown, eventSharedUp, eventSharedWrong} {
		lines += "on " + name + " gitlab_packages_test\n"
	}
	return around{admin: true, global: lines + "}\n"}
}

func awaitEvent(t *testing.T, want string) {
	t.Helper()
	await(t, func() bool {
		recorded.mu.Lock()
		defer recorded.mu.Unlock()
		return slices.ContainsFunc(recorded.events, func(got string) bool { return strings.Contains(got, want) })
	})
}

func TestEventsTellOfWhatIsRare(t *testing.T) {
	process.lastSwitches.Store(nil)
	setForTest(t, &process.breakerPause, 10*time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", recordEvents())
	publishOld(gitlab, "app.bin", []byte("x"))
	e.expectCLI(t, 0, nil, "disable", "25")
	awaitEvent(t, "switched map[project:25 state:off upstream:"+gitlab.URL+"]")
	e.expectCLI(t, 0, nil, "reset", "25")
	awaitEvent(t, "switched map[project:25 state:config upstream:"+gitlab.URL+"]")

	e.mustGet(t, "app.bin", developer, []byte("x"))
	awaitProbeAnswered(t)
	gitlab.Inject(gitlabtest.Fault{Status: http.StatusBadGateway, Times: -1})
	for range 2 {
		e.do(t, call{path: filePath("cold.bin"), token: developer})
	}
	awaitEvent(t, "upstream_down map[server:gitlab upstream:"+gitlab.URL+"]")
	gitlab.ClearFaults()
	awaitEvent(t, "upstream_up map[server:gitlab upstream:"+gitlab.URL+"]")
}

// fullFS has no room at all.
type fullFS struct{ cache.FS }

func (fullFS) Free(string) (int64, error) { return 0, nil }

func TestAFullDiskIsAnEventAndDownloadsGoOn(t *testing.T) {
	setForTest[cache.FS](t, &process.fileSystem, fullFS{cache.OS()})
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", recordEvents())
	body := someBytes(10_000, 1)
	publishOld(gitlab, "app.bin", body)
	for range 3 {
		e.mustGet(t, "app.bin", developer, body)
	}
	awaitEvent(t, "disk_full map[directory:"+e.directory+"]")
	recorded.mu.Lock()
	defer recorded.mu.Unlock()
	if len(recorded.events) != 1 {
		t.Errorf("told %v", recorded.events)
	}
	if !strings.Contains(e.log(t), "the disk has no room") {
		t.Error("the log doesn't tell")
	}
}
