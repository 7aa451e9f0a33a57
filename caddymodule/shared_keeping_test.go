package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket"
	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// TestWhatIsInUseIsWrittenAnewAfterRefresh if its object is old, or gone. What nobody uses isn't.
func TestWhatIsInUseIsWrittenAnewAfterRefresh(t *testing.T) {
	setForTest(t, &process.sharedWalksPause, 10*time.Millisecond)
	gitlab, storage := naming(t), newSharedStore(t)
	e := startSharing(t, gitlab, storage, "refresh 1h")
	bodies := make(map[string][]byte)
	for i, name := range []string{"old.bin", "gone.bin", "unused.bin"} {
		bodies[name] = someBytes(100_000, byte(50+i))
		publishOld(gitlab, name, bodies[name])
		e.mustGet(t, name, developer, bodies[name])
	}
	awaitNothingOwed(t)
	longAgo := time.Now().Add(-2 * time.Hour)
	for name, body := range bodies {
		storage.Set(objectOf(body), body, longAgo)
		if name == "gone.bin" {
			storage.Delete(objectOf(body))
		}
	}
	putForward(2 * time.Hour)
	storage.ResetRequests()
	written := func(name string) int { return len(storage.Requests(http.MethodPut, objectOf(bodies[name]))) }
	for _, name := range []string{"old.bin", "gone.bin"} {
		e.mustGet(t, name, developer, bodies[name])
		if err := runningState().store.Load().Sync(t.Context()); err != nil { // the index hears of uses now and then
			t.Fatal(err)
		}
		await(t, func() bool {
			return written(name) > 0 && bytes.Equal(storage.Get(objectOf(bodies[name])), bodies[name])
		})
	}
	if n := written("unused.bin"); n != 0 {
		t.Errorf("what nobody uses was written %d times", n)
	}
}

// TestAPurgeNamesTheObjectsThatRemain in the bucket, for those who must have them gone; a purge that only says what it would do, too.
func TestAPurgeNamesTheObjectsThatRemain(t *testing.T) {
	gitlab, storage := naming(t), newSharedStore(t)
	e := startSharing(t, gitlab, storage, "")
	shared, small := someBytes(100_000, 53), someBytes(1000, 54)
	publishOld(gitlab, "shared.bin", shared)
	publishOld(gitlab, "small.bin", small)
	e.mustGet(t, "shared.bin", developer, shared)
	e.mustGet(t, "small.bin", developer, small)
	awaitNothingOwed(t)
	want := []string{"s3://" + buckettest.Name + "/" + objectOf(shared)}
	for _, request := range []string{`{"all":true,"dry_run":true}`, `{"all":true}`} {
		answer := mustCall[adminapi.PurgeAnswer](t, e, http.MethodPost, adminapi.CallPurge, request)
		if !slices.Equal(answer.SharedObjects, want) || answer.FurtherSharedObjects != 0 || answer.Entries != 2 {
			t.Errorf("%s: %+v", request, answer)
		}
	}
	if !bytes.Equal(storage.Get(objectOf(shared)), shared) {
		t.Error("the object that remains doesn't")
	}
}

// TestFewFilesAreWrittenAtATime has many that are owed, and a storage that takes its time.
func TestFewFilesAreWrittenAtATime(t *testing.T) {
	var mu sync.Mutex
	running, most := 0, 0
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		select {
		case <-release:
		case <-r.Context().Done():
		}
		mu.Lock()
		running--
		mu.Unlock()
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(slow.Close)
	t.Setenv("S3_SECRET_KEY", "the secret key")
	t.Setenv("EDGES_SECRET", edgesSecret)
	gitlab := naming(t)
	e := startSharing(t, gitlab, &buckettest.Server{Server: slow}, "direction write")
	for i := range 3 * sharedWriters {
		name, body := fmt.Sprintf("%d.bin", i), someBytes(100_000, byte(60+i))
		publishOld(gitlab, name, body)
		e.mustGet(t, name, developer, body)
	}
	awaitNoFlight(t)
	await(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return running == sharedWriters
	})
	mu.Lock()
	defer mu.Unlock()
	if most > sharedWriters {
		t.Errorf("%d at a time", most)
	}
	close(release)
}

// TestWritingPausesAfterTrouble: else an edge with files that are owed would try one after another without end while the bucket rests.
func TestWritingPausesAfterTrouble(t *testing.T) {
	gitlab, storage := naming(t), newSharedStore(t)
	storage.Inject(buckettest.Fault{Status: http.StatusInternalServerError, Code: "InternalError"})
	e := startSharing(t, gitlab, storage, "direction write")
	before, begun := series(t), time.Now()
	tries := func() float64 {
		grown := since(t, before)
		return grown["shared_store_writes_total "+string(sharedFailed)] + grown["shared_store_writes_total "+string(sharedNotAsked)]
	}
	for i := range 3 * sharedWriters {
		name, body := fmt.Sprintf("%d.bin", i), someBytes(100_000, byte(80+i))
		publishOld(gitlab, name, body)
		e.mustGet(t, name, developer, body)
	}
	await(t, func() bool { return tries() > 0 })
	for range 50 { // tens of milliseconds
		e.mustGet(t, "0.bin", developer, someBytes(100_000, 80))
	}
	if most := 2*sharedWriters + time.Since(begun)/(leastSharedPause/2); tries() > float64(most) {
		t.Errorf("it was tried %g times within %s", tries(), time.Since(begun))
	}
}

func TestPausesOfWritingGrowUntilItGoesWell(t *testing.T) {
	rest := sharedPause{longest: maxSharedPause}
	if pause := rest.now(); pause != 0 {
		t.Errorf("without trouble it pauses for %s", pause)
	}
	for _, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		want := time.Duration(seconds) * time.Second
		rest.note(errors.New("trouble"))
		if pause := rest.now(); rest.next != want || pause < want/2 || pause > want {
			t.Errorf("it pauses for %s, of %s; want %s", pause, rest.next, want)
		}
	}
	if rest.note(nil); rest.now() != 0 {
		t.Error("it went well, and it pauses")
	}
}

// TestEdgesPauseAndBeginByChance, so that several don't do the same at the same time.
func TestEdgesPauseAndBeginByChance(t *testing.T) {
	for what, test := range map[string]struct {
		draw     func() time.Duration
		from, to time.Duration
	}{
		"a pause":              {func() time.Duration { return bucket.Jittered(time.Second) }, time.Second / 2, time.Second},
		"a small file's begin": {func() time.Duration { return sharedSpread(0) }, 0, 3 * time.Second},
		"a large file's begin": {func() time.Duration { return sharedSpread(160 << 20) }, 0, 13 * time.Second},
	} {
		least, most := time.Duration(math.MaxInt64), time.Duration(0)
		for range 1000 {
			drawn := test.draw()
			least, most = min(least, drawn), max(most, drawn)
		}
		// That the outer tenths stay empty by chance happens once in 10^45.
		if tenth := (test.to - test.from) / 10; least < test.from || least > test.from+tenth || most > test.to || most < test.to-tenth {
			t.Errorf("%s is between %s and %s, not all over %s to %s", what, least, most, test.from, test.to)
		}
	}
}
