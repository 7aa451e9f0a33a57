package caddymodule

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/shardtest"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// The tests' world: a private project with a developer, a CI job and an outsider.
//
//nolint:gosec // tokens of a stand-in
const (
	project       = 24
	projectPath   = "group/app"
	otherProject  = 25
	developer     = "glpat-developer"
	colleague     = "glpat-colleague"
	jobToken      = "glcbt-job"
	outsider      = "glpat-outsider"
	administrator = "glpat-admin"
)

// newGitLab starts a stand-in with the tests' world. It ends with the test.
func newGitLab(t testing.TB, options ...gitlabtest.Option) *gitlabtest.Server {
	t.Helper()
	gitlab := gitlabtest.New(options...)
	t.Cleanup(gitlab.Close)
	gitlab.AddProject(gitlabtest.Project{ID: project, Path: projectPath, Visibility: gitlabtest.Private})
	gitlab.AddProject(gitlabtest.Project{ID: otherProject, Path: "group/other", Visibility: gitlabtest.Private})
	roles := map[int]gitlabtest.Role{project: gitlabtest.Developer, otherProject: gitlabtest.Developer}
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: developer, Username: "dev", Roles: roles})
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: colleague, Username: "colleague", Roles: roles})
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.JobToken, Secret: jobToken, Username: "ci", Roles: roles})
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: outsider, Username: "outsider"})
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: administrator, Username: "root", Roles: roles, Admin: true})
	return gitlab
}

// testClock is the clock of edges under test: the real one, put forward by hand.
var testClock atomic.Int64

func putForward(by time.Duration) { testClock.Add(int64(by)) }

func init() {
	process.asksAtStart = false
	process.sharedSpread = func(int64) time.Duration { return 0 }
	process.clock = func() time.Time { return time.Now().Add(time.Duration(testClock.Load())) }
}

// setForTest gives a variable another value until the test ends.
func setForTest[T any](t testing.TB, variable *T, value T) {
	t.Helper()
	before := *variable
	*variable = value
	t.Cleanup(func() { *variable = before })
}

// edge is a running Caddy with one site.
type edge struct {
	url       string
	directory string // of the cache
	logs      string // the file that all logs go to
	admin     string // the admin API's URL
	config    func(options string) []byte
}

// startEdge runs Caddy with an edge in front of gitlab; options are further lines of the directive's block. It ends
// with the test, and no goroutine may be left of it. Only one edge runs at a time, since a process has one Caddy.
func startEdge(t testing.TB, gitlab, options string, around ...around) *edge {
	t.Helper()
	others := goleak.IgnoreCurrent()
	address, admin := freeAddress(t), "admin off"
	var global, servers, site, outside, format string
	accessLog := "log"
	root := t.TempDir()
	e := &edge{url: "http://" + address, directory: filepath.Join(root, "cache"), logs: filepath.Join(root, "logs")}
	shardtest.Lend(t, e.directory)
	for _, lines := range around {
		global, servers, site, outside = global+lines.global, servers+lines.servers, site+lines.site, outside+lines.outside
		if lines.admin {
			adminAddress := freeAddress(t)
			admin, e.admin = "admin "+adminAddress, "http://"+adminAddress
		}
		if lines.redacted {
			format = "format gitlab_redacted {\n headers X-Team\n}"
			accessLog = "log {\n output file " + e.logs + "\n " + format + "\n}"
		}
	}
	e.config = func(options string) []byte {
		cacheLine := "cache " + e.directory + " {\n min_free 0\n}"
		if strings.Contains(options, "cache ") {
			cacheLine = ""
		}
		behind := "reverse_proxy " + originOf(gitlab) + " {\ntransport http {\nkeepalive off\n}\n}"
		if strings.Contains(options, forwardsOthers) {
			behind = ""
		}
		caddyfile := fmt.Sprintf(`{
	%s
	persist_config off
	auto_https off
	grace_period 2s
	storage file_system %s
	log default {
		level DEBUG
		output file %s
		%s
	}
	servers {
		trusted_proxies static 127.0.0.0/8
		%s
	}
	%s
}
http://%s {
	%s
	%s
	gitlab_packages %s {
		%s
		%s
	}
	%s
}
%s
`, admin, filepath.Join(root, "storage"), e.logs, format, servers, global, address, accessLog, site, gitlab, cacheLine, options, behind, outside)
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
		if err != nil {
			t.Fatalf("adapting: %v\n%s", err, caddyfile)
		}
		return adapted
	}
	if err := caddy.Load(e.config(options), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections() // of proxies that tests put before the stand-in
		left := errors.New("not looked yet")
		// Go's server lets a connection linger that it has refused, so it may take some looks.
		for tries := 0; left != nil && tries < 10; tries++ {
			left = goleak.Find(append(othersGoroutines, others)...)
		}
		if left != nil {
			t.Errorf("left behind: %v", left)
		}
	})
	return e
}

// forwardsOthers is the option by which an edge needs no directive behind it.
const forwardsOthers = "forward_other_requests"

// around are lines of an edge's Caddyfile outside of the directive's block.
type around struct {
	global, site string
	servers      string // in the global options' servers
	outside      string // further sites
	admin        bool   // whether there is an admin API
	redacted     bool   // whether all logs use gitlab_redacted
}

// freeAddress is one that nobody else is given while the test runs: a socket that is bound and doesn't listen keeps it, which a
// server that is told to use it isn't hindered by. Caddy's servers share addresses (SO_REUSEPORT), so that two that were given
// the same would take each other's callers.
func freeAddress(t testing.TB) string {
	t.Helper()
	keeper, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(keeper)
	t.Cleanup(func() { _ = unix.Close(keeper) })
	err = errors.Join(unix.SetsockoptInt(keeper, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(keeper, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(keeper, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(keeper)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port)
}

// http2Client is a client that speaks HTTP/2 without TLS, and asks for nothing compressed. Its connections end with the test.
func http2Client(t testing.TB) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// othersGoroutines aren't the edge's: those of servers that a test runs beside it and that end after it, and what Caddy's
// logs and storage leave for a while.
var othersGoroutines = []goleak.Option{
	goleak.IgnoreTopFunction("github.com/DeRuina/timberjack.(*Logger).millRun"),
	goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
	goleak.IgnoreAnyFunction("net/http.(*Server).Serve"),
	goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
}

// originOf cuts the path off a URL; reverse_proxy takes none.
func originOf(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

// reload loads the edge's config anew with other options.
func (e *edge) reload(t testing.TB, options string) {
	t.Helper()
	if err := caddy.Load(e.config(options), true); err != nil {
		t.Fatal(err)
	}
	e.awaitOneListener(t)
}

// awaitOneListener waits until only one config's server takes connections, after another was loaded or failed to. Each listens
// with a socket of its own. Connections that wait at one when it is closed are reset, and what it took just then isn't answered.
func (e *edge) awaitOneListener(t testing.TB) {
	t.Helper()
	await(t, func() bool { return listeners(t, e.url) <= 1 })
}

// listeners returns how many sockets listen on a URL's port; 0 where the system doesn't tell.
func listeners(t testing.TB, url string) (count int) {
	t.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	// Caddy listens on all addresses by one socket of IPv6, where there is that.
	var table []byte
	for _, protocol := range []string{"tcp", "tcp6"} {
		sockets, err := os.ReadFile("/proc/net/" + protocol)
		if err != nil {
			continue
		}
		table = append(table, sockets...)
	}
	// Columns: number, local address:port in hex, remote address, state; 0A is listening.
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 3 && fields[3] == "0A" && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", number)) {
			count++
		}
	}
	return count
}

// log returns all that Caddy has logged.
func (e *edge) log(t testing.TB) string {
	t.Helper()
	logged, err := os.ReadFile(e.logs)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(logged)
}

// filePath is the URL path of a file in the tests' project.
func filePath(file string) string {
	return fmt.Sprintf("/api/v4/projects/%d/packages/generic/pkg/1.0.0/%s", project, file)
}

// call is one request to an edge. Zero values: GET, no token.
type call struct {
	method, path string
	token        string // PRIVATE-TOKEN
	header       http.Header
	body         io.Reader
	length       int64 // of body, if it isn't known to net/http; -1 chunked
	context      context.Context
}

// answer is what came back.
type answer struct {
	*http.Response
	body []byte
	err  error // of reading the body
}

func (a answer) cacheStatus() string { return strings.Join(a.Header.Values("Cache-Status"), ", ") }

// testClient follows no redirect and keeps no connection, so that each test ends with nothing open.
var testClient = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       2 * time.Minute,
}

// do sends a call and reads the whole answer.
func (e *edge) do(t testing.TB, c call) answer {
	t.Helper()
	response, err := e.begin(c)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{Response: response, body: body, err: err}
}

// begin sends a call and returns as soon as the answer's head is there.
func (e *edge) begin(c call) (*http.Response, error) {
	if c.method == "" {
		c.method = http.MethodGet
	}
	if c.context == nil {
		c.context = context.Background()
	}
	request, err := http.NewRequestWithContext(c.context, c.method, e.url+c.path, c.body)
	if err != nil {
		return nil, err
	}
	if c.length != 0 {
		request.ContentLength = c.length
	}
	maps.Copy(request.Header, c.header)
	if c.token != "" {
		request.Header.Set("Private-Token", c.token)
	}
	return testClient.Do(request)
}

// beginDownload begins to download a file and returns its first bytes, and the rest, which is still on its way.
func (e *edge) beginDownload(t testing.TB, file, token string, length int) (first []byte, rest io.Reader) {
	t.Helper()
	response, err := e.begin(call{path: filePath(file), token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	first = make([]byte, length)
	if _, err := io.ReadFull(response.Body, first); err != nil {
		t.Fatal(err)
	}
	return first, response.Body
}

// runningState is the state of the one edge that runs.
func runningState() (running *state) {
	process.states.Range(func(_, value any) bool {
		running = value.(*state)
		return true
	})
	return running
}

// bytesSent is how much GitLab and its storage have sent to GETs.
func bytesSent(gitlab *gitlabtest.Server) (sent int64) {
	for _, request := range gitlab.Requests() {
		if request.Method == http.MethodGet {
			sent += request.Sent
		}
	}
	return sent
}

// mustGet downloads a file and checks that it is whole and right.
func (e *edge) mustGet(t testing.TB, file, token string, want []byte) answer {
	t.Helper()
	got := e.do(t, call{path: filePath(file), token: token})
	if got.StatusCode != http.StatusOK || got.err != nil {
		t.Fatalf("GET %s: %s, %v; %s", file, got.Status, got.err, firstBytes(got.body))
	}
	if !bytes.Equal(got.body, want) {
		at := 0
		for at < len(got.body) && at < len(want) && got.body[at] == want[at] {
			at++
		}
		t.Fatalf("GET %s: %d bytes that aren't the file's %d; they differ from byte %d on", file, len(got.body), len(want), at)
	}
	return got
}

func firstBytes(body []byte) string { return fmt.Sprintf("%.200q", body) }

// someBytes returns n bytes that look random and are the same for the same seed.
func someBytes(n int, seed byte) []byte {
	source := rand.NewChaCha8([32]byte{seed, 1})
	data := make([]byte, n)
	_, _ = source.Read(data)
	return data
}

func hexSHA256(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// digestOfRest reads a body to its end and returns the SHA-256 of what was read before and the rest.
func digestOfRest(first []byte, rest io.Reader) (string, error) {
	hash := sha256.New()
	hash.Write(first)
	_, err := io.Copy(hash, rest)
	return fmt.Sprintf("%x", hash.Sum(nil)), err
}

// awaitNoFlight waits until no fetch is under way.
func awaitNoFlight(t testing.TB) {
	t.Helper()
	await(t, func() bool {
		running := 0
		process.states.Range(func(_, value any) bool {
			flights := &value.(*state).flights
			flights.mu.Lock()
			defer flights.mu.Unlock()
			running += len(flights.byKey)
			return true
		})
		return running == 0
	})
}

// blobsIn counts the stored files of a cache directory.
func blobsIn(t testing.TB, directory string) int {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(directory, "blobs", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(blobs)
}
