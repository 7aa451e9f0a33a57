package upstream_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func ask(client *upstream.Client, known ...upstream.Identity) upstream.Answer {
	return client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Known: known})
}

// TestAQuestionIsOneRequestAndBringsNoBodyInEveryStorageMode asks about a full and an empty file.
func TestAQuestionIsOneRequestAndBringsNoBodyInEveryStorageMode(t *testing.T) {
	for mode, name := range map[gitlabtest.Mode]string{gitlabtest.LocalDisk: "local", gitlabtest.Proxied: "proxied", gitlabtest.Redirect: "redirect"} {
		for _, size := range []int{0, 1, 1 << 20} {
			t.Run(name, func(t *testing.T) {
				gitlab := newGitLab(t)
				gitlab.SetMode(mode)
				gitlab.SetChecksums(true)
				gitlab.Publish(24, "pkg", "1.0.0", "app.bin", make([]byte, size))
				client := newClient(t, gitlab.URL, nil, gitlab)
				answer := ask(client)
				if answer.Verdict != upstream.Allowed || answer.Unproven != (mode == gitlabtest.Redirect) {
					t.Fatalf("%d bytes: %+v", size, answer)
				}
				if mode != gitlabtest.Redirect && (answer.Identity.Length != int64(size) || answer.Identity.SHA256 == "") {
					t.Errorf("%d bytes: %+v", size, answer.Identity)
				}
				requests := gitlab.Requests()
				if len(requests) != 1 || !requests[0].IsQuestion() || requests[0].Sent > 1024 {
					t.Errorf("%d bytes: asked by %+v", size, requests)
				}
				if client.IgnoresRange() {
					t.Errorf("%d bytes: taken for one that ignores ranges", size)
				}
				// A question that follows knows the length there too.
				followed := client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Follow: true})
				if followed.Verdict != upstream.Allowed || followed.Unproven || followed.Identity.Length != int64(size) {
					t.Errorf("%d bytes, followed: %+v", size, followed)
				}
			})
		}
	}
}

// TestARefusalBringsGitLabsOwnAnswer has each no come with its body and headers, as it is to be relayed.
func TestARefusalBringsGitLabsOwnAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		status    int
		body      string
		relayable bool
	}{
		"401":                      {401, `{"message":"401 Unauthorized"}`, true},
		"403":                      {403, `{"message":"403 Forbidden"}`, true},
		"404":                      {404, `{"message":"404 Not Found"}`, true},
		"429":                      {429, "Retry later", true},
		"a redirect to a log-in":   {302, "<html>", true},
		"a page":                   {200, "<html>", false},
		"a part of a page":         {206, "<", false},
		"nothing":                  {204, "", false},
		"304 on no condition":      {304, "", false},
		"416 of a file that is":    {416, "", false},
		"more than the edge keeps": {403, strings.Repeat("x", 64<<10+1), false},
		"as much as it keeps":      {403, strings.Repeat("x", 64<<10), true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Its-Own", "yes")
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}))
			client := newClient(t, server.URL, nil, server)
			answer := ask(client)
			if answer.No == nil || answer.No.Status != test.status || answer.No.Header.Get("X-Its-Own") != "yes" || answer.No.Relayable() != test.relayable {
				t.Fatalf("%+v", answer.No)
			}
			if test.relayable && string(answer.No.Body) != test.body {
				t.Errorf("%d bytes, want %d", len(answer.No.Body), len(test.body))
			}
		})
	}
}

// TestAGitLabBehindAFrontThatIgnoresRangesIsAskedByHEADForAnHour lets a proxy send whole files to who asks for a byte.
func TestAGitLabBehindAFrontThatIgnoresRangesIsAskedByHEADForAnHour(t *testing.T) {
	for name, chunked := range map[string]bool{"with a length": false, "in chunks": true} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int64
			var methods []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if isProbe(r) {
					return
				}
				methods = append(methods, r.Method)
				w.Header().Set("Content-Disposition", "attachment")
				if !chunked {
					w.Header().Set("Content-Length", "104857600")
				}
				w.WriteHeader(http.StatusOK)
				if r.Method == http.MethodHead {
					return
				}
				piece := make([]byte, 1<<20)
				for range 100 {
					n, err := w.Write(piece)
					sent.Add(int64(n))
					if err != nil {
						return
					}
				}
			}))
			now := time.Now()
			client := newClient(t, server.URL, func(c *upstream.Config) { c.Now = func() time.Time { return now } }, server)
			for range 3 {
				if answer := ask(client); answer.Verdict != upstream.Allowed || (!chunked && answer.Identity.Length != 100<<20) {
					t.Errorf("%+v", answer)
				}
			}
			if !slices.Equal(methods, []string{http.MethodGet, http.MethodHead, http.MethodHead}) {
				t.Errorf("asked by %v", methods)
			}
			if sent.Load() == 100<<20 {
				t.Error("the whole file was sent")
			}
			now = now.Add(time.Hour + time.Second)
			ask(client)
			if last := methods[len(methods)-1]; last != http.MethodGet {
				t.Errorf("after an hour by %s", last)
			}
		})
	}
}

// TestOnlyACallerWhomGitLabHasAllowedHasAnImpatientCheck: how long a hanging GitLab is waited for tells nobody what is stored.
func TestOnlyACallerWhomGitLabHasAllowedHasAnImpatientCheck(t *testing.T) {
	gitlab := newGitLab(t)
	client := newClient(t, gitlab.URL, func(c *upstream.Config) {
		c.HeaderTimeout, c.CheckTimeout = 300*time.Millisecond, 10*time.Millisecond
	}, gitlab)
	gitlab.Inject(gitlabtest.Fault{Hang: true, Times: -1})
	for granted, least := range map[bool]time.Duration{true: 0, false: 300 * time.Millisecond} {
		begun := time.Now()
		answer := client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Granted: granted})
		took := time.Since(begun)
		if answer.Verdict != upstream.Unreachable || answer.Err.Trouble != upstream.TroubleNetwork || took < least || (granted && took > 290*time.Millisecond) {
			t.Errorf("granted %v: %v after %v", granted, answer.Err, took)
		}
	}
}

func TestOnlyTroubleOfGitLabsIsAnOutage(t *testing.T) {
	for trouble, outage := range map[upstream.Trouble]bool{
		upstream.TroubleNetwork: true, upstream.TroubleFront: true, upstream.TroubleNotAsked: true,
		upstream.TroubleUnusable: false, upstream.TroubleCaller: false, upstream.TroubleEdge: false,
	} {
		if trouble.IsOutage() != outage {
			t.Errorf("%d: %v", trouble, trouble.IsOutage())
		}
	}
}
