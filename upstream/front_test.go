package upstream_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// TestAFrontsWordAboutTheRequestsHeadIsNoLifeOfGitLab: a caller's big cookie is answered by what stands before GitLab, whether
// that lives or not. It must neither close the breaker nor keep it from opening.
func TestAFrontsWordAboutTheRequestsHeadIsNoLifeOfGitLab(t *testing.T) {
	for _, front := range []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge} {
		t.Run(strconv.Itoa(front), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := wellKnown(t)
				for range 2 {
					w.gitlab.both(status(502), status(502))
					_, _ = w.ask()
					w.gitlab.both(status(front), status(502))
					_, _ = w.ask()
				}
				if !w.isOpen() {
					t.Fatal("the breaker is kept from opening")
				}
				time.Sleep(upstream.DefaultBreakerPause + time.Millisecond)
				_, _ = w.ask()
				if !w.isOpen() {
					t.Error("the breaker is closed")
				}
			})
		})
	}
}

// TestAProbeThatIsNeverAnsweredCostsGitLabLittle has something in front of GitLab refuse the probe at once.
func TestAProbeThatIsNeverAnsweredCostsGitLabLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.gitlab.both(aFile, status(503))
		for range 50 {
			if verdict, err := w.ask(); verdict != upstream.Allowed {
				t.Fatalf("%v, %v", verdict, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := w.gitlab.probes(); n > 2 {
			t.Errorf("probed %d times in half a second", n)
		}
	})
}

// TestForwardedRequestsTellTheStoragesBreakerNothing has callers' own requests, which bring headers of their choice, fail at
// the storage.
func TestForwardedRequestsTellTheStoragesBreakerNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		location := "https://storage.example.com/a?X-Amz-Signature=1"
		w.gitlab.both(reply{status: http.StatusFound, header: http.Header{"Location": {location}}}, status(401))
		w.storage.both(aFile, status(403))
		if verdict, err := w.ask(); verdict != upstream.Allowed {
			t.Fatalf("%v, %v", verdict, err)
		}
		time.Sleep(2 * time.Second)
		w.storage.both(fails, status(403))
		for range 5 {
			r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://edge.example.com"+ref.EscapedPath(), nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("If-None-Match", `"`+strings.Repeat("x", 100)+`"`)
			_ = w.Forward(discardWriter{}, r, upstream.Forwarding{Caller: callerWith(token), Path: ref.EscapedPath()})
			synctest.Wait()
		}
		if n := w.storage.probes(); n != 0 {
			t.Errorf("they started %d probes", n)
		}
	})
}

// discardWriter drops an answer.
type discardWriter struct{}

func (discardWriter) Header() http.Header         { return http.Header{} }
func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (discardWriter) WriteHeader(int)             {}
