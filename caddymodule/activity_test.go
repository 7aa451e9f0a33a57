package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// activity is what the edge says it is doing.
func (e *edge) activity(t testing.TB) adminapi.Activity {
	t.Helper()
	return mustCall[adminapi.Activity](t, e, http.MethodGet, adminapi.CallActivity, "")
}

// awaitFill waits until one file is on its way in, and satisfies a condition.
func (e *edge) awaitFill(t testing.TB, is func(adminapi.FillStatus) bool) (fill adminapi.FillStatus) {
	t.Helper()
	await(t, func() bool {
		activity := e.activity(t)
		if len(activity.Fills) != 1 || activity.FillsTotal != 1 {
			return false
		}
		fill = activity.Fills[0]
		return is(fill)
	})
	return fill
}

func TestActivityTellsHowFarAFileOnItsWayInHasCome(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		from := adminapi.FromGitLab
		if strings.Contains(t.Name(), "redirect") {
			from = adminapi.FromObjectStorage
		}
		e := startEdge(t, gitlab.URL, "", withAdmin)
		body := someBytes(3_000_000, 1)
		publishOld(gitlab, "app.bin", body)
		release := make(chan struct{})
		gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 2_000_000, Release: release})
		before := process.clock()
		first, rest := e.beginDownload(t, "app.bin", developer, 1000)
		fill := e.awaitFill(t, func(f adminapi.FillStatus) bool { return f.Bytes == 2_000_000 })
		if fill.Size == nil || *fill.Size != int64(len(body)) || fill.Callers != 1 || fill.From != from || fill.Begun.Before(before) || fill.Begun.After(process.clock()) ||
			fill.Directory != e.directory || fill.Upstream != gitlab.URL || fill.Project != "24" || fill.Package != "pkg" || fill.Version != "1.0.0" || fill.File != "app.bin" {
			t.Errorf("the fill is %+v, from %s", fill, from)
		}
		other, otherRest := e.beginDownload(t, "app.bin", colleague, 1000)
		e.awaitFill(t, func(f adminapi.FillStatus) bool { return f.Callers == 2 })
		ctx, leave := context.WithCancel(t.Context())
		third, err := e.begin(call{path: filePath("app.bin"), token: administrator, context: ctx})
		if err != nil {
			t.Fatal(err)
		}
		e.awaitFill(t, func(f adminapi.FillStatus) bool { return f.Callers == 3 })
		leave()
		_ = third.Body.Close()
		e.awaitFill(t, func(f adminapi.FillStatus) bool { return f.Callers == 2 })
		close(release)
		for _, one := range []struct {
			first []byte
			rest  io.Reader
		}{{first, rest}, {other, otherRest}} {
			if sum, err := digestOfRest(one.first, one.rest); err != nil || sum != hexSHA256(body) {
				t.Errorf("%v, or wrong bytes", err)
			}
		}
		awaitNoFlight(t)
		if after := e.activity(t); len(after.Fills) != 0 || after.FillsTotal != 0 {
			t.Errorf("when it is here: %+v", after.Fills)
		}
	})
}

func TestActivitySaysWhereBytesComeFrom(t *testing.T) {
	gitlab, storage := naming(t), newSharedStore(t)
	body := someBytes(8<<20, 1)
	publishOld(gitlab, "app.bin", body)
	e := startSharing(t, gitlab, storage, "")
	e.mustGet(t, "app.bin", developer, body)
	e.anotherEdge(t, storage, "")
	release := make(chan struct{})
	storage.Inject(buckettest.Fault{Method: http.MethodGet, Part: "/blobs/", HangAt: 2 << 20})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 5 << 20, Release: release, Times: -1})
	first, rest := e.beginDownload(t, "app.bin", developer, 1000)
	e.awaitFill(t, func(f adminapi.FillStatus) bool {
		return f.From == adminapi.FromSharedStore && f.Bytes == 2<<20
	})
	// The object stands still, and the rest is GitLab's.
	e.awaitFill(t, func(f adminapi.FillStatus) bool { return f.From == adminapi.FromGitLab && f.Bytes == 5<<20 })
	close(release)
	if sum, err := digestOfRest(first, rest); err != nil || sum != hexSHA256(body) {
		t.Errorf("%v, or wrong bytes", err)
	}
}

func TestActivityTellsNothingOfAFileOfWhichGitLabHasNotSaidYes(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	release, asked := make(chan struct{}), make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, Hang: true, Release: release, Reached: func() { close(asked) }})
	var stranger sync.WaitGroup
	stranger.Go(func() { e.do(t, call{path: filePath("app.bin"), token: outsider}) })
	<-asked
	if activity := e.activity(t); len(activity.Fills) != 0 || activity.FillsTotal != 0 {
		t.Errorf("fills are %+v", activity.Fills)
	}
	close(release)
	stranger.Wait()
}

func TestActivityTellsHowFarAnUploadHasComeAndNoNameThatAStrangerMadeUp(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	e.mustGet(t, "app.bin", developer, []byte("x")) // a yes to project 24, and none to 25
	awaitNoFlight(t)
	var callers sync.WaitGroup
	begin := func(path string, length int64) (send func(string), end func()) {
		reader, writer := io.Pipe()
		callers.Go(func() {
			e.do(t, call{method: http.MethodPut, path: path, token: developer, body: reader, length: length})
		})
		return func(text string) {
				if _, err := io.Copy(writer, strings.NewReader(text)); err != nil {
					t.Error(err)
				}
			}, func() {
				_ = writer.Close()
			}
	}
	before := process.clock()
	sendKnown, endKnown := begin(filePath("up.bin"), 300_000)
	sendKnown(strings.Repeat("x", 100_000))
	var upload adminapi.UploadStatus
	await(t, func() bool {
		activity := e.activity(t)
		if len(activity.Uploads) != 1 || activity.UploadsTotal != 1 {
			return false
		}
		upload = activity.Uploads[0]
		return upload.Bytes == 100_000
	})
	if upload.Size == nil || *upload.Size != 300_000 || upload.Begun.Before(before) || upload.Upstream != gitlab.URL || upload.Project != "24" ||
		upload.Package != "pkg" || upload.Version != "1.0.0" || upload.File != "up.bin" {
		t.Errorf("the upload is %+v", upload)
	}
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{PathContains: "secret", Hang: true, Release: release})
	sendOther, endOther := begin("/api/v4/projects/secret%2Fproject/packages/generic/pkg/1.0.0/up.bin", -1)
	sendOther("y")
	await(t, func() bool { return e.activity(t).UploadsTotal == 2 })
	if _, text := e.api(t, http.MethodGet, adminapi.CallActivity, ""); strings.Contains(text, "secret") {
		t.Errorf("a stranger's name is told: %s", text)
	}
	// An upload that GitLab takes is a yes as well, and one whose length nobody told has none.
	if got := e.put(t, "/api/v4/projects/25/packages/generic/pkg/1.0.0/up.bin", []byte("x")); got.StatusCode != http.StatusCreated {
		t.Fatal(got.Status)
	}
	sendThird, endThird := begin("/api/v4/projects/25/packages/generic/pkg/1.0.1/up.bin", -1)
	sendThird("z")
	await(t, func() bool {
		uploads := e.activity(t).Uploads
		return len(uploads) == 2 && uploads[1].Project == "25" && uploads[1].Size == nil && uploads[1].Bytes == 1
	})
	sendKnown(strings.Repeat("x", 200_000))
	close(release)
	for _, end := range []func(){endKnown, endOther, endThird} {
		end()
	}
	callers.Wait()
	await(t, func() bool { return e.activity(t).UploadsTotal == 0 })
}

func TestActivityIsBoundedAndInOrder(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	state := runningState()
	process.knownProjects.note(gitlab.URL, "24")
	const most = adminapi.MaxActivity + 10
	for i := range most {
		u := &upload{upstream: gitlab.URL, ref: upstream.Ref{Project: "24", Package: "pkg", Version: "1", File: fmt.Sprintf("f%02d", i)}, size: -1}
		u.begun = process.clock().Add(-time.Duration(i/2) * time.Minute) // two at a time
		state.uploads.add(u)
		defer state.uploads.end(u)
	}
	var before []byte
	for range 3 {
		activity := e.activity(t)
		if len(activity.Uploads) != adminapi.MaxActivity || activity.UploadsTotal != most {
			t.Fatalf("%d uploads of %d", len(activity.Uploads), activity.UploadsTotal)
		}
		oldestFirst := slices.IsSortedFunc(activity.Uploads, func(a, b adminapi.UploadStatus) int { return a.Begun.Compare(b.Begun) })
		names := []byte(fmt.Sprint(activity.Uploads))
		if !oldestFirst || activity.Uploads[0].File != "f58" || activity.Uploads[1].File != "f59" || (before != nil && !bytes.Equal(names, before)) {
			t.Errorf("their order is %s", names)
		}
		before = names
	}
}

func TestActivityHasWarmingsAndVerifications(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "api_token "+developer, withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	e.expectCLI(t, 0, nil, "warm", "24", "pkg")
	activity := e.activity(t)
	if len(activity.Warmings) != 1 || activity.Warmings[0].Fetched != 1 || len(activity.Verifications) != 1 || activity.Verifications[0].Directory != e.directory {
		t.Errorf("%+v", activity)
	}
}

func (k *knownProjects) forgetAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.names.Purge()
}

func TestAProjectIsKnownByGitLabsYesAlone(t *testing.T) {
	gitlab := newGitLab(t)
	process.knownProjects.forgetAll() // an earlier test's GitLab may have had the same port
	e := startEdge(t, gitlab.URL, "", withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	e.do(t, call{path: filePath("app.bin"), token: outsider})
	e.do(t, call{path: filePath("absent.bin"), token: developer})
	e.do(t, call{method: http.MethodPut, path: filePath("up.bin"), token: outsider, body: strings.NewReader("x")})
	// A redirect to a location that nothing has vouched for is no yes yet.
	h, state := handlerOfRunningEdge(t), runningState()
	key := cache.Key{Upstream: gitlab.URL, Project: "24", Package: "pkg", Version: "1.0.0", File: "app.bin"}
	h.hear(state, state.store.Load(), key, reader{}, upstream.Answer{Verdict: upstream.Allowed, Unproven: true})
	if process.knownProjects.has(gitlab.URL, "24") {
		t.Error("a project is known of which GitLab has only said no")
	}
	e.mustGet(t, "app.bin", developer, []byte("x"))
	if !process.knownProjects.has(gitlab.URL, "24") || process.knownProjects.has(gitlab.URL, "group/app") || process.knownProjects.has("https://elsewhere", "24") {
		t.Error("a yes is for the project as it was spelled, at this GitLab")
	}
	// The oldest yes goes first, and who asks keeps nothing.
	known := newKnownProjects()
	for i := range maxKnownProjects {
		known.note("u", fmt.Sprint(i))
	}
	known.note("u", "0")
	known.has("u", "1")
	known.note("u", "one more")
	known.note("u", strings.Repeat("x", maxKnownLength+1))
	if known.names.Len() != maxKnownProjects || !known.has("u", "0") || known.has("u", "1") || !known.has("u", "one more") {
		t.Errorf("%d are known", known.names.Len())
	}
}
