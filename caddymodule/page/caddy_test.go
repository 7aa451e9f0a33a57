package page_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

// caddyVariable makes the test binary Caddy, with a page of a made-up edge.
const caddyVariable = "GITLAB_PACKAGES_PAGE_TEST_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(caddyVariable) == "" {
		os.Exit(m.Run())
	}
	fakeedge.Current.Store(fakeedge.New(fakeedge.Sample(time.Now())))
	caddycmd.Main()
}

// caddyProcess is a Caddy as a service has it.
type caddyProcess struct {
	command *exec.Cmd
	admin   string
	// config is what a reload sends again.
	config string
	// ended is closed when the process has, with err.
	ended chan struct{}
	err   error
}

// freePort is a port at which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// startCaddy runs a Caddy with sites, until the test ends.
func startCaddy(t *testing.T, sites string) *caddyProcess {
	t.Helper()
	root := t.TempDir()
	c := &caddyProcess{admin: "127.0.0.1:" + freePort(t), ended: make(chan struct{})}
	c.config = fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tskip_install_trust\n\tauto_https disable_redirects\n\tstorage file_system %s\n\tlog {\n\t\tlevel ERROR\n\t}\n}\n%s", c.admin, filepath.Join(root, "storage"), sites)
	file := filepath.Join(root, "Caddyfile")
	if err := os.WriteFile(file, []byte(c.config), 0o600); err != nil {
		t.Fatal(err)
	}
	c.command = exec.Command(os.Args[0], "run", "--config", file, "--adapter", "caddyfile") //nolint:gosec // this very program
	c.command.Env = append(os.Environ(), caddyVariable+"=1", "HOME="+root, "XDG_DATA_HOME="+root, "XDG_CONFIG_HOME="+root)
	var said bytes.Buffer
	c.command.Stderr = &said
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	// Ends with the process.
	go func() {
		c.err = c.command.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		_ = c.command.Process.Kill()
		<-c.ended
		if t.Failed() {
			t.Log(said.String())
		}
	})
	await(t, func() bool {
		response, err := http.Get("http://" + c.admin + "/config/")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return c
}

// await waits until something is so.
func await(t *testing.T, is func() bool) {
	t.Helper()
	limit := time.Now().Add(60 * time.Second)
	for !is() {
		if time.Now().After(limit) {
			t.Fatal("waited in vain")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// reload has Caddy load its config anew, and returns how long that took.
func (c *caddyProcess) reload(t *testing.T) time.Duration {
	t.Helper()
	begun := time.Now()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+c.admin+"/load", strings.NewReader(c.config+"\n# again "+begun.String()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/caddyfile")
	request.Header.Set("Cache-Control", "must-revalidate") // though it is the same
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		t.Fatalf("%s: %s", response.Status, text)
	}
	return time.Since(begun)
}

// stop stops Caddy as systemd does, and returns how long that took.
func (c *caddyProcess) stop(t *testing.T) time.Duration {
	t.Helper()
	begun := time.Now()
	if err := c.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.ended:
		if c.err != nil {
			t.Errorf("stopping: %v", c.err)
		}
	case <-time.After(60 * time.Second):
		t.Error("it hasn't stopped after 30 s")
	}
	return time.Since(begun)
}

// view opens a stream and reads its first message, and comes back as a browser does where there is none. What is returned is closed
// when the stream ends.
func view(t *testing.T, client *http.Client, url string) (ended chan struct{}) {
	t.Helper()
	var response *http.Response
	var lines *bufio.Reader
	await(t, func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err = client.Do(request); err != nil { //nolint:bodyclose // closed when the stream has ended
			return false // the connection was to the server before, or there is no certificate yet
		}
		lines = bufio.NewReader(response.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				_ = response.Body.Close()
				return false
			}
			if strings.HasPrefix(line, "data: ") {
				return true
			}
		}
	})
	ended = make(chan struct{})
	// Ends with the stream, or with the test.
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, lines)
		_ = response.Body.Close()
	}()
	return ended
}

// clients are one of each kind of HTTP.
func clients() map[string]*http.Client {
	trusting := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the test's own authority
	one, two := new(http.Protocols), new(http.Protocols)
	one.SetHTTP1(true)
	two.SetHTTP2(true)
	return map[string]*http.Client{
		"HTTP/1.1": {Transport: &http.Transport{TLSClientConfig: trusting.Clone(), Protocols: one}},
		"HTTP/2":   {Transport: &http.Transport{TLSClientConfig: trusting.Clone(), Protocols: two}},
	}
}

// TestAStopAndAReloadWaitForNoViewer watches with both kinds of HTTP while Caddy reloads and stops. Without an end of their own, streams
// would keep Caddy, whose grace period is endless, for up to a minute.
func TestAStopAndAReloadWaitForNoViewer(t *testing.T) {
	for name, client := range clients() {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			c := startCaddy(t, "https://localhost:"+port+" {\n\ttls internal\n\tbind 127.0.0.1\n\tencode\n\tgitlab_packages_page\n}\n")
			url := "https://localhost:" + port + "/events"
			first := view(t, client, url)
			c.reload(t)
			select {
			case <-first:
			case <-time.After(20 * time.Second):
				t.Error("the stream goes on after the reload")
			}
			second := view(t, client, url)
			client.CloseIdleConnections()
			if took := c.stop(t); took > 5*time.Second {
				t.Errorf("the stop took %s", took)
			}
			select {
			case <-second:
			case <-time.After(20 * time.Second):
				t.Error("the stream goes on after the stop")
			}
		})
	}
}

// TestThePageStandsBehindCaddysAuthentications signs in by a password, and by a service that is asked (forward_auth), of which Caddy
// learns the user as docs/page.md says.
func TestThePageStandsBehindCaddysAuthentications(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") == "" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Remote-User", strings.TrimPrefix(r.Header.Get("Cookie"), "session="))
	}))
	defer service.Close()
	byPassword, byService, below := freePort(t), freePort(t), freePort(t)
	startCaddy(t, fmt.Sprintf(`http://:%s {
	basic_auth {
		bob $2a$04$pQu0sx.DTPKXcYsmN3Vrh.p33ZGO1iAJHXzcIKW.9/XSleZtnPC9u
	}
	gitlab_packages_page {
		actions
		hosts edge.example.com
	}
}
http://:%s {
	route {
		forward_auth %s {
			uri /check
			copy_headers Remote-User
		}
		vars http.auth.user.id {http.request.header.Remote-User}
		gitlab_packages_page {
			actions
		}
	}
}
http://:%s {
	handle_path /edge* {
		gitlab_packages_page
	}
}
`, byPassword, byService, service.URL, below))
	ask := func(url string, header map[string]string) (status int, body string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range header {
			request.Header.Set(name, value)
		}
		request.Host = header["Host"]
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	const bob = "Basic Ym9iOnNlY3JldA=="
	for name, test := range map[string]struct {
		url    string
		header map[string]string
		status int
		says   string
		acts   bool
	}{
		"without a password":          {"http://127.0.0.1:" + byPassword + "/", nil, 401, "", false},
		"with one":                    {"http://127.0.0.1:" + byPassword + "/", map[string]string{"Authorization": bob}, 200, "You are <bdi>bob</bdi>", true},
		"by another name of the site": {"http://127.0.0.1:" + byPassword + "/", map[string]string{"Authorization": bob, "Host": "edge.example.com"}, 200, "", true},
		"by a foreign name":           {"http://127.0.0.1:" + byPassword + "/", map[string]string{"Authorization": bob, "Host": "evil.example"}, 421, "evil.example", false},
		"unknown to the service":      {"http://127.0.0.1:" + byService + "/", nil, 401, "who are you?", false},
		"known to it":                 {"http://127.0.0.1:" + byService + "/", map[string]string{"Cookie": "session=ada"}, 200, "You are <bdi>ada</bdi>", true},
		"known, without a name":       {"http://127.0.0.1:" + byService + "/", map[string]string{"Cookie": "session=", "Remote-User": "ada"}, 200, "may act", false},
		"below a path, with no slash": {"http://127.0.0.1:" + below + "/edge", nil, 200, "Working.", false},
		"below a path":                {"http://127.0.0.1:" + below + "/edge/files", nil, 200, "toolchain", false},
	} {
		status, body := ask(test.url, test.header)
		if status != test.status || !strings.Contains(body, test.says) || strings.Contains(body, `href="actions#warm"`) != test.acts {
			t.Errorf("%s: %d, may act: %v\n%s", name, status, strings.Contains(body, `href="actions#warm"`), body)
		}
	}
}
