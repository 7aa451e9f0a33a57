package command

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// The demonstration's world: two projects, a CI job and a developer who may use them, and a stranger's token.
const (
	demoProject    = 24
	demoOffProject = 25
	demoJobToken   = "demo-job-token"
	demoUserToken  = "demo-personal-token"
	demoPackage    = "edge"
	demoVersion    = "1.0.0"
	demoFile       = "caddy.bin"
)

// runDemo starts the stand-in and the edge, shows what the edge does, and stays up until ctx ends or Ctrl-C, unless
// once is set. It returns an error if anything was not as it should be.
func runDemo(ctx context.Context, out io.Writer, once bool) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()

	directory, err := os.MkdirTemp("", "gitlab-packages-demo-")
	if err != nil {
		return fmt.Errorf("making a directory for the demo: %w", err)
	}
	defer func() { _ = os.RemoveAll(directory) }()
	gitlab := demoGitLab()
	defer gitlab.Close()
	edge, err := startDemoEdge(gitlab.URL, directory)
	if err != nil {
		return err
	}
	defer func() { _ = caddy.Stop() }()

	file, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding a file to publish: %w", err)
	}
	demo := &demonstration{out: out, gitlab: gitlab, edge: edge, file: file}
	if err := demo.run(ctx); err != nil {
		return err
	}
	if once {
		return nil
	}
	demo.invite(filepath.Join(directory, "cache"))
	<-ctx.Done()
	return nil
}

// demoGitLab starts a stand-in of today's GitLab, which names checksums.
func demoGitLab() *gitlabtest.Server {
	gitlab := gitlabtest.New()
	gitlab.SetChecksums(true)
	for id, path := range map[int]string{demoProject: "group/app", demoOffProject: "group/closed"} {
		gitlab.AddProject(gitlabtest.Project{ID: id, Path: path, Visibility: gitlabtest.Private})
	}
	roles := map[int]gitlabtest.Role{demoProject: gitlabtest.Developer, demoOffProject: gitlabtest.Developer}
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.JobToken, Secret: demoJobToken, Username: "ci", Roles: roles})
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: demoUserToken, Username: "dev", Roles: roles})
	return gitlab
}

// startDemoEdge runs Caddy in this process with one edge, and returns the edge's URL.
func startDemoEdge(gitlabURL, directory string) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	config := fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	storage file_system %[1]s/caddy
	log default {
		level ERROR
	}
}
http://%[2]s {
	gitlab_packages %[3]s {
		cache %[1]s/cache {
			max_size 1GiB
			min_free 0
		}
		projects on {
			off %[4]d group/closed
		}
	}
	reverse_proxy %[3]s
}
`, directory, address, gitlabURL, demoOffProject)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "demo"})
	if err != nil {
		return "", fmt.Errorf("adapting the demo's config: %w", err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		return "", fmt.Errorf("starting the demo's edge: %w", err)
	}
	return "http://" + address, nil
}

// demonstration shows the edge at work and checks what it shows.
type demonstration struct {
	out    io.Writer
	gitlab *gitlabtest.Server
	edge   string
	file   string
	digest string
	table  *tabwriter.Writer
}

// demoStep is one request of the demonstration.
type demoStep struct {
	title                  string
	method                 string
	project                int
	version                string
	tokenHeader, token     string
	status                 int
	cacheStatus            string // must be part of the header
	maxUpstream            int    // how many requests GitLab may see
	publishes, getsTheFile bool
}

func (d *demonstration) run(ctx context.Context) error {
	digest, size, err := digestOf(d.file)
	if err != nil {
		return fmt.Errorf("reading the file to publish: %w", err)
	}
	d.digest = digest
	printf(d.out, "GitLab stand-in  %s\nEdge             %s\nFile             this program, %s, sha256 %s…\n\n",
		d.gitlab.URL, d.edge, sizeText(size), digest[:16])

	d.table = tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	printf(d.table, "%s\n", "what\tstatus\tbytes\tfirst byte\tall\tasked GitLab\tCache-Status")
	for _, step := range []demoStep{
		{title: "publish with a job token", method: http.MethodPut, project: demoProject, version: demoVersion, tokenHeader: "JOB-TOKEN", token: demoJobToken, status: 201, cacheStatus: "fwd=method", maxUpstream: 1, publishes: true},
		{title: "download, cold", method: http.MethodGet, project: demoProject, version: demoVersion, tokenHeader: "JOB-TOKEN", token: demoJobToken, status: 200, cacheStatus: "fwd=", maxUpstream: 1, getsTheFile: true},
		{title: "download again", method: http.MethodGet, project: demoProject, version: demoVersion, tokenHeader: "JOB-TOKEN", token: demoJobToken, status: 200, cacheStatus: "hit", maxUpstream: 0, getsTheFile: true},
		{title: "download by somebody else", method: http.MethodGet, project: demoProject, version: demoVersion, tokenHeader: "PRIVATE-TOKEN", token: demoUserToken, status: 200, cacheStatus: "confirmed", maxUpstream: 1, getsTheFile: true},
		{title: "a version the rules refuse", method: http.MethodGet, project: demoProject, version: "v1", tokenHeader: "JOB-TOKEN", token: demoJobToken, status: 400, cacheStatus: "invalid", maxUpstream: 0},
		{title: "a token GitLab refuses", method: http.MethodGet, project: demoProject, version: demoVersion, tokenHeader: "PRIVATE-TOKEN", token: "nobody's", status: 401, cacheStatus: "fwd=", maxUpstream: 2},
		{title: "a project that is off", method: http.MethodGet, project: demoOffProject, version: demoVersion, tokenHeader: "JOB-TOKEN", token: demoJobToken, status: 404, cacheStatus: "switched-off", maxUpstream: 0},
	} {
		if err := d.show(ctx, step); err != nil {
			_ = d.table.Flush()
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	return d.table.Flush()
}

// show sends one request, prints what happened, and returns an error if it isn't what should.
func (d *demonstration) show(ctx context.Context, step demoStep) error {
	var body io.Reader
	if step.publishes {
		file, err := os.Open(d.file)
		if err != nil {
			return fmt.Errorf("opening the file to publish: %w", err)
		}
		defer file.Close()
		body = file
	}
	var firstByte time.Time
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { firstByte = time.Now() }})
	request, err := http.NewRequestWithContext(ctx, step.method, d.url(step.project, step.version), body)
	if err != nil {
		return fmt.Errorf("building a request: %w", err)
	}
	request.Header.Set(step.tokenHeader, step.token)
	asked := len(d.gitlab.Requests())
	begun := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking the edge: %w", err)
	}
	defer response.Body.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, response.Body)
	if err != nil {
		return fmt.Errorf("reading the edge's answer: %w", err)
	}
	took := time.Since(begun)
	asked = len(d.gitlab.Requests()) - asked
	cacheStatus := strings.Join(response.Header.Values("Cache-Status"), ", ")
	printf(d.table, "%s\t%d\t%s\t%s\t%s\t%d×\t%s\n", step.title, response.StatusCode, sizeText(size),
		firstByte.Sub(begun).Round(10*time.Microsecond), took.Round(10*time.Microsecond), asked, cacheStatus)

	switch {
	case response.StatusCode != step.status:
		return fmt.Errorf("the status is %d and should be %d", response.StatusCode, step.status)
	case !strings.Contains(cacheStatus, step.cacheStatus):
		return fmt.Errorf("the Cache-Status is %q and should tell of %q", cacheStatus, step.cacheStatus)
	case asked > step.maxUpstream:
		return fmt.Errorf("GitLab was asked %d times and should be %d at most", asked, step.maxUpstream)
	case step.getsTheFile && fmt.Sprintf("%x", hash.Sum(nil)) != d.digest:
		return errors.New("the bytes are not the file's")
	}
	return nil
}

func (d *demonstration) url(project int, version string) string {
	return fmt.Sprintf("%s/api/v4/projects/%d/packages/generic/%s/%s/%s", d.edge, project, demoPackage, version, demoFile)
}

// invite prints lines to try.
func (d *demonstration) invite(cacheDirectory string) {
	printf(d.out, `
The edge stays up until Ctrl-C. Try:

  curl -sSD- -o /dev/null --header "JOB-TOKEN: %[1]s" %[2]s
  curl -sSD- -o /dev/null --header "PRIVATE-TOKEN: %[3]s" -r 0-99 %[2]s
  curl -sSi --header "PRIVATE-TOKEN: wrong" %[2]s
  echo hello > hello.txt && curl -sSi --header "PRIVATE-TOKEN: %[3]s" --upload-file hello.txt %[4]s/api/v4/projects/%[5]d/generic/my_package/0.0.1/hello.txt
  curl -sS --header "PRIVATE-TOKEN: %[3]s" %[4]s/api/v4/projects/group%%2Fapp/packages/generic/my_package/0.0.1/hello.txt
  find %[6]s/blobs -type f -exec sha256sum {} +
`, demoJobToken, d.url(demoProject, demoVersion), demoUserToken, d.edge, demoProject, cacheDirectory)
}

// digestOf returns a file's SHA-256 and size.
func digestOf(path string) (digest string, size int64, err error) {
	file, err := os.Open(path) //nolint:gosec // this very program
	if err != nil {
		return "", 0, fmt.Errorf("opening: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	size, err = io.Copy(hash, file)
	return fmt.Sprintf("%x", hash.Sum(nil)), size, err
}
