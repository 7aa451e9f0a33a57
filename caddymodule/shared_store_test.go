package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/bucket"
	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

const edgesSecret = "what only the edges know"

// sharedOptions are those of an edge with a bucket of a storage.
func sharedOptions(directory string, storage *buckettest.Server, more string) string {
	return fmt.Sprintf(`cache %s {
	min_free 0
	shared_store s3://%s/edge {
		endpoint %s
		access_key key
		secret_key {env.S3_SECRET_KEY}
		secret {env.EDGES_SECRET}
		%s
	}
}`, directory, buckettest.Name, storage.URL, more)
}

// newSharedStore starts a storage that edges share.
func newSharedStore(t *testing.T) *buckettest.Server {
	t.Helper()
	t.Setenv("S3_SECRET_KEY", "the secret key")
	t.Setenv("EDGES_SECRET", edgesSecret)
	storage := buckettest.New()
	t.Cleanup(storage.Close)
	return storage
}

// startSharing starts an edge with a bucket.
func startSharing(t *testing.T, gitlab *gitlabtest.Server, storage *buckettest.Server, more string) *edge {
	t.Helper()
	return startEdge(t, gitlab.URL, sharedOptions(t.TempDir(), storage, more), withAdmin)
}

// anotherEdge puts an edge with an empty cache in the place of the one that runs.
func (e *edge) anotherEdge(t *testing.T, storage *buckettest.Server, more string) {
	t.Helper()
	awaitNothingOwed(t)
	e.reload(t, sharedOptions(t.TempDir(), storage, more))
}

// awaitNothingOwed waits until the shared store has all that it is to get.
func awaitNothingOwed(t *testing.T) {
	t.Helper()
	awaitNoFlight(t)
	await(t, func() bool {
		stats := runningState().store.Load().Stats()
		return !stats.Loading && stats.Owed == 0
	})
}

// runningKey is the key of a file of the tests' package, of the edge that runs.
func runningKey(file string) cache.Key {
	h := runningState().sharing()
	return h.targetOf(upstream.Ref{Project: strconv.Itoa(project), Package: "pkg", Version: "1.0.0", File: file}).key
}

// objectOf is the name of the object with a file's bytes.
func objectOf(body []byte) string {
	sum := hexSHA256(body)
	return "edge/blobs/" + sum[:2] + "/" + sum
}

// naming is a GitLab that names SHA-256s.
func naming(t *testing.T) *gitlabtest.Server {
	t.Helper()
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	return gitlab
}

// inBothModes runs a test with a GitLab that sends files itself, and names their sums, and with one that redirects.
func inBothModes(t *testing.T, test func(*testing.T, *gitlabtest.Server, *buckettest.Server)) {
	t.Helper()
	t.Run("GitLab sends", func(t *testing.T) { test(t, naming(t), newSharedStore(t)) })
	t.Run("GitLab redirects", func(t *testing.T) { test(t, redirecting(t, nil), newSharedStore(t)) })
}

func TestANewEdgeHasFilesFromTheSharedStore(t *testing.T) {
	inBothModes(t, func(t *testing.T, gitlab *gitlabtest.Server, storage *buckettest.Server) {
		body := someBytes(32<<20, 1)
		publishOld(gitlab, "app.bin", body)
		e := startSharing(t, gitlab, storage, "")
		e.mustGet(t, "app.bin", developer, body)
		awaitNothingOwed(t)
		if !bytes.Equal(storage.Get(objectOf(body)), body) {
			t.Fatalf("it isn't in the bucket; there are %v", storage.Objects(""))
		}
		e.anotherEdge(t, storage, "")
		gitlab.ResetRequests()
		storage.ResetRequests()
		e.mustGet(t, "app.bin", developer, body)
		awaitNoFlight(t)
		if sent := bytesSent(gitlab); sent > 12<<20 {
			t.Errorf("GitLab and its storage sent %d bytes", sent)
		}
		if n := len(storage.Requests(http.MethodGet, "/blobs/")); n != 1 {
			t.Errorf("the bucket was asked %d times for the file", n)
		}
		// Who had it from the bucket doesn't write it there.
		awaitNothingOwed(t)
		if n := len(storage.Requests(http.MethodPut, "")); n != 0 {
			t.Errorf("%d objects were written", n)
		}
		// GitLab's yes to each caller is what it was.
		if got := e.do(t, call{path: filePath("app.bin"), token: outsider}); got.StatusCode != http.StatusNotFound {
			t.Errorf("an outsider: %s", got.Status)
		}
		e.mustGet(t, "app.bin", colleague, body)
	})
}

func TestAnUploadReachesTheSharedStore(t *testing.T) {
	gitlab, storage := naming(t), newSharedStore(t)
	e := startSharing(t, gitlab, storage, "")
	publishOld(gitlab, "first.bin", []byte("x")) // so that GitLab's naming sums is known
	e.mustGet(t, "first.bin", developer, []byte("x"))
	body := someBytes(1<<20, 2)
	e.upload(t, "app.bin", body)
	awaitNothingOwed(t)
	if !bytes.Equal(storage.Get(objectOf(body)), body) {
		t.Errorf("it isn't in the bucket; there are %v", storage.Objects(""))
	}
	if names := storage.Objects(""); len(names) != 1 {
		t.Errorf("objects: %v; what is small isn't shared", names)
	}
}

// TestWhateverTheSharedStoreDoesNobodyGetsAWrongByte has it fail in the middle of everything.
func TestWhateverTheSharedStoreDoesNobodyGetsAWrongByte(t *testing.T) {
	body := someBytes(8<<20, 3)
	for what, fault := range map[string]buckettest.Fault{
		"no answer":        {Hang: true},
		"a cut head":       {Status: http.StatusInternalServerError, Code: "InternalError"},
		"forbidden":        {Status: http.StatusForbidden, Code: "AccessDenied"},
		"slow down":        {Status: http.StatusServiceUnavailable, Code: "SlowDown"},
		"a body cut":       {CutAt: 3 << 20},
		"a body cut early": {CutAt: 1},
		"a body that ends": {CutAt: int64(len(body)) - 1},
		"a body hung":      {HangAt: 5 << 20},
	} {
		t.Run(what, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, gitlab *gitlabtest.Server, storage *buckettest.Server) {
				publishOld(gitlab, "app.bin", body)
				e := startSharing(t, gitlab, storage, "first_byte 200ms")
				e.mustGet(t, "app.bin", developer, body)
				e.anotherEdge(t, storage, "first_byte 200ms")
				fault.Method, fault.Part = http.MethodGet, "/blobs/"
				storage.Inject(fault)
				begun := time.Now()
				e.mustGet(t, "app.bin", developer, body)
				if took := time.Since(begun); took > 20*time.Second {
					t.Errorf("it took %s", took)
				}
				storage.ClearFaults()
				e.mustGet(t, "app.bin", colleague, body)
			})
		})
	}
}

func TestAWrongObjectBreaksOffAndTheNextCallerGetsTheRightBytes(t *testing.T) {
	inBothModes(t, func(t *testing.T, gitlab *gitlabtest.Server, storage *buckettest.Server) {
		body := someBytes(2<<20, 4)
		publishOld(gitlab, "app.bin", body)
		e := startSharing(t, gitlab, storage, "")
		e.mustGet(t, "app.bin", developer, body)
		e.anotherEdge(t, storage, "")
		wrong := bytes.Clone(body)
		wrong[1000]++
		storage.Set(objectOf(body), wrong, time.Now())
		storage.SetConnectionRate(8 << 20) // who had no byte of it by its end would get GitLab's instead
		before := series(t)
		got := e.do(t, call{path: filePath("app.bin"), token: developer})
		if got.err == nil {
			t.Errorf("a wrong body looked whole: %s, %d bytes", got.Status, len(got.body))
		}
		e.mustGet(t, "app.bin", developer, body)
		awaitNothingOwed(t)
		if !bytes.Equal(storage.Get(objectOf(body)), body) {
			t.Error("the right bytes weren't written over it")
		}
		if n := series(t)["shared_store_wrong_total"] - before["shared_store_wrong_total"]; n != 1 {
			t.Errorf("%g wrong objects are counted", n)
			for line := range strings.Lines(e.log(t)) {
				if strings.Contains(line, "isn't what its name says") {
					t.Log(line)
				}
			}
		}
		if !strings.Contains(e.log(t), "an object of the shared store isn't what its name says") {
			t.Error("the log doesn't tell")
		}
	})
}

// TestALocationCountsOnlyForWhoSeesTheSameThere has the bucket say of a location what was there before a restore.
func TestALocationCountsOnlyForWhoSeesTheSameThere(t *testing.T) {
	gitlab, storage := redirecting(t, nil), newSharedStore(t)
	body, before := someBytes(1<<20, 5), someBytes(1<<20, 6)
	publishOld(gitlab, "app.bin", body)
	e := startSharing(t, gitlab, storage, "")
	e.mustGet(t, "app.bin", developer, body)
	awaitNothingOwed(t)
	entry, err := runningState().store.Load().Lookup(runningKey("app.bin"))
	if err != nil {
		t.Fatal(err)
	}
	shared := runningState().sharing()
	storage.Set(objectOf(before), before, time.Now())
	content := bucket.Content{SHA256: sha256.Sum256(before), Size: int64(len(before))}
	err = shared.shared.PutLocation(t.Context(), placeOf(entry.Key.Upstream, entry.Identity.Location), bucket.Location{Content: content, ETag: `"of those days"`})
	if err != nil {
		t.Fatal(err)
	}
	e.anotherEdge(t, storage, "")
	storage.ResetRequests()
	e.mustGet(t, "app.bin", developer, body)
	if n := len(storage.Requests(http.MethodGet, "/blobs/")); n != 0 {
		t.Errorf("%d objects were read", n)
	}
}

func TestWithoutASecretFilesBehindARedirectAreWrittenAndNotRead(t *testing.T) {
	gitlab, storage := redirecting(t, nil), newSharedStore(t)
	body := someBytes(1<<20, 7)
	publishOld(gitlab, "app.bin", body)
	withoutSecret := func(directory string) string {
		return strings.Replace(sharedOptions(directory, storage, ""), "secret {env.EDGES_SECRET}", "", 1)
	}
	e := startEdge(t, gitlab.URL, withoutSecret(t.TempDir()))
	e.mustGet(t, "app.bin", developer, body)
	awaitNothingOwed(t)
	if names := storage.Objects(""); len(names) != 1 || names[0] != objectOf(body) {
		t.Errorf("objects: %v", names)
	}
	e.reload(t, withoutSecret(t.TempDir()))
	storage.ResetRequests()
	e.mustGet(t, "app.bin", developer, body)
	if n := len(storage.Requests(http.MethodGet, "")); n != 0 {
		t.Errorf("the bucket was asked %d times", n)
	}
}

func TestWhatIsOwedSurvivesARestartAndADayWithoutABucket(t *testing.T) {
	gitlab, storage := naming(t), newSharedStore(t)
	storage.Inject(buckettest.Fault{Status: http.StatusInternalServerError, Code: "InternalError"})
	directory := t.TempDir()
	e := startEdge(t, gitlab.URL, sharedOptions(directory, storage, ""))
	bodies := make([][]byte, 5)
	for i := range bodies {
		bodies[i] = someBytes(100_000, byte(10+i))
		publishOld(gitlab, fmt.Sprintf("%d.bin", i), bodies[i])
		e.mustGet(t, fmt.Sprintf("%d.bin", i), developer, bodies[i])
	}
	awaitNoFlight(t)
	if stats := runningState().store.Load().Stats(); stats.Owed != 5 || stats.OwedBytes != 500_000 {
		t.Errorf("%d files, %d bytes are owed", stats.Owed, stats.OwedBytes)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	storage.ClearFaults()
	e.reload(t, sharedOptions(directory, storage, ""))
	awaitNothingOwed(t)
	for i, body := range bodies {
		if !bytes.Equal(storage.Get(objectOf(body)), body) {
			t.Errorf("file %d isn't in the bucket", i)
		}
	}
	puts := len(storage.Requests(http.MethodPut, "/blobs/"))
	if puts < 5 {
		t.Errorf("%d objects were written", puts)
	}
}

func TestDirectionsAndSizesAreKept(t *testing.T) {
	gitlab, storage := naming(t), newSharedStore(t)
	large, small := someBytes(200_000, 20), someBytes(100_000, 21)
	publishOld(gitlab, "large.bin", large)
	publishOld(gitlab, "small.bin", small)
	e := startSharing(t, gitlab, storage, "direction read\nmin_size 150000")
	e.mustGet(t, "large.bin", developer, large)
	awaitNothingOwed(t)
	if names := storage.Objects(""); len(names) != 0 {
		t.Errorf("who only reads has written %v", names)
	}
	e.anotherEdge(t, storage, "direction write\nmin_size 150000")
	storage.ResetRequests()
	e.mustGet(t, "large.bin", developer, large)
	e.mustGet(t, "small.bin", developer, small)
	awaitNothingOwed(t)
	if names := storage.Objects(""); len(names) != 1 || names[0] != objectOf(large) {
		t.Errorf("objects: %v", names)
	}
	if n := len(storage.Requests(http.MethodGet, "")); n != 0 {
		t.Errorf("who only writes has read %d times", n)
	}
}

// TestWhatACheckNamesCostsGitLabNoBody has GitLab name by a check what isn't on the disk: a file that is gone from there, and one that
// was published anew.
func TestWhatACheckNamesCostsGitLabNoBody(t *testing.T) {
	old, fresh := someBytes(4<<20, 22), someBytes(3<<20, 23)
	for what, change := range map[string]func(*testing.T, *gitlabtest.Server, *buckettest.Server, string) []byte{
		"gone": func(t *testing.T, _ *gitlabtest.Server, _ *buckettest.Server, directory string) []byte {
			sum := hexSHA256(old)
			if err := os.Remove(filepath.Join(directory, "blobs", sum[:2], sum)); err != nil {
				t.Fatal(err)
			}
			return old
		},
		"published anew": func(_ *testing.T, gitlab *gitlabtest.Server, storage *buckettest.Server, _ string) []byte {
			publishOld(gitlab, "app.bin", fresh)
			storage.Set(objectOf(fresh), fresh, time.Now())
			return fresh
		},
	} {
		t.Run(what, func(t *testing.T) {
			gitlab, storage, directory := naming(t), newSharedStore(t), t.TempDir()
			publishOld(gitlab, "app.bin", old)
			e := startEdge(t, gitlab.URL, sharedOptions(directory, storage, ""))
			e.mustGet(t, "app.bin", developer, old)
			awaitNothingOwed(t)
			want := change(t, gitlab, storage, directory)
			putForward(2 * time.Minute) // so that GitLab is asked
			gitlab.ResetRequests()
			e.mustGet(t, "app.bin", developer, want)
			if sent := bytesSent(gitlab); sent > 1 {
				t.Errorf("GitLab sent %d bytes", sent)
			}
		})
	}
}

// TestWhatBrokeOffFromTheSharedStoreIsNoBeginning has a wrong object break off while GitLab is down: nobody knows by then that it is
// wrong, and who goes on later mightn't know what to compare it with.
func TestWhatBrokeOffFromTheSharedStoreIsNoBeginning(t *testing.T) {
	inBothModes(t, func(t *testing.T, gitlab *gitlabtest.Server, storage *buckettest.Server) {
		body := someBytes(8<<20, 24)
		publishOld(gitlab, "app.bin", body)
		options := func() string { return sharedOptions(t.TempDir(), storage, "first_byte 2s") + "\nretries 0" }
		e := startEdge(t, gitlab.URL, options())
		e.mustGet(t, "app.bin", developer, body)
		awaitNothingOwed(t)
		e.reload(t, options())
		wrong := bytes.Clone(body)
		wrong[1000]++
		storage.Set(objectOf(body), wrong, time.Now())
		storage.Inject(buckettest.Fault{Method: http.MethodGet, Part: "/blobs/", HangAt: 4 << 20})
		_, rest := e.beginDownload(t, "app.bin", developer, 1<<20)
		gitlab.SetDown(true)
		gitlab.SetStorageDown(true)
		if _, err := io.ReadAll(rest); err == nil {
			t.Error("it didn't break off")
		}
		awaitNoFlight(t)
		if stats := runningState().store.Load().Stats(); stats.Beginnings != 0 {
			t.Errorf("%d beginnings are kept", stats.Beginnings)
		}
		gitlab.SetDown(false)
		gitlab.SetStorageDown(false)
		storage.Delete(objectOf(body))
		await(t, func() bool {
			got := e.do(t, call{path: filePath("app.bin"), token: developer})
			if got.StatusCode == http.StatusOK && got.err == nil && !bytes.Equal(got.body, body) {
				t.Fatal("wrong bytes look whole")
			}
			return got.StatusCode == http.StatusOK && got.err == nil
		})
	})
}

// TestAnOldYesBringsNothingFromTheSharedStore is of a caller who was asked about, and had to wait before they could lead a fetch.
func TestAnOldYesBringsNothingFromTheSharedStore(t *testing.T) {
	startSharing(t, naming(t), newSharedStore(t), "")
	s := runningState()
	h, store := s.sharing(), s.store.Load()
	newDownload := func(file string) *download {
		x := &exchange{h: h, state: s, store: store, r: httptest.NewRequest(http.MethodGet, filePath(file), nil)}
		x.r.Header.Set("Private-Token", developer)
		x.target = h.targetOf(upstream.Ref{Project: strconv.Itoa(project), Package: "pkg", Version: "1.0.0", File: file})
		d := &download{exchange: x, answer: &upstream.Answer{Verdict: upstream.Allowed, Sent: s.now(), Identity: upstream.Identity{SHA256: hexSHA256(nil)}}}
		h.hear(s, store, x.key, reader{upstream.Caller{}, x.grantKey()}, *d.answer)
		if d.namedToLeader() == nil {
			t.Fatal("a fresh yes names nothing")
		}
		return d
	}
	for what, later := range map[string]func(*download){
		"it is old":            func(d *download) { d.answer.Sent = d.answer.Sent.Add(-h.grantTTL) },
		"it is unproven":       func(d *download) { d.answer.Unproven = true },
		"other content":        func(d *download) { store.Doubt(d.key, s.now().Add(time.Second), cache.OtherContentNamed) },
		"the grant is no more": func(d *download) { s.grants.Forget(h.client.Upstream(), "", s.now()) },
	} {
		d := newDownload(strings.ReplaceAll(what, " ", "-"))
		later(d)
		if d.namedToLeader() != nil {
			t.Errorf("%s, and it still names something", what)
		}
	}
}

// TestADiskThatFailsJoinsNothingToWrongBytesOfTheSharedStore has a wrong object on its way in when the disk fails: the download goes on
// from GitLab, which must not make the file look whole.
func TestADiskThatFailsJoinsNothingToWrongBytesOfTheSharedStore(t *testing.T) {
	for what, isWrong := range map[string]bool{"wrong": true, "right": false} {
		t.Run(what, func(t *testing.T) {
			disk := cachetest.NewFailingFS(nil)
			process.fileSystem = disk
			t.Cleanup(func() { process.fileSystem = nil }) // after the edge has ended
			gitlab, storage, body := naming(t), newSharedStore(t), someBytes(8<<20, 25)
			publishOld(gitlab, "app.bin", body)
			e := startSharing(t, gitlab, storage, "first_byte 1s")
			e.mustGet(t, "app.bin", developer, body)
			e.anotherEdge(t, storage, "first_byte 1s")
			there := bytes.Clone(body)
			if isWrong {
				there[1000]++
			}
			storage.Set(objectOf(body), there, time.Now())
			storage.Inject(buckettest.Fault{Method: http.MethodGet, Part: "/blobs/", HangAt: 2 << 20})
			first, rest := e.beginDownload(t, "app.bin", developer, 1<<20)
			disk.Fail(0, 1, syscall.ENOSPC)
			whole, err := io.ReadAll(io.MultiReader(bytes.NewReader(first), rest))
			disk.Heal()
			if isWrong && err == nil {
				t.Errorf("%d bytes look whole", len(whole))
			}
			if !isWrong && (err != nil || !bytes.Equal(whole, body)) {
				t.Errorf("%d bytes, %v", len(whole), err)
			}
		})
	}
}

// TestADownloadWaitsForTheSharedStoreOnlyOnce has a bucket that hangs where a check has named the content already: the fetch that follows
// must not wait for it again.
func TestADownloadWaitsForTheSharedStoreOnlyOnce(t *testing.T) {
	gitlab, storage, directory, body := naming(t), newSharedStore(t), t.TempDir(), someBytes(1<<20, 26)
	publishOld(gitlab, "app.bin", body)
	e := startEdge(t, gitlab.URL, sharedOptions(directory, storage, ""))
	e.mustGet(t, "app.bin", developer, body)
	awaitNothingOwed(t)
	sum := hexSHA256(body)
	if err := os.Remove(filepath.Join(directory, "blobs", sum[:2], sum)); err != nil {
		t.Fatal(err)
	}
	putForward(2 * time.Minute) // so that GitLab is asked
	storage.Inject(buckettest.Fault{Method: http.MethodGet, Hang: true})
	before := series(t)
	e.mustGet(t, "app.bin", developer, body)
	if grown := since(t, before); grown["shared_store_read_duration_seconds failed"] != 1 {
		t.Errorf("it was waited for %g times", grown["shared_store_read_duration_seconds failed"])
	}
}
