package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// shutOut takes somebody's role in all projects away, whose token stays good: GitLab says 404 from then on.
func shutOut(gitlab *gitlabtest.Server, secret string) {
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: secret, Username: "left"})
}

// expectInAnOutage takes GitLab down, and looks who is served a file that is stored.
func (e *edge) expectInAnOutage(t *testing.T, gitlab *gitlabtest.Server, file string, served map[string]bool) {
	t.Helper()
	gitlab.SetDown(true)
	defer gitlab.SetDown(false)
	for token, want := range served {
		got := e.do(t, call{path: filePath(file), token: token})
		if isServed := got.StatusCode == http.StatusOK; isServed != want {
			t.Errorf("in an outage %s gets %s of %s, %q", token, got.Status, file, got.cacheStatus())
		}
	}
}

// TestWhoTakesAFetchOverAndIsRefusedLosesTheirOwnGrant has a body break off when neither who leads its fetch nor who follows may
// read it any more: GitLab is asked for the rest in the name of each.
func TestWhoTakesAFetchOverAndIsRefusedLosesTheirOwnGrant(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 1h")
	small, big := someBytes(1000, 1), someBytes(4<<20, 2)
	publishOld(gitlab, "small.bin", small)
	publishOld(gitlab, "big.bin", big)
	for _, token := range []string{developer, colleague, administrator} {
		e.mustGet(t, "small.bin", token, small)
	}
	awaitNoFlight(t)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, CutAfter: 2 << 20, Release: release})
	ends := make(chan error, 2)
	for _, token := range []string{developer, colleague} {
		first, rest := e.beginDownload(t, "big.bin", token, 1)
		go func() { // ends with the release
			_, err := digestOfRest(first, rest)
			ends <- err
		}()
	}
	await(t, func() bool { return following() == 1 })
	shutOut(gitlab, developer)
	shutOut(gitlab, colleague)
	close(release)
	for range 2 {
		if err := <-ends; err == nil {
			t.Error("a file looks whole whose rest was refused")
		}
	}
	awaitNoFlight(t)
	e.expectInAnOutage(t, gitlab, "small.bin", map[string]bool{developer: false, colleague: false, administrator: true})
}

// TestWhereTheDiskBreaksEachCallerGoesOnInTheirOwnName has the disk fail under the downloads of two callers, of whom GitLab
// refuses one by then.
func TestWhereTheDiskBreaksEachCallerGoesOnInTheirOwnName(t *testing.T) {
	for _, refused := range []string{developer, colleague} { // who leads the fetch, and who follows
		t.Run(refused, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 1h")
			small, big := someBytes(1000, 1), someBytes(4<<20, 2)
			publishOld(gitlab, "small.bin", small)
			publishOld(gitlab, "big.bin", big)
			for _, token := range []string{developer, colleague} {
				e.mustGet(t, "small.bin", token, small)
			}
			awaitNoFlight(t)
			release := make(chan struct{})
			defer close(release)
			gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release})
			type end struct {
				token, digest string
				err           error
			}
			ends := make(chan end, 2)
			for _, token := range []string{developer, colleague} {
				first, rest := e.beginDownload(t, "big.bin", token, 1)
				go func() { // ends with the fill
					digest, err := digestOfRest(first, rest)
					ends <- end{token, digest, err}
				}()
			}
			await(t, func() bool { return following() == 1 })
			shutOut(gitlab, refused)
			flights := &runningState().flights
			flights.mu.Lock()
			for _, fl := range flights.byKey {
				fl.fill.Abort(fmt.Errorf("%w: as the test wants it", cache.ErrDisk))
			}
			flights.mu.Unlock()
			for range 2 {
				got := <-ends
				if whole := got.err == nil && got.digest == hexSHA256(big); whole != (got.token != refused) {
					t.Errorf("the download of %s, where %s is refused: %v", got.token, refused, got.err)
				}
			}
			e.expectInAnOutage(t, gitlab, "small.bin", map[string]bool{developer: refused != developer, colleague: refused != colleague})
		})
	}
}

// TestNoFetchGoesOnInTheNameOfWhoHasLeft has a follower leave before the body breaks off, and its leader be refused then.
func TestNoFetchGoesOnInTheNameOfWhoHasLeft(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
	body := someBytes(4<<20, 1)
	publishOld(gitlab, "big.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, CutAfter: 2 << 20, Release: release})
	first, rest := e.beginDownload(t, "big.bin", developer, 1)
	ctx, leave := context.WithCancel(context.Background())
	response, err := e.begin(call{path: filePath("big.bin"), token: colleague, context: ctx})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	await(t, func() bool { return following() == 1 })
	leave()
	await(t, func() bool { return following() == 0 })
	shutOut(gitlab, developer)
	gitlab.ResetRequests()
	close(release)
	if _, err := digestOfRest(first, rest); err == nil {
		t.Error("a file looks whole whose rest was refused")
	}
	awaitNoFlight(t)
	for _, request := range gitlab.Requests() {
		if request.Header.Get("Private-Token") == colleague {
			t.Errorf("GitLab was asked in the name of who had left: %s", request.Path)
		}
	}
}
