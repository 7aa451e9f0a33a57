package caddymodule

import (
	"net/http"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// TestStatusSaysSinceWhen GitLab, its object storage and the cache directory are as they are.
func TestStatusSaysSinceWhen(t *testing.T) {
	setForTest(t, &process.storeLookPause, time.Hour)
	gitlab, body := redirecting(t, nil), someBytes(10_000, 1)
	publishOld(gitlab, "app.bin", body)
	beforeStart := process.clock()
	e := startEdge(t, gitlab.URL, "", withAdmin)
	afterStart := process.clock()
	between := func(what string, at *time.Time, from, until time.Time) {
		t.Helper()
		if at == nil || at.Before(from) || at.After(until) {
			t.Errorf("%s: %v is not between %v and %v", what, at, from, until)
		}
	}
	status := func() (adminapi.UpstreamStatus, adminapi.StoreStatus) {
		t.Helper()
		status := mustCall[adminapi.Status](t, e, http.MethodGet, "status", "")
		return status.Upstreams[0], status.Stores[0]
	}
	if server, _ := status(); server.GitLabAnswered != nil || server.ObjectStorageAnswered != nil {
		t.Errorf("nobody was asked, and %v and %v have answered", server.GitLabAnswered, server.ObjectStorageAnswered)
	}
	before := time.Now() // of the servers: what is heard of them isn't compared with ages
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	var store adminapi.StoreStatus
	await(t, func() bool {
		_, store = status()
		return store.Read != nil
	})
	server, _ := status()
	after := time.Now() // also of the probe that the first answer starts
	between("GitLab answered", server.GitLabAnswered, before, after)
	between("its object storage answered", server.ObjectStorageAnswered, before, after)
	between("the directory was opened", store.Since, beforeStart, afterStart)
	between("the index was read", store.Read, *store.Since, process.clock())
	// It stays so.
	if _, again := status(); !again.Since.Equal(*store.Since) || !again.Read.Equal(*store.Read) {
		t.Errorf("opened %v and read %v, and later %v and %v", store.Since, store.Read, again.Since, again.Read)
	}
	beforeLoss := process.clock()
	empty(t, e.directory)
	_, lost := status()
	between("the directory can't be used", lost.Since, beforeLoss, process.clock())
	if _, again := status(); lost.Usable || lost.Read != nil || !again.Since.Equal(*lost.Since) {
		t.Errorf("%+v, and later since %v", lost, again.Since)
	}
}
