package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestAProjectThatIsOffStaysOffByAllNamesOverAReloadInAnOutage(t *testing.T) {
	process.lastSwitches.Store(nil)
	gitlab := newGitLab(t)
	options := "retries 0\napi_token " + administrator
	e := startEdge(t, gitlab.URL, options, withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	get := func() answer {
		return e.do(t, call{path: "/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/app.bin", token: developer})
	}
	expectOff := func(when string) {
		t.Helper()
		if got := get(); got.StatusCode != http.StatusNotFound || !strings.Contains(got.cacheStatus(), "switched-off") {
			t.Errorf("%s: %s %s", when, got.Status, got.cacheStatus())
		}
	}
	if got := get(); got.StatusCode != http.StatusOK {
		t.Fatalf("before: %s", got.Status)
	}
	awaitNoFlight(t)
	e.expectCLI(t, 0, nil, "disable", "24")
	expectOff("at once")
	gitlab.SetDown(true)
	expectOff("while GitLab is down")
	e.reload(t, options+"\nmax_age 30s")
	putForward(2 * time.Minute)
	expectOff("after a reload")
	putForward(20 * time.Minute) // what GitLab said is old by now, and still the last that it said
	expectOff("long after")
}

func TestWhatIsKnownOfNamesEndsWithTheLastHandlerAndHoldsNoToken(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "api_token "+administrator)
	kept := func() (sources []string) {
		process.aliasMemories.Range(func(source, memory any) bool {
			sources = append(sources, fmt.Sprintf("%v %+v", source, memory))
			return true
		})
		return sources
	}
	for _, options := range []string{"max_age 2m\napi_token " + administrator, "api_token " + colleague} {
		e.reload(t, options)
		await(t, func() bool { return len(kept()) == 1 })
		if printed := fmt.Sprintf("%q", kept()); strings.Contains(printed, "glpat") {
			t.Errorf("the token is kept: %s", printed)
		}
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if left := kept(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
