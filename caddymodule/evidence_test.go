package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestARedirectThatOnlyLooksLikeStorageEndsNobodysOfflineLife has something in front of GitLab send a stranger to a log-in by
// a URL that looks signed. That is no yes until the storage has answered.
func TestARedirectThatOnlyLooksLikeStorageEndsNobodysOfflineLife(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	gitlab.Inject(gitlabtest.Fault{
		Question: true, Status: http.StatusFound,
		Header: http.Header{"Location": {"http://127.0.0.1:1/login?sig=abc&se=2030"}},
	})
	if got := e.do(t, call{path: filePath("app.bin"), token: outsider}); got.StatusCode == http.StatusOK {
		t.Fatalf("the stranger: %s", got.Status)
	}
	awaitNoFlight(t)
	gitlab.SetDown(true)
	putForward(2 * time.Minute)
	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); !strings.Contains(got.cacheStatus(), "offline") {
		t.Errorf("in an outage: %s, %q", got.Status, got.cacheStatus())
	}
}

// TestOneHouseholdTakesNoMoreAnswerWaitsThanOneAddress: whoever has an IPv6 address has a /64 of them.
func TestOneHouseholdTakesNoMoreAnswerWaitsThanOneAddress(t *testing.T) {
	var waits answerWaits
	for i := range maxAnswerWaitsOfOne + 1 {
		if _, ok := waits.begin(fmt.Sprintf("2001:db8::%x", i+1)); ok != (i < maxAnswerWaitsOfOne) {
			t.Errorf("wait %d of one /64: %v", i, ok)
		}
	}
	if _, ok := waits.begin("2001:db8:0:1::1"); !ok {
		t.Error("another household has none")
	}
}
