package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// These tests replay public reports about clients with the clients themselves. docs/reports.md lists the reports.

// coldAndStored runs a test of a file that the edge doesn't have, and of one that it has, in each of clientModes.
func coldAndStored(t *testing.T, debianPackage, path string, test func(t *testing.T, c *clients, body []byte)) {
	t.Helper()
	for name, mode := range clientModes {
		for _, state := range []string{"cold", "stored"} {
			t.Run(name+", "+state, func(t *testing.T) {
				c := newClients(t, mode, debianPackage, path)
				body := someBytes(3<<20, 1)
				publishOld(c.gitlab, "app.bin", body)
				if state == "stored" {
					c.mustGet(t, "app.bin", developer, body)
					awaitNoFlight(t)
				}
				test(t, c, body)
			})
		}
	}
}

// TestCurlThatResumesAWholeFileLeavesItAsItIs: what the edge says in its 416 must not end up behind the file. With --fail,
// some versions of curl exit with an error all the same.
func TestCurlThatResumesAWholeFileLeavesItAsItIs(t *testing.T) {
	coldAndStored(t, "curl", "curl", func(t *testing.T, c *clients, body []byte) {
		c.write(t, "app.bin", body)
		resume := []string{"--silent", "--show-error", "--header", "PRIVATE-TOKEN: " + developer, "--continue-at", "-", "--output", "app.bin", c.address("app.bin")}
		for range 2 {
			if _, err := c.run(t, "curl", resume...); err != nil {
				t.Error(err)
			}
			c.expect(t, "app.bin", body)
		}
		_, _ = c.run(t, "curl", append(resume, "--fail")...)
		c.expect(t, "app.bin", body)
	})
}

func TestWgetThatContinuesAWholeFileHasNothingToDo(t *testing.T) {
	coldAndStored(t, "wget", "wget", func(t *testing.T, c *clients, body []byte) {
		c.write(t, "app.bin", body)
		for range 2 {
			if _, err := c.run(t, "wget", "--no-verbose", "--tries=2", "--continue", "--header=PRIVATE-TOKEN: "+developer, c.address("app.bin")); err != nil {
				t.Error(err)
			}
			c.expect(t, "app.bin", body)
		}
	})
}

// TestWgetDownloadsAgainOnlyWhatIsNewer runs wget -N, which goes by Last-Modified and asks by If-Modified-Since.
func TestWgetDownloadsAgainOnlyWhatIsNewer(t *testing.T) {
	coldAndStored(t, "wget", "wget", func(t *testing.T, c *clients, body []byte) {
		wget := func() (status string) {
			t.Helper()
			if _, err := c.run(t, "wget", "--server-response", "--output-file=log", "--tries=1", "--timestamping", "--header=PRIVATE-TOKEN: "+developer, c.address("app.bin")); err != nil {
				t.Error(err)
			}
			logged, err := os.ReadFile(filepath.Join(c.directory, "log"))
			if err != nil {
				t.Fatal(err)
			}
			_, status, _ = strings.Cut(string(logged), "HTTP/1.1 ")
			return status[:3]
		}
		if got := wget(); got != "200" {
			t.Errorf("at first: %s", got)
		}
		c.expect(t, "app.bin", body)
		awaitNoFlight(t)
		if got := wget(); got != "304" {
			t.Errorf("of the same: %s", got)
		}
		newer := someBytes(2<<20, 2)
		c.gitlab.SetClock(func() time.Time { return process.clock().Add(-time.Minute) })
		c.gitlab.Publish(project, "pkg", "1.0.0", "app.bin", newer)
		c.gitlab.SetClock(process.clock)
		putForward(2 * time.Minute) // past max_age
		if got := wget(); got != "200" {
			t.Errorf("of the newer: %s", got)
		}
		c.expect(t, "app.bin", newer)
	})
}

// TestZsyncFetchesOnlyWhatHasChanged: it asks for up to twenty ranges in one request.
func TestZsyncFetchesOnlyWhatHasChanged(t *testing.T) {
	coldAndStored(t, "zsync", "zsync", func(t *testing.T, c *clients, body []byte) {
		old := append([]byte(nil), body...)
		for at := 50_000; at < len(old); at += 100_000 {
			copy(old[at:], "changed")
		}
		c.write(t, "old.bin", old)
		c.write(t, "app.bin", body)
		if _, err := c.run(t, "zsyncmake", "-b", "2048", "-u", c.address("app.bin"), "-o", "app.zsync", "app.bin"); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(c.directory, "app.bin")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.run(t, "zsync", "-q", "-A", "127.0.0.1=dev:"+developer, "-i", "old.bin", "-o", "app.bin", "app.zsync"); err != nil {
			t.Fatal(err)
		}
		c.expect(t, "app.bin", body)
	})
}

// aptHelper is apt's own downloader, with the netrc file that apt reads its passwords from.
func (c *clients) aptHelper(t *testing.T, token string, arguments ...string) (string, error) {
	t.Helper()
	c.write(t, "auth.conf", fmt.Appendf(nil, "machine %s login dev password %s\n", c.url, token))
	return c.run(t, "/usr/lib/apt/apt-helper", append([]string{
		"-o", "Dir::Etc::netrc=" + filepath.Join(c.directory, "auth.conf"), "-o", "Dir::Etc::netrcparts=/nonexistent",
		"-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=0",
	}, arguments...)...)
}

func TestAptDownloadsResumesAndSeesTheChecksum(t *testing.T) {
	coldAndStored(t, "apt", "/usr/lib/apt/apt-helper", func(t *testing.T, c *clients, body []byte) {
		download := func(token, output string) error {
			_, err := c.aptHelper(t, token, "download-file", c.address("app.bin"), output, "SHA256:"+hexSHA256(body))
			return err
		}
		if err := download(developer, "whole.bin"); err != nil {
			t.Error(err)
		}
		c.expect(t, "whole.bin", body)
		for name, begun := range map[string][]byte{"of this file": body[:1<<20], "of another": someBytes(1<<20, 9)} {
			c.write(t, "begun.bin", begun)
			if err := download(developer, "begun.bin"); err != nil {
				t.Errorf("a beginning %s: %v", name, err)
			}
			c.expect(t, "begun.bin", body)
		}
		if err := download("glpat-wrong", "wrong.bin"); err == nil {
			t.Error("a wrong token is no failure")
		}
	})
}

// TestAptFindsNamesWithPlusSignsAndTildes: it writes them as %2b and %7e.
func TestAptFindsNamesWithPlusSignsAndTildes(t *testing.T) {
	const file = "app_1.0+b1~rc1_amd64.deb"
	need(t, "apt", "/usr/lib/apt/apt-helper")
	gitlab := newGitLab(t)
	c := &clients{startEdge(t, gitlab.URL, "rules current"), gitlab, t.TempDir()}
	body := someBytes(100_000, 1)
	publishOld(gitlab, file, body)
	for _, output := range []string{"cold.deb", "stored.deb"} {
		if _, err := c.aptHelper(t, developer, "download-file", c.address(file), output, "SHA256:"+hexSHA256(body)); err != nil {
			t.Error(err)
		}
		c.expect(t, output, body)
		awaitNoFlight(t)
	}
	c.mustGet(t, file, developer, body)
	if n := gitlab.CountFetches(); n != 1 {
		t.Errorf("the spellings cost %d fetches", n)
	}
}

// pythonRequests downloads a file as most scripts do, and says what it got.
const pythonRequests = `
import sys, requests
answer = requests.get(sys.argv[1], headers={"PRIVATE-TOKEN": sys.argv[2]}, stream=sys.argv[3] == "streamed")
answer.raise_for_status()
got = sum(len(part) for part in answer.iter_content(65536))
print(got, answer.headers.get("Content-Length"))
`

// TestPythonRequestsSeesABrokenOffFileAsAFailure: it compares no lengths by itself, so that the end of a connection would be
// the end of the file to it.
func TestPythonRequestsSeesABrokenOffFileAsAFailure(t *testing.T) {
	const python = "/usr/bin/python3"
	c := newClients(t, gitlabtest.LocalDisk, "python3-requests", python)
	if _, err := c.run(t, python, "-c", "import requests"); err != nil {
		t.Skip("needs Debian's package python3-requests")
	}
	c.gitlab.SetChecksums(true)
	c.gitlab.SetRate(4 << 20) // so that the answer begins before the damage is seen
	for _, how := range []string{"whole", "streamed"} {
		publishOld(c.gitlab, how+".bin", someBytes(1<<20, 1))
		c.gitlab.Inject(gitlabtest.Fault{CorruptAt: 500_000, Times: -1})
		if got, err := c.run(t, python, "-c", pythonRequests, c.address(how+".bin"), developer, how); err == nil {
			t.Errorf("%s: a damaged file looks whole: %s", how, got)
		} else if !strings.Contains(err.Error(), "Connection") {
			t.Errorf("%s: it fails otherwise: %v", how, err)
		}
	}
}
