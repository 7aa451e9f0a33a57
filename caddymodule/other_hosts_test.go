package caddymodule

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const warningOfOtherHosts = "requests for hosts that no site has get Caddy's empty 200"

// startExample runs Caddyfile.example at an address, with all that a test machine must not be touched by turned off.
func startExample(t *testing.T, address, gitlab string) {
	t.Helper()
	root := t.TempDir()
	t.Setenv("EDGE_ADDRESS", address)
	t.Setenv("GITLAB_URL", gitlab)
	_, pagePort, _ := strings.Cut(freeAddress(t), ":")
	t.Setenv("PAGE_PORT", pagePort)
	t.Setenv("CACHE_DIR", filepath.Join(root, "cache"))
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	example = bytes.Replace(example, []byte("\n{\n"), []byte("\n{\nadmin off\npersist_config off\nskip_install_trust\nlocal_certs\nauto_https disable_redirects\nstorage file_system "+
		filepath.Join(root, "storage")+"\n"), 1)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(example, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestAnUploadForAHostThatTheExampleDoesntServeIsNoSuccess sends uploads whose Host a balancer has rewritten.
func TestAnUploadForAHostThatTheExampleDoesntServeIsNoSuccess(t *testing.T) {
	address := freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	for name, test := range map[string]struct {
		address, url string
		status       int
		lands        bool
	}{
		"as it stands, every name is served": {"http://:" + port, "http://" + address, http.StatusCreated, true},
		"with TLS it is refused":             {"https://localhost:" + port, "https://localhost:" + port, http.StatusMisdirectedRequest, false},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			startExample(t, test.address, gitlab.URL)
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // the test's own authority
			defer client.CloseIdleConnections()
			var got *http.Response
			await(t, func() (answered bool) { // the certificate is made when the edge is running
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, test.url+filePath("app.bin"), strings.NewReader("x"))
				if err != nil {
					t.Fatal(err)
				}
				request.Host = "edge-7.balancer.internal"
				request.Header.Set("Private-Token", developer)
				got, err = client.Do(request) //nolint:bodyclose // below
				return err == nil
			})
			defer got.Body.Close()
			if got.StatusCode != test.status {
				t.Errorf("got %s", got.Status)
			}
			if landed := gitlab.Count(http.MethodPut) == 1; landed != test.lands {
				t.Errorf("GitLab has the upload: %v", landed)
			}
		})
	}
}

// TestTheExampleHasAPageForThisMachineAlone, where people may act.
func TestTheExampleHasAPageForThisMachineAlone(t *testing.T) {
	startExample(t, "http://"+freeAddress(t), newGitLab(t).URL)
	port := os.Getenv("PAGE_PORT")
	get := func(path, host string) (status int, body string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+path, nil) //nolint:gosec // the test's own server
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		got, err := testClient.Do(request) //nolint:gosec // the same
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		text, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		return got.StatusCode, string(text)
	}
	if status, body := get("/", "localhost:"+port); status != http.StatusOK || !strings.Contains(body, "Working.") {
		t.Errorf("%d\n%s", status, body)
	}
	if status, body := get("/actions", "localhost:"+port); status != http.StatusOK || !strings.Contains(body, `action="warm"`) {
		t.Errorf("nobody may act: %d\n%s", status, body)
	}
	if status, _ := get("/", "edge.example.com"); status != http.StatusMisdirectedRequest {
		t.Errorf("by another name: %d", status)
	}
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	listens := 0
	for _, server := range app.(*caddyhttp.App).Servers {
		for _, address := range server.Listen {
			if strings.HasSuffix(address, ":"+port) {
				listens++
				if !strings.Contains(address, "127.0.0.1:") {
					t.Errorf("the page listens on %s", address)
				}
			}
		}
	}
	if listens != 1 {
		t.Errorf("%d servers listen on the page's port", listens)
	}
}

// TestASiteThatLeavesOtherHostsToNobodyIsWarnedOf has one Caddyfile after the other and looks at the log of its start.
func TestASiteThatLeavesOtherHostsToNobodyIsWarnedOf(t *testing.T) {
	for name, test := range map[string]struct {
		site, further string
		warned        bool
	}{
		"a site with a name alone":            {"http://edge.test", "", true},
		"beside a site with another name":     {"http://edge.test", "http://other.test:PORT {\nrespond 404\n}", true},
		"a site for all hosts":                {"http://", "", false},
		"beside a site for all others":        {"http://edge.test", "http://:PORT {\nrespond 421\n}", false},
		"a site for one address":              {"http://127.0.0.1", "", true},
		"with TLS":                            {"https://edge.test", "", true},
		"with TLS, and other names forbidden": {"https://edge.test", "strict", false},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			root := t.TempDir()
			_, port, _ := strings.Cut(freeAddress(t), ":")
			logs, options, further := filepath.Join(root, "logs"), "", strings.ReplaceAll(test.further, "PORT", port)
			if further == "strict" {
				options, further = "servers {\nstrict_sni_host on\n}", ""
			}
			caddyfile := "{\nadmin off\npersist_config off\nskip_install_trust\nlocal_certs\nauto_https disable_redirects\n" +
				"storage file_system " + filepath.Join(root, "storage") + "\nlog default {\noutput file " + logs + "\n}\n" + options + "\n}\n" +
				test.site + ":" + port + " {\ngitlab_packages " + gitlab.URL + " {\ncache " + filepath.Join(root, "cache") + "\n}\n}\n" + further + "\n"
			adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
			if err != nil {
				t.Fatal(err)
			}
			if err := caddy.Load(adapted, true); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Stop(); err != nil {
				t.Fatal(err)
			}
			logged, err := os.ReadFile(logs) //nolint:gosec // the test's own
			if err != nil {
				t.Fatal(err)
			}
			if warned := strings.Count(string(logged), warningOfOtherHosts); (warned == 1) != test.warned {
				t.Errorf("warned %d times\n%s", warned, logged)
			}
		})
	}
}
