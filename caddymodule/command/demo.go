package command

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

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
	demoFile       = "caddy.bin"
	// demoVersion is at GitLab before the edge starts; demoPublished is published through the edge.
	demoVersion, demoPublished = "1.0.0", "1.1.0"
	demoSize                   = 64 << 20
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
	edge, admin, page, err := startDemoEdge(gitlab.URL, directory)
	if err != nil {
		return err
	}
	printf(out, "A page to look at  %s\n\n", page)
	defer func() { _ = caddy.Stop() }()

	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding a file to publish: %w", err)
	}
	demo := &demonstration{out: out, gitlab: gitlab, edge: edge, admin: admin, program: program}
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

// demoGitLab starts a stand-in of today's GitLab, which names checksums, with a file in it.
func demoGitLab() *gitlabtest.Server {
	gitlab := gitlabtest.New()
	gitlab.SetChecksums(true)
	for id, path := range map[int]string{demoProject: "group/app", demoOffProject: "group/closed"} {
		gitlab.AddProject(gitlabtest.Project{ID: id, Path: path, Visibility: gitlabtest.Private})
	}
	gitlab.PublishContent(demoProject, demoPackage, demoVersion, demoFile, demoContent())
	roles := map[int]gitlabtest.Role{demoProject: gitlabtest.Developer, demoOffProject: gitlabtest.Developer}
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.JobToken, Secret: demoJobToken, Username: "ci", Roles: roles})
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: demoUserToken, Username: "dev", Roles: roles})
	return gitlab
}

// demoContent is the file that is at GitLab before the edge starts.
func demoContent() gitlabtest.Content { return gitlabtest.Generated(demoSize, 1) }

// demoPageAddress is where the page is, unless somebody listens there.
const demoPageAddress = "127.0.0.1:2020"

// startDemoEdge runs Caddy in this process with one edge and its page, and returns their URLs and the address of the admin API. All
// are reached from this machine alone: the demo's tokens are no secrets.
func startDemoEdge(gitlabURL, directory string) (edge, admin, page string, err error) {
	addresses, err := freeAddresses(3)
	if err != nil {
		return "", "", "", fmt.Errorf("finding free ports: %w", err)
	}
	edge, admin, page = addresses[0], addresses[1], addresses[2]
	if listener, err := net.Listen("tcp", demoPageAddress); err == nil {
		_ = listener.Close()
		page = demoPageAddress
	}
	_, pagePort, err := net.SplitHostPort(page)
	if err != nil {
		return "", "", "", fmt.Errorf("the page's address: %w", err)
	}
	// A quarter of upload_room is for one address, and must hold this program.
	config := fmt.Sprintf(`{
	admin %[5]s
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	storage file_system %[1]s/caddy
	log default {
		level ERROR
	}
}
http://%[2]s {
	gitlab_packages %[3]s {
		cache %[1]s/cache {
			max_size 2GiB
			min_free 0
			upload_room 1GiB
		}
		projects on {
			on %[6]d group/app
			off %[4]d group/closed
		}
	}
	reverse_proxy %[3]s
}
http://:%[7]s {
	gitlab_packages_page {
		actions
	}
}
`, directory, edge, gitlabURL, demoOffProject, admin, demoProject, pagePort)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "demo"})
	if err != nil {
		return "", "", "", fmt.Errorf("adapting the demo's config: %w", err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		return "", "", "", fmt.Errorf("starting the demo's edge: %w", err)
	}
	return "http://" + edge, admin, "http://localhost:" + pagePort, nil
}

// freeAddresses returns different addresses on 127.0.0.1 at which nobody listens.
func freeAddresses(number int) (addresses []string, err error) {
	for range number {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // at the end, or the next one could be the same
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

// invite prints lines to try.
func (d *demonstration) invite(cacheDirectory string) {
	file := d.url(demoProject, demoVersion)
	const hello = "packages/generic/my_package/0.0.1/hello.txt"
	printf(d.out, `
The edge stays up until Ctrl-C. Try, in another terminal:

  curl -sSD- -o /dev/null --header "JOB-TOKEN: %[1]s" %[3]s
  curl -sSD- -o /dev/null --header "PRIVATE-TOKEN: %[2]s" -r 0-99 %[3]s
  curl -sSi --header "PRIVATE-TOKEN: wrong" %[3]s
  echo hello > hello.txt && curl -sSi --header "PRIVATE-TOKEN: %[2]s" --upload-file hello.txt %[4]s/api/v4/projects/%[5]d/%[6]s
  curl -sSi --header "PRIVATE-TOKEN: %[2]s" %[4]s/api/v4/projects/group%%2Fapp/%[6]s

What the edge has, and how it does:

%[7]s
Switch the project off, see its files be gone for everybody, and switch it on again:

%[8]s
Throw a version away; its next download is fetched from GitLab again:

%[9]s
The stored files are named by their SHA-256:

  find %[10]s/blobs -type f -exec sha256sum {} +
`, demoJobToken, demoUserToken, file, d.edge, demoProject, hello,
		d.verbs("status", "entries"),
		d.verbs(fmt.Sprintf("disable %d", demoProject))+"  curl -sSi --header \"JOB-TOKEN: "+demoJobToken+"\" "+file+"\n"+d.verbs(fmt.Sprintf("enable %d", demoProject)),
		d.verbs(fmt.Sprintf("purge %d %s %s", demoProject, demoPackage, demoVersion)), cacheDirectory)
}

// verbs are lines that run verbs on the demo's edge.
func (d *demonstration) verbs(verbs ...string) string {
	var lines strings.Builder
	for _, verb := range verbs {
		printf(&lines, "  %s gitlab-packages %s --address %s\n", d.program, verb, d.admin)
	}
	return lines.String()
}
