package upstream_test

import (
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// fileOf returns bytes of which no two megabytes are alike.
func fileOf(size int) []byte {
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body)
	return body
}

// TestALineThatCutsEachConnectionBringsAFileOfAnySize has more cuts than retries. A try counts against them when it brings less
// than a megabyte.
func TestALineThatCutsEachConnectionBringsAFileOfAnySize(t *testing.T) {
	body := fileOf(20 << 20)
	for name, test := range map[string]struct {
		fault     gitlabtest.Fault
		whole     bool
		mostAsked int
	}{
		"after more than a megabyte":      {gitlabtest.Fault{CutEach: 1<<20 + 70_000}, true, 21},
		"after exactly a megabyte":        {gitlabtest.Fault{CutEach: 1 << 20}, true, 21},
		"after less":                      {gitlabtest.Fault{CutEach: 1<<20 - 1}, false, 4},
		"and GitLab doesn't know ranges":  {gitlabtest.Fault{CutEach: 1 << 20, IgnoreRange: true}, false, 4},
		"before the first byte of a body": {gitlabtest.Fault{CutAfter: -1}, false, 4},
	} {
		for _, mode := range []gitlabtest.Mode{gitlabtest.LocalDisk, gitlabtest.Redirect} {
			t.Run(name, func(t *testing.T) {
				gitlab := newGitLab(t)
				gitlab.SetMode(mode)
				gitlab.SetClock(func() time.Time { return time.Now().Add(-time.Hour) })
				gitlab.Publish(24, "pkg", "1.0.0", "app.bin", body)
				gitlab.SetClock(time.Now)
				client := newClient(t, gitlab.URL, nil, gitlab)
				test.fault.Times = -1
				gitlab.Inject(test.fault)
				download, err := client.Fetch(context.Background(), callerWith(token), ref)
				if err != nil {
					t.Fatal(err)
				}
				defer download.Close()
				hash := sha256.New()
				n, err := io.Copy(hash, download)
				if (err == nil) != test.whole {
					t.Errorf("%d bytes, %v", n, err)
				}
				if want := sha256.Sum256(body); test.whole && [sha256.Size]byte(hash.Sum(nil)) != want {
					t.Error("the pieces don't fit together")
				}
				if asked := gitlab.Count(http.MethodGet); asked > test.mostAsked {
					t.Errorf("GitLab was asked %d times", asked)
				}
			})
		}
	}
}
