package pagetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// The world of real edges: a project with a developer, a CI job and an outsider.
//
//nolint:gosec // tokens of a stand-in
const (
	projectID = "24"
	developer = "glpat-developer"
	jobToken  = "glcbt-job"
	outsider  = "glpat-outsider"
)

// tokenHeaders are where each of them stands in a request.
var tokenHeaders = map[string]string{developer: "Private-Token", jobToken: "Job-Token", outsider: "Private-Token"}

// realEdge is the program that people run, in front of a GitLab stand-in, with its page.
type realEdge struct {
	gitlab *gitlabtest.Server
	// url and page are the addresses of edge and page, admin that of Caddy's admin endpoint.
	url, page, admin string
	// config is what a reload sends again.
	config  string
	process *os.Process
	// ended is closed when the process has.
	ended chan struct{}
}

// programFolder is where the program is built; TestMain removes it.
var programFolder string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "gitlab-packages-page-")
	if err != nil {
		panic(err)
	}
	programFolder = folder
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// buildProgram builds Caddy with the edge, once.
var buildProgram = sync.OnceValues(func() (program string, err error) {
	program = filepath.Join(programFolder, "caddy")
	build := exec.Command("go", "build", "-o", program, "./cmd/caddy") //nolint:gosec // the repository's own program
	build.Dir = filepath.Join("..", "..")
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program: %w; %s", err, said)
	}
	return program, nil
})

// newGitLab starts a stand-in with the tests' world.
func newGitLab(t *testing.T) *gitlabtest.Server {
	t.Helper()
	gitlab := gitlabtest.New()
	t.Cleanup(gitlab.Close)
	gitlab.SetChecksums(true)
	gitlab.AddProject(gitlabtest.Project{ID: 24, Path: "group/app", Visibility: gitlabtest.Private})
	roles := map[int]gitlabtest.Role{24: gitlabtest.Developer}
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: developer, Username: "dev", Roles: roles})
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.JobToken, Secret: jobToken, Username: "ci", Roles: roles})
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: outsider, Username: "outsider"})
	return gitlab
}

// startRealEdge runs the program, until the test ends. options are further lines of the edge's block.
func startRealEdge(t *testing.T, options string) *realEdge {
	t.Helper()
	program, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	e := &realEdge{gitlab: newGitLab(t), admin: "127.0.0.1:" + freePort(t), ended: make(chan struct{})}
	edge, page := freePort(t), freePort(t)
	e.url, e.page = "http://127.0.0.1:"+edge, "http://localhost:"+page+"/"
	e.config = fmt.Sprintf(`{
	admin %[1]s
	persist_config off
	auto_https off
	storage file_system %[2]s/storage
	log default {
		level ERROR
	}
}
http://127.0.0.1:%[3]s {
	gitlab_packages %[4]s {
		cache %[2]s/cache {
			max_size 2GiB
			min_free 0
		}
		%[5]s
	}
}
http://:%[6]s {
	bind 127.0.0.1
	gitlab_packages_page {
		actions
	}
}
`, e.admin, root, edge, e.gitlab.URL, options, page)
	file := filepath.Join(root, "Caddyfile")
	if err := os.WriteFile(file, []byte(e.config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "run", "--config", file, "--adapter", "caddyfile") //nolint:gosec // built here
	command.Env = append(os.Environ(), "HOME="+root, "XDG_DATA_HOME="+root, "XDG_CONFIG_HOME="+root)
	var said bytes.Buffer
	command.Stderr = &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	e.process = command.Process
	// Ends with the process.
	go func() {
		_ = command.Wait()
		close(e.ended)
	}()
	t.Cleanup(func() {
		_ = e.process.Kill()
		<-e.ended
		if t.Failed() {
			t.Log(said.String())
		}
	})
	await(t, "the page is there", func() bool { return e.status(t, e.page) == http.StatusOK })
	return e
}

// freePort is a port at which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// await waits until something is so.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	limit := time.Now().Add(patience)
	for !is() {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// status is that of an answer to a GET; 0 where there is none.
func (e *realEdge) status(t *testing.T, address string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

// begin sends a request about a file of a project, and returns its answer, whose body is to be closed. The project is a number or a path.
func (e *realEdge) begin(t *testing.T, method, project, file, token string, body io.Reader) *http.Response {
	t.Helper()
	address := e.url + "/api/v4/projects/" + url.PathEscape(project) + "/packages/generic/" + file
	request, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(tokenHeaders[token], token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// get downloads a file, and returns how it was answered.
func (e *realEdge) get(t *testing.T, project, file, token string) (status int, body []byte) {
	t.Helper()
	response := e.begin(t, http.MethodGet, project, file, token, nil)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

// mustGet downloads a file, and fails the test if it isn't the one that is meant.
func (e *realEdge) mustGet(t *testing.T, file, token string, want []byte) {
	t.Helper()
	if status, body := e.get(t, projectID, file, token); status != http.StatusOK || !bytes.Equal(body, want) {
		t.Fatalf("%s: %d with %d bytes", file, status, len(body))
	}
}

// publish uploads a file through the edge.
func (e *realEdge) publish(t *testing.T, project, file string, content []byte) {
	t.Helper()
	response := e.begin(t, http.MethodPut, project, file, jobToken, bytes.NewReader(content))
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("publishing %s: %s", file, response.Status)
	}
}

// reload has Caddy load its config anew, and returns how long that took.
func (e *realEdge) reload(t *testing.T) time.Duration {
	t.Helper()
	begun := time.Now()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.admin+"/load", strings.NewReader(e.config))
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
		t.Fatal(response.Status)
	}
	return time.Since(begun)
}

// stop stops Caddy as systemd does, and returns how long that took.
func (e *realEdge) stop(t *testing.T) time.Duration {
	t.Helper()
	begun := time.Now()
	if err := e.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	select {
	case <-e.ended:
	case <-time.After(patience):
		t.Fatal("it hasn't stopped")
	}
	return time.Since(begun)
}
