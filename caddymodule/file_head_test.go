package caddymodule

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// TestTheHeadOfAHitTellsOfThatFile: the head that was made for one file is never another one's, be that a file with the same bytes,
// or what was published over the first.
func TestTheHeadOfAHitTellsOfThatFile(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
	publish := func(file string, body []byte, age time.Duration) (modified string) {
		at := process.clock().Add(-age)
		gitlab.SetClock(func() time.Time { return at })
		gitlab.Publish(project, "pkg", "1.0.0", file, body)
		gitlab.SetClock(process.clock)
		return at.UTC().Format(http.TimeFormat)
	}
	check := func(file string, body []byte, modified string) {
		t.Helper()
		sum := sha256.Sum256(body)
		for range 3 {
			header := e.mustGet(t, file, developer, body).Header
			for name, want := range map[string]string{
				"Content-Length": strconv.Itoa(len(body)), "Last-Modified": modified, "Etag": fmt.Sprintf(`"%x"`, sum),
				"X-Checksum-Sha256": fmt.Sprintf("%x", sum), "Repr-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":",
			} {
				if got := header.Get(name); got != want {
					t.Errorf("%s: %s is %q, not %q", file, name, got, want)
				}
			}
			awaitNoFlight(t)
		}
	}
	one, two := someBytes(1000, 1), someBytes(2000, 2)
	gitlab.SetChecksums(true)
	first, second := publish("one.bin", one, 2*time.Hour), publish("two.bin", one, 3*time.Hour)
	check("one.bin", one, first)
	check("two.bin", one, second)
	check("one.bin", one, first)
	if got := e.put(t, filePath("one.bin"), two); got.StatusCode != http.StatusCreated {
		t.Fatal(got.Status)
	}
	published := e.mustGet(t, "one.bin", developer, two).Header.Get("Last-Modified")
	check("one.bin", two, published)
	check("two.bin", one, second)
}

// TestAHeadIsNotTakenForAnothersOrAnEarlierState: an entry learns its Last-Modified when GitLab first names one.
func TestAHeadIsNotTakenForAnothersOrAnEarlierState(t *testing.T) {
	entry := cache.Entry{Digest: cache.Digest{1}, Size: 10}
	head := newFileHead(entry)
	if !head.isOf(entry) {
		t.Error("the head isn't its own entry's")
	}
	for what, change := range map[string]func(*cache.Entry){
		"other bytes":                   func(e *cache.Entry) { e.Digest[0]++ },
		"another size":                  func(e *cache.Entry) { e.Size++ },
		"a Last-Modified that is named": func(e *cache.Entry) { e.Identity.LastModified = time.Unix(1, 0) },
	} {
		changed := entry
		if change(&changed); head.isOf(changed) {
			t.Errorf("%s: the head is taken for the entry's", what)
		}
	}
}
