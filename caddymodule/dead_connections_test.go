package caddymodule

import (
	"bytes"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestDeadConnectionsAfterAFailoverCostNoErrors has all connections die that were used, with HTTP/1.1 and HTTP/2.
func TestDeadConnectionsAfterAFailoverCostNoErrors(t *testing.T) {
	for name, isHTTP2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			target, err := url.Parse(gitlab.URL)
			if err != nil {
				t.Fatal(err)
			}
			front := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) {
				if want := map[bool]int{false: 1, true: 2}[isHTTP2]; pr.In.ProtoMajor != want {
					t.Errorf("GitLab is asked by %s", pr.In.Proto)
				}
				pr.SetURL(target)
			}})
			front.EnableHTTP2 = isHTTP2
			front.StartTLS()
			relay := gitlabtest.NewRelay(front.URL)
			authority := filepath.Join(t.TempDir(), "ca.pem")
			certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
			if err := os.WriteFile(authority, certificate, 0o600); err != nil {
				t.Fatal(err)
			}
			e := startEdge(t, relay.URL, "header_timeout 30s\nmax_age 0\ntransport http {\n tls_trust_pool file "+authority+"\n}")
			t.Cleanup(front.Close) // after the relay, since it waits for its connections
			t.Cleanup(relay.Close)
			body := someBytes(100_000, 1)
			for _, file := range []string{"a.bin", "b.bin", "c.bin", "d.bin"} {
				publishOld(gitlab, file, body)
			}
			e.mustGet(t, "a.bin", developer, body)

			relay.Kill()
			begun := time.Now()
			for _, file := range []string{"b.bin", "c.bin", "d.bin", "a.bin"} {
				e.mustGet(t, file, developer, body)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("four downloads took %s", took)
			}
			relay.Kill()
			if got := e.do(t, call{method: http.MethodPut, path: filePath("new.bin"), token: developer, body: bytes.NewReader(body)}); got.StatusCode != http.StatusCreated {
				t.Errorf("an upload: %s", got.Status)
			}
		})
	}
}
