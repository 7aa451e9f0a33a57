package pagetest

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

// axe-core finds what keeps people from reading a page. It is fetched by npm, for this test alone, and kept.
const (
	axeVersion = "4.14.1"
	axeSum     = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
)

// axeVariable, if it is "required", has tests fail where axe-core can't be had.
const axeVariable = "AXE_CORE"

// readAxe returns the source of axe-core. Without npm, or what it fetches, the test is skipped, unless it is required: go test says nothing
// of what it skips.
func readAxe(t *testing.T) string {
	t.Helper()
	home, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(home, "caddy-gitlab-packages-ci")
	file := filepath.Join(folder, "axe-core-"+axeVersion+".tgz")
	if _, err := os.Stat(file); err != nil {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		pack := exec.CommandContext(t.Context(), "npm", "pack", "axe-core@"+axeVersion, "--silent")
		pack.Dir = folder
		if said, err := pack.CombinedOutput(); err != nil {
			if os.Getenv(axeVariable) == "required" {
				t.Fatalf("npm's package axe-core can't be had: %v; %s", err, said)
			}
			t.Skipf("npm's package axe-core can't be had: %v; %s", err, said)
		}
	}
	source, err := axeSource(file)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// axeSource reads the script from the package, if that is the one that is meant.
func axeSource(file string) (string, error) {
	packed, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer packed.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, packed); err != nil {
		return "", err
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != axeSum {
		return "", fmt.Errorf("%s has the SHA-256 %s, and should have %s", file, got, axeSum)
	}
	if _, err := packed.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	unzipped, err := gzip.NewReader(packed)
	if err != nil {
		return "", err
	}
	entries := tar.NewReader(unzipped)
	for {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return "", errors.New("there is no axe.min.js in " + file)
		}
		if err != nil {
			return "", err
		}
		if entry.Name == "package/axe.min.js" {
			source, err := io.ReadAll(entries)
			return string(source), err
		}
	}
}

// violation is one rule of axe-core's that a page breaks.
type violation struct {
	ID    string `json:"id"`
	Help  string `json:"help"`
	Nodes []struct {
		HTML    string `json:"html"`
		Failure string `json:"failureSummary"`
	} `json:"nodes"`
}

// TestEverybodyCanReadThePages has axe-core look at each page, in light and dark, wide and narrow: contrast (AA), labels, landmarks, names of
// links and buttons, tables.
func TestEverybodyCanReadThePages(t *testing.T) {
	source := readAxe(t)
	s := startSite(t, morning(), "actions")
	for name, how := range map[string]look{"light": desktop, "dark": {width: 1280, height: 900, dark: true}, "phone": phone} {
		t.Run(name, func(t *testing.T) {
			b := openBrowser(t, how)
			command(b, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true}) // for axe-core's own scripts
			s.edge.Change(func(world *fakeedge.World) { *world = morning() })
			for _, place := range places {
				if place == "troubles" { // its other side, and an overview with trouble
					s.edge.Change(func(world *fakeedge.World) { *world = fakeedge.Down(time.Now()) })
					judge(t, b, s.url, source)
				}
				judge(t, b, s.url+place, source)
			}
		})
	}
}

// judge opens a page, all of it, and has axe-core look at it.
func judge(t *testing.T, b *tab, address, source string) {
	t.Helper()
	b.open(address)
	read[bool](b, `document.querySelectorAll("details").forEach((one) => { one.open = true; }) === undefined`)
	read[bool](b, source+"; true")
	found := read[struct {
		Violations []violation `json:"violations"`
		Passes     []violation `json:"passes"`
	}](b, `axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })`)
	if len(found.Passes) < 20 {
		t.Errorf("%s: only %d rules were looked at", address, len(found.Passes))
	}
	for _, broken := range found.Violations {
		where := make([]string, 0, 3)
		for _, node := range broken.Nodes[:min(3, len(broken.Nodes))] {
			where = append(where, node.HTML+"\n\t"+node.Failure)
		}
		t.Errorf("%s: %s: %s (%d times)\n%s", address, broken.ID, broken.Help, len(broken.Nodes), strings.Join(where, "\n"))
	}
}
