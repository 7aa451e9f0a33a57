package caddymodule

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

var servesADay = flag.Bool("day", false, "serve the page of an edge that has worked for a day, until the input ends: for pictures")

// dayLength is how long the edge of TestADayToLookAt has worked when it is looked at.
const dayLength = 27 * time.Hour

// dayProject is one of the projects of that day, with the packages that its jobs publish.
type dayProject struct {
	id       int
	path     string
	packages []string
	file     string
	size     int64
	// weight is how much it is used.
	weight int
}

var dayProjects = []dayProject{
	{101, "platform/toolchain", []string{"gcc", "llvm", "sysroot"}, "linux-amd64.tar.xz", 5 << 20, 9},
	{102, "mobile/app", []string{"android", "ios"}, "app-release.bin", 2 << 20, 6},
	{103, "web/frontend", []string{"bundle", "storybook"}, "dist.tar.gz", 700 << 10, 5},
	{104, "data/models", []string{"ranking", "speech"}, "weights.bin", 4 << 20, 2},
	{105, "infra/tools", []string{"shellcheck", "hadolint", "kubectl"}, "linux-amd64", 300 << 10, 4},
}

// day is an edge at work, with its clock put forward minute by minute.
type day struct {
	*edge
	gitlab *gitlabtest.Server
	random *rand.Rand
	// files are the paths of what was published, by project; releases count what was published of each package.
	files    map[int][]string
	releases map[string]int
}

// TestADayToLookAt is no test of its own: caddymodule/pagetest draws the page of this edge, which is a real one with real traffic, and
// whose day passes in a minute.
func TestADayToLookAt(t *testing.T) {
	if !*servesADay {
		t.Skip("only with -args -day")
	}
	setForTest(t, &process.historyPause, time.Millisecond)
	setForTest(t, &process.asksAtStart, true)
	putForward(-dayLength)
	setForTest(t, &process.started, process.clock())
	if version, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", "github.com/caddyserver/caddy/v2").Output(); err == nil {
		setForTest(t, &caddy.CustomVersion, strings.TrimSpace(string(version))) // a test's program doesn't know it
	}
	d := &day{gitlab: gitlabtest.New(), random: rand.New(rand.NewPCG(1, 2)), files: make(map[int][]string), releases: make(map[string]int)} //nolint:gosec // the same day each time
	t.Cleanup(d.gitlab.Close)
	d.gitlab.SetChecksums(true)
	roles := make(map[int]gitlabtest.Role)
	for _, p := range dayProjects {
		d.gitlab.AddProject(gitlabtest.Project{ID: p.id, Path: p.path, Visibility: gitlabtest.Private})
		roles[p.id] = gitlabtest.Developer
	}
	for i := range 40 {
		d.gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: developer + strconv.Itoa(i), Username: "dev" + strconv.Itoa(i), Roles: roles})
	}
	d.gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: outsider, Username: "outsider"})

	const name = "http://gitlab.example.com"
	directory, err := os.MkdirTemp("", "packages-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	page := freeAddress(t)
	_, port, _ := strings.Cut(page, ":")
	d.edge = startEdge(t, name, "transport http {\n network_proxy url "+d.proxy(t)+"\n}\ncache "+directory+" {\n max_size 1GiB\n min_free 0\n}\nprojects on {\n off infra/tools\n}",
		withAdmin, around{outside: "http://:" + port + " {\n bind 127.0.0.1\n gitlab_packages_page {\n actions\n }\n}"})
	mustCall[map[string]any](t, d.edge, http.MethodPost, "enable", `{"project":"infra/tools"}`)
	d.pass(t)
	end := d.beginMore(t)
	defer end()
	fmt.Printf("page: http://localhost:%s/\n", port)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// proxy is how the edge reaches a GitLab with a name.
func (d *day) proxy(t *testing.T) string {
	t.Helper()
	to, err := url.Parse(d.gitlab.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = to.Host
	}, FlushInterval: -1})
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// pass lets the day pass: what was published before it began is fetched, and more is published and used, most of it in working hours.
func (d *day) pass(t *testing.T) {
	t.Helper()
	for _, p := range dayProjects {
		for _, pkg := range p.packages {
			for range 3 {
				d.releases[pkg]++
				version := fmt.Sprintf("1.%d.0", d.releases[pkg])
				d.gitlab.PublishContent(p.id, pkg, version, p.file, gitlabtest.Generated(p.size*int64(50+d.random.IntN(100))/100, d.random.Uint64()))
				d.files[p.id] = append(d.files[p.id], pkg+"/"+version+"/"+p.file)
			}
		}
	}
	for left := int(dayLength / time.Minute); left > 0; left-- {
		hour := process.clock().UTC().Hour()
		busy := 2
		if hour >= 7 && hour < 18 {
			busy = 6
		}
		if d.random.IntN(8) < busy {
			for range 1 + d.random.IntN(2) {
				d.job(t)
			}
		}
		if d.random.IntN(60) < busy {
			d.release(t)
		}
		if d.random.IntN(90) == 0 {
			d.mistake(t)
		}
		putForward(time.Minute)
		await(t, func() bool {
			process.history.mu.Lock()
			defer process.history.mu.Unlock()
			return process.history.present.Load().UntilDue() > 0
		})
		d.gitlab.ResetRequests()
	}
}

// someProject is one of the day's projects, the most used ones most often.
func (d *day) someProject() dayProject {
	weights := 0
	for _, p := range dayProjects {
		weights += p.weight
	}
	at := d.random.IntN(weights)
	for _, p := range dayProjects {
		if at -= p.weight; at < 0 {
			return p
		}
	}
	return dayProjects[0] // never: at is less than the sum of all
}

// job downloads some files of a project at once, the newest most often, as a job's steps do.
func (d *day) job(t *testing.T) {
	t.Helper()
	p, token := d.someProject(), developer+strconv.Itoa(d.random.IntN(40))
	files := d.files[p.id]
	var steps sync.WaitGroup
	for range 2 + d.random.IntN(4) {
		newest := len(files) - 1 - min(d.random.IntN(len(files)), d.random.IntN(len(files)))
		path := dayPath(p.path, files[newest])
		steps.Go(func() {
			for range 2 { // of two stages of the pipeline
				if got := d.do(t, call{path: path, token: token}); got.StatusCode != http.StatusOK || got.err != nil {
					t.Errorf("%s: %s, %v", path, got.Status, got.err)
				}
			}
		})
	}
	steps.Wait()
}

// release publishes the next version of a package through the edge.
func (d *day) release(t *testing.T) {
	t.Helper()
	p := d.someProject()
	pkg := p.packages[d.random.IntN(len(p.packages))]
	d.releases[pkg]++
	if size, seed := p.size*int64(50+d.random.IntN(100))/100, d.random.Uint64(); d.random.IntN(2) == 0 { // past the edge
		version := fmt.Sprintf("1.%d.0", d.releases[pkg])
		d.gitlab.PublishContent(p.id, pkg, version, p.file, gitlabtest.Generated(size, seed))
		d.files[p.id] = append(d.files[p.id], pkg+"/"+version+"/"+p.file)
		return
	}
	content, err := io.ReadAll(gitlabtest.Generated(p.size*int64(50+d.random.IntN(100))/100, d.random.Uint64()).NewReader())
	if err != nil {
		t.Fatal(err)
	}
	file := fmt.Sprintf("%s/1.%d.0/%s", pkg, d.releases[pkg], p.file)
	if got := d.do(t, call{method: http.MethodPut, path: dayPath(p.path, file), token: developer + "0", body: bytes.NewReader(content)}); got.StatusCode != http.StatusCreated {
		t.Errorf("%s: %s", file, got.Status)
	}
	d.files[p.id] = append(d.files[p.id], file)
}

// mistake asks for what isn't to be had.
func (d *day) mistake(t *testing.T) {
	t.Helper()
	p := d.someProject()
	for _, wrong := range []call{
		{path: dayPath(p.path, d.files[p.id][0]), token: outsider},
		{path: dayPath(p.path, p.packages[0]+"/latest/"+p.file), token: developer + "1"},
		{path: dayPath("secret/plans-"+strconv.Itoa(d.random.IntN(50)), "secret/1.0.0/secret.bin"), token: outsider},
	}[:1+d.random.IntN(3)] {
		d.do(t, wrong)
	}
}

// beginMore pins a package, verifies, switches a project off, and leaves two fetches and an upload on their way until end is called.
func (d *day) beginMore(t *testing.T) (end func()) {
	t.Helper()
	mustCall[map[string]any](t, d.edge, http.MethodPost, "warm", `{"project":"infra/tools","package":"shellcheck","pin":"30d","token":"`+developer+`1"}`)
	mustCall[map[string]any](t, d.edge, http.MethodPost, "disable", `{"project":"data/models"}`)
	d.do(t, call{path: dayPath("data/models", d.files[104][0]), token: developer + "1"})
	release := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var moving sync.WaitGroup
	for i, part := range []int64{61, 23} {
		version, size := fmt.Sprintf("2.%d.0", i), int64(300<<20)/int64(i+1)
		d.gitlab.PublishContent(101, "llvm", version, "linux-amd64.tar.xz", gitlabtest.Generated(size, 1))
		file := "llvm/" + version + "/linux-amd64.tar.xz"
		d.gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: file, StallAfter: size * part / 100, Release: release})
		for caller := range 3 - i {
			response, err := d.begin(call{path: dayPath("platform/toolchain", file), token: developer + strconv.Itoa(caller), context: ctx})
			if err != nil {
				t.Fatal(err)
			}
			moving.Go(func() { // ends with ctx
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			})
		}
	}
	reader, writer := io.Pipe()
	moving.Go(func() { // ends with ctx
		response, err := d.begin(call{method: http.MethodPut, path: dayPath("mobile/app", "android/3.0.0/app-release.bin"), token: developer + "2", body: reader, length: 40 << 20, context: ctx})
		if err == nil {
			_ = response.Body.Close()
		}
	})
	_, _ = writer.Write(make([]byte, 17<<20)) // and no more
	mustCall[map[string]any](t, d.edge, http.MethodPost, "verify", "")
	return func() {
		cancel()
		_ = writer.Close()
		close(release)
		moving.Wait()
	}
}

// dayPath is where a file is.
func dayPath(project, file string) string {
	return "/api/v4/projects/" + url.PathEscape(project) + "/packages/generic/" + file
}
