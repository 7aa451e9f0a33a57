package upstream_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// TestWhereHEADFailsGETDecidesAndIsAskedFirstFromThenOn has a front that ignores ranges and doesn't get along with HEAD.
func TestWhereHEADFailsGETDecidesAndIsAskedFirstFromThenOn(t *testing.T) {
	const (
		get  = http.MethodGet
		head = http.MethodHead
	)
	for name, test := range map[string]struct {
		head    func(w http.ResponseWriter, r *http.Request)
		refuses bool // whether GitLab has said no since
		verdict upstream.Verdict
		asked   []string
	}{
		"501":           {answering(501), false, upstream.Allowed, []string{get, head, get, get, get}},
		"500":           {answering(500), false, upstream.Allowed, []string{get, head, get, get, get}},
		"405":           {answering(405), false, upstream.Allowed, []string{get, head, get, get, get}},
		"403":           {answering(403), false, upstream.Allowed, []string{get, head, get, get, get}},
		"401":           {answering(401), false, upstream.Allowed, []string{get, head, get, get, get}},
		"200, no file":  {answering(200), false, upstream.Allowed, []string{get, head, get, get, get}},
		"a reset":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false, upstream.Allowed, []string{get, head, get, get, get}},
		"a hang":        {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false, upstream.Allowed, []string{get, head, get, get, get}},
		"429":           {answering(429), false, upstream.RateLimited, []string{get, head, head, head}},
		"it works":      {file, false, upstream.Allowed, []string{get, head, head, head}},
		"a no is a no":  {answering(404), true, upstream.Refused, []string{get, head, get, head, get, head, get}},
		"a 502, really": {answering(502), true, upstream.Refused, []string{get, head, get, head, get, head, get}},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var asked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if isProbe(r) {
					return
				}
				mu.Lock()
				asked = append(asked, r.Method)
				first := len(asked) == 1
				mu.Unlock()
				switch {
				case r.Method == http.MethodHead:
					test.head(w, r)
				case test.refuses && !first:
					w.WriteHeader(http.StatusNotFound)
					_, _ = io.WriteString(w, "GitLab's own words")
				default:
					file(w, r)
				}
			}))
			client := newClient(t, server.URL, func(c *upstream.Config) { c.HeaderTimeout, c.CheckTimeout = time.Second, time.Second }, server)
			for i := range 4 {
				answer := client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref})
				want := test.verdict
				if i == 0 {
					want = upstream.Allowed // and the whole file came
				}
				if answer.Verdict != want {
					t.Errorf("question %d: %+v", i, answer)
				}
				if want == upstream.Refused && (answer.No == nil || string(answer.No.Body) != "GitLab's own words") {
					t.Errorf("question %d: the no is %+v", i, answer.No)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if name == "a reset" { // net/http itself asks again where a connection breaks that was used before
				asked, test.asked = slices.Compact(asked), slices.Compact(test.asked)
			}
			if !slices.Equal(asked, test.asked) {
				t.Errorf("asked by %v, want %v", asked, test.asked)
			}
		})
	}
}

func answering(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// file sends all of a file, whatever is asked for.
func file(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Disposition", "attachment")
	w.Header().Set("Content-Length", "100000")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(make([]byte, 100_000))
	}
}
