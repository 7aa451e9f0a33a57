package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// These tests run the programs with which people and jobs use the registry, against a real edge. Each is skipped only
// where the program is missing; .ci/run installs all of them.

// clients runs real programs in a directory of their own.
type clients struct {
	*edge
	gitlab    *gitlabtest.Server
	directory string
}

func newClients(t *testing.T, mode gitlabtest.Mode, debianPackage, path string) *clients {
	t.Helper()
	need(t, debianPackage, path)
	gitlab := newGitLab(t)
	gitlab.SetMode(mode)
	return &clients{startEdge(t, gitlab.URL, ""), gitlab, t.TempDir()}
}

// need skips the test if a program is missing.
func need(t *testing.T, debianPackage, path string) {
	t.Helper()
	if _, err := exec.LookPath(path); errors.Is(err, exec.ErrNotFound) {
		t.Skipf("needs Debian's package %s", debianPackage)
	}
}

// run runs a command. Proxies and settings of whoever runs the tests have no part in it.
func (c *clients) run(t *testing.T, path string, arguments ...string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, path, arguments...) //nolint:gosec // the commands stand in the tests
	command.Dir = c.directory
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.directory, "LC_ALL=C.UTF-8"}
	var complaints bytes.Buffer
	command.Stderr = &complaints
	text, err := command.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", path, err, complaints.String())
	}
	return string(text), err
}

// write puts a file into the directory, expect compares one that is there.
func (c *clients) write(t *testing.T, name string, body []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.directory, name), body, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *clients) expect(t *testing.T, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(c.directory, name))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, want %d; %v", name, len(got), len(want), err)
	}
}

func (c *clients) address(file string) string { return c.url + filePath(file) }

var clientModes = map[string]gitlabtest.Mode{"local disk": gitlabtest.LocalDisk, "redirected storage": gitlabtest.Redirect}

func TestCurlUploadsDownloadsAndResumes(t *testing.T) {
	for name, mode := range clientModes {
		t.Run(name, func(t *testing.T) {
			c := newClients(t, mode, "curl", "curl")
			body := someBytes(3<<20, 1)
			c.write(t, "app.bin", body)
			curl := func(arguments ...string) (string, error) {
				return c.run(t, "curl", append([]string{"--silent", "--show-error", "--fail"}, arguments...)...)
			}
			for i, who := range [][]string{
				{"--header", "PRIVATE-TOKEN: " + developer},
				{"--header", "JOB-TOKEN: " + jobToken},
				{"--user", "dev:" + developer},
				{"--header", "Authorization: Bearer " + developer},
			} {
				file := fmt.Sprintf("app%d.bin", i)
				if got, err := curl(append(who, "--upload-file", "app.bin", c.address(file))...); err != nil || got != `{"message":"201 Created"}` {
					t.Errorf("%s: %q, %v", who[1], got, err)
				}
				for _, protocol := range []string{"--http1.1", "--http2-prior-knowledge"} {
					if got, err := curl(append(who, protocol, c.address(file))...); err != nil || got != string(body) {
						t.Errorf("%s %s: %d bytes, %v", who[1], protocol, len(got), err)
					}
				}
			}

			c.write(t, "part.bin", body[:1<<20])
			got, err := curl("--header", "PRIVATE-TOKEN: "+developer, "--continue-at", "-", "--output", "part.bin", "--write-out", "%{http_code}", c.address("app0.bin"))
			if err != nil || got != "206" {
				t.Errorf("going on: %q, %v", got, err)
			}
			c.expect(t, "part.bin", body)

			got, err = curl("--header", "PRIVATE-TOKEN: "+colleague, "--location-trusted", "--output", "trusted.bin", "--write-out", "%{num_redirects} %{url_effective}", c.address("app0.bin"))
			if err != nil || got != "0 "+c.address("app0.bin") {
				t.Errorf("with --location-trusted: %q, %v", got, err)
			}
			c.expect(t, "trusted.bin", body)

			if _, err := curl("--header", "PRIVATE-TOKEN: glpat-wrong", c.address("app0.bin")); err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("with a wrong token: %v", err)
			}
			if _, err := curl("--header", "PRIVATE-TOKEN: glpat-wrong", "--upload-file", "app.bin", c.address("app9.bin")); err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("uploading with a wrong token: %v", err)
			}
		})
	}
}

func TestCurlSeesABrokenOffFileAsAFailure(t *testing.T) {
	c := newClients(t, gitlabtest.LocalDisk, "curl", "curl")
	c.gitlab.SetChecksums(true)
	body := someBytes(1<<20, 1)
	publishOld(c.gitlab, "app.bin", body)
	c.gitlab.Inject(gitlabtest.Fault{CorruptAt: 500_000, Times: -1})
	for _, protocol := range []string{"--http1.1", "--http2-prior-knowledge"} {
		if _, err := c.run(t, "curl", "--silent", "--show-error", "--fail", protocol, "--header", "PRIVATE-TOKEN: "+developer, "--output", "damaged.bin", c.address("app.bin")); err == nil {
			t.Errorf("%s: a damaged file looks whole", protocol)
		}
	}
}

func TestWgetDownloadsAndResumes(t *testing.T) {
	for name, mode := range clientModes {
		t.Run(name, func(t *testing.T) {
			c := newClients(t, mode, "wget", "wget")
			body := someBytes(3<<20, 1)
			publishOld(c.gitlab, "app.bin", body)
			wget := func(token string, arguments ...string) (string, error) {
				return c.run(t, "wget", append([]string{"--no-verbose", "--tries=1", "--header=PRIVATE-TOKEN: " + token}, arguments...)...)
			}
			if _, err := wget(developer, "--output-document=whole.bin", c.address("app.bin")); err != nil {
				t.Error(err)
			}
			c.expect(t, "whole.bin", body)
			c.write(t, "app.bin", body[:1<<20])
			if _, err := wget(developer, "--continue", c.address("app.bin")); err != nil {
				t.Error(err)
			}
			c.expect(t, "app.bin", body)
			if _, err := wget("glpat-wrong", "--output-document=wrong.bin", c.address("app.bin")); err == nil {
				t.Error("a wrong token is no failure")
			}
		})
	}
}

func TestAria2DownloadsInSixteenSegmentsForLittleMoreThanOneBody(t *testing.T) {
	for name, mode := range clientModes {
		t.Run(name, func(t *testing.T) {
			c := newClients(t, mode, "aria2", "aria2c")
			const size = 64 << 20
			body := someBytes(size, 1)
			publishOld(c.gitlab, "app.bin", body)
			c.gitlab.SetRate(64 << 20)
			aria2 := func(token, output string) error {
				_, err := c.run(t, "aria2c", "--quiet", "--no-conf", "--max-connection-per-server=16", "--split=16", "--min-split-size=1M",
					"--max-tries=1", "--file-allocation=none", "--header=PRIVATE-TOKEN: "+token, "--out="+output, c.address("app.bin"))
				return err
			}
			for _, output := range []string{"cold.bin", "stored.bin"} {
				if err := aria2(developer, output); err != nil {
					t.Error(err)
				}
				c.expect(t, output, body)
				awaitNoFlight(t)
			}
			sent := bytesSent(c.gitlab)
			// One body, one far segment whatever its length, and range_wait for the others; aria2 asks for all of the file at
			// first and hangs up when it splits.
			if most := int64(size + size/4 + defaultRangeWait); sent > most {
				t.Errorf("GitLab sent %d MiB, want at most %d", sent>>20, most>>20)
			}
			if err := aria2("glpat-wrong", "wrong.bin"); err == nil {
				t.Error("a wrong token is no failure")
			}
		})
	}
}

// pythonGitLab publishes, downloads and fails as a script of an admin would.
const pythonGitLab = `
import sys, gitlab
url, good, wrong = sys.argv[1:4]
project = gitlab.Gitlab(url, private_token=good).projects.get(24, lazy=True)
package = project.generic_packages.upload(package_name="pkg", package_version="1.0.0", file_name="script.bin", path="app.bin")
assert package.message == "201 Created", package
want = open("app.bin", "rb").read()
assert project.generic_packages.download(package_name="pkg", package_version="1.0.0", file_name="script.bin") == want
with open("streamed.bin", "wb") as out:
    project.generic_packages.download(package_name="pkg", package_version="1.0.0", file_name="script.bin", streamed=True, action=out.write)
job = gitlab.Gitlab(url, job_token=sys.argv[4]).projects.get(24, lazy=True)
assert job.generic_packages.download(package_name="pkg", package_version="1.0.0", file_name="script.bin") == want
stranger = gitlab.Gitlab(url, private_token=wrong).projects.get(24, lazy=True)
for attempt in (
    lambda: stranger.generic_packages.download(package_name="pkg", package_version="1.0.0", file_name="script.bin"),
    lambda: stranger.generic_packages.upload(package_name="pkg", package_version="1.0.0", file_name="other.bin", path="app.bin"),
):
    try:
        attempt()
    except gitlab.exceptions.GitlabError as error:
        assert error.response_code == 401, error
    else:
        raise AssertionError("a wrong token is no failure")
print("done")
`

func TestPythonGitLabPublishesAndDownloads(t *testing.T) {
	for name, mode := range clientModes {
		t.Run(name, func(t *testing.T) {
			const python = "/usr/bin/python3" // Debian's own, which has Debian's packages
			c := newClients(t, mode, "python3-gitlab", python)
			if _, err := c.run(t, python, "-c", "import gitlab"); err != nil {
				t.Skip("needs Debian's package python3-gitlab")
			}
			body := someBytes(300_000, 1)
			c.write(t, "app.bin", body)
			if got, err := c.run(t, python, "-c", pythonGitLab, c.url, developer, "glpat-wrong", jobToken); err != nil || got != "done\n" {
				t.Errorf("it printed %q, %v", got, err)
			}
			c.expect(t, "streamed.bin", body)
		})
	}
}
