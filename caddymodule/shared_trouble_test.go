package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// tellsSharedTrouble makes sure that the three who tell of a shared store's trouble tell the same: `status`, the command and the metric.
func (e *edge) tellsSharedTrouble(t *testing.T, state, reason string, down float64) {
	t.Helper()
	status := mustCall[adminapi.Status](t, e, http.MethodGet, "status", "")
	shared := status.Stores[0].SharedStore
	if shared == nil || shared.State != state || !strings.Contains(shared.Reason, reason) || (state != adminapi.SharedUntried) != (shared.Since != nil) {
		t.Errorf("status: %+v", shared)
	}
	e.expectCLI(t, 0, []string{"SHARED STORE", "s3://" + buckettest.Name + "/edge", state, reason}, "status")
	if got := series(t)["shared_stores_down"]; got != down {
		t.Errorf("shared_stores_down is %g", got)
	}
}

// TestABucketThatHangsIsWaitedForByThreeCallersOnly and then rests, which is told of once.
func TestABucketThatHangsIsWaitedForByThreeCallersOnly(t *testing.T) {
	gitlab, storage := naming(t), newSharedStore(t)
	storage.Inject(buckettest.Fault{Hang: true})
	const firstByte = 200 * time.Millisecond
	e := startEdge(t, gitlab.URL, sharedOptions(t.TempDir(), storage, "first_byte "+firstByte.String()), recordEvents())
	e.tellsSharedTrouble(t, adminapi.SharedUntried, "", 0)
	before := series(t)
	for i := range 6 {
		name, body := fmt.Sprintf("%d.bin", i), someBytes(100_000, byte(40+i))
		publishOld(gitlab, name, body)
		begun := time.Now()
		e.mustGet(t, name, developer, body)
		if took := time.Since(begun); took > firstByte+time.Second {
			t.Errorf("download %d took %s", i, took)
		}
	}
	grown := since(t, before)
	const reads = "shared_store_read_duration_seconds "
	if waited, rested := grown[reads+string(sharedFailed)], grown[reads+string(sharedNotAsked)]; waited != 3 || rested != 3 {
		t.Errorf("it was waited for %g times, and left alone %g times", waited, rested)
	}
	e.tellsSharedTrouble(t, adminapi.SharedDown, "reading an object: the storage doesn't answer", 1)
	awaitEvent(t, eventSharedDown+" map[reason:reading an object: the storage doesn't answer store:s3://"+buckettest.Name+"/edge]")
	// How an end of it is told of; that there is one, and when, is the bucket's (TestAnOutageIsToldOfOnce).
	s := runningState()
	s.later(func() { s.tellShared(s.sharedOf, true, "") })
	awaitEvent(t, eventSharedUp+" map[store:s3://"+buckettest.Name+"/edge]")
	recorded.mu.Lock()
	defer recorded.mu.Unlock()
	if len(recorded.events) != 2 {
		t.Errorf("told %v", recorded.events)
	}
}

// TestABucketThatAnswersIsToldToBeWell as its trouble is.
func TestABucketThatAnswersIsToldToBeWell(t *testing.T) {
	gitlab, storage, body := naming(t), newSharedStore(t), someBytes(100_000, 46)
	publishOld(gitlab, "app.bin", body)
	e := startSharing(t, gitlab, storage, "first_byte 5s")
	e.mustGet(t, "app.bin", developer, body)
	awaitNothingOwed(t)
	e.tellsSharedTrouble(t, adminapi.SharedUp, "", 0)
}

// TestABucketThatAsksForRestIsToldOf as slowed, and not as down.
func TestABucketThatAsksForRestIsToldOf(t *testing.T) {
	gitlab, storage, body := naming(t), newSharedStore(t), someBytes(100_000, 47)
	storage.Inject(buckettest.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"})
	publishOld(gitlab, "app.bin", body)
	e := startSharing(t, gitlab, storage, "direction read")
	e.mustGet(t, "app.bin", developer, body)
	status := mustCall[adminapi.Status](t, e, http.MethodGet, "status", "")
	if shared := status.Stores[0].SharedStore; shared.State != adminapi.SharedSlowed || !strings.Contains(shared.Reason, "too many requests") {
		t.Errorf("status: %+v", shared)
	}
	if down := series(t)["shared_stores_down"]; down != 0 {
		t.Errorf("shared_stores_down is %g", down)
	}
}

// TestAHungBucketHoldsUpNoHitNoStopAndNoStart although it is owed a file, and somebody waits for it to take that.
func TestAHungBucketHoldsUpNoHitNoStopAndNoStart(t *testing.T) {
	const atOnce = 5 * time.Second // of a minute for which a bucket is waited for by whom nobody waits for
	gitlab, storage, directory, body := naming(t), newSharedStore(t), t.TempDir(), someBytes(100_000, 48)
	storage.Inject(buckettest.Fault{Hang: true})
	publishOld(gitlab, "app.bin", body)
	options := sharedOptions(directory, storage, "first_byte 50ms")
	e := startEdge(t, gitlab.URL, options)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	before := series(t)
	timed := func(what string, do func()) {
		t.Helper()
		begun := time.Now()
		do()
		if took := time.Since(begun); took > atOnce {
			t.Errorf("%s took %s", what, took)
		}
	}
	if owed := series(t)["shared_store_owed_files"]; owed != 1 {
		t.Errorf("%g files are owed", owed)
	}
	timed("a hit", func() { e.mustGet(t, "app.bin", developer, body) })
	timed("a stop", func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	timed("a start", func() { e.reload(t, options) })
	timed("a hit after the start", func() { e.mustGet(t, "app.bin", developer, body) })
	if grown := since(t, before); grown["shared_store_read_duration_seconds "+string(sharedFailed)] != 0 {
		t.Error("a hit has asked the bucket")
	}
}

// TestAWrongObjectIsToldOf by an event that names the object.
func TestAWrongObjectIsToldOf(t *testing.T) {
	gitlab, storage, body := naming(t), newSharedStore(t), someBytes(100_000, 49)
	publishOld(gitlab, "app.bin", body)
	storage.Set(objectOf(body), slices.Concat(body, []byte("more")), time.Now()) // of another length, which shows at once
	e := startEdge(t, gitlab.URL, sharedOptions(t.TempDir(), storage, "first_byte 5s"), recordEvents())
	e.mustGet(t, "app.bin", developer, body)
	awaitEvent(t, eventSharedWrong+" map[object:"+objectOf(body)+" store:s3://"+buckettest.Name+"/edge]")
}
