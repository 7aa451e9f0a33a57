package caddymodule

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
)

// TestOnlyWhoWritesToASharedStoreKeepsWhatIsOwedFromEviction: else nobody would ever get it, and its room were lost.
func TestOnlyWhoWritesToASharedStoreKeepsWhatIsOwedFromEviction(t *testing.T) {
	gitlab, storage, directory := naming(t), newSharedStore(t), t.TempDir()
	e := startEdge(t, gitlab.URL, sharedOptions(directory, storage, ""))
	for options, want := range map[string]bool{
		sharedOptions(directory, storage, ""):                true,
		sharedOptions(directory, storage, "direction write"): true,
		sharedOptions(directory, storage, "direction read"):  false,
		"cache " + directory + " {\n\tmin_free 0\n}":         false,
	} {
		e.reload(t, options)
		if got := runningState().inForce.Load().limits.KeepsOwed; got != want {
			t.Errorf("%s\nkeeps what is owed: %v", options, got)
		}
	}
}

// TestAWrongObjectIsWrittenOverAlsoAfterARestart has the edge end when it has the right bytes, and the bucket hasn't yet.
func TestAWrongObjectIsWrittenOverAlsoAfterARestart(t *testing.T) {
	gitlab, storage, directory, body := naming(t), newSharedStore(t), t.TempDir(), someBytes(1<<20, 27)
	publishOld(gitlab, "app.bin", body)
	wrong := bytes.Clone(body)
	wrong[1000]++
	storage.Set(objectOf(body), wrong, time.Now())
	storage.Inject(buckettest.Fault{Method: http.MethodPut, Status: http.StatusInternalServerError})
	e := startEdge(t, gitlab.URL, sharedOptions(directory, storage, ""))
	// Who had no byte of it when the sum turned out wrong gets GitLab's.
	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.err == nil && !bytes.Equal(got.body, body) {
		t.Errorf("a wrong body looked whole: %s", got.Status)
	}
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	e.restartAfter(t, sharedOptions(directory, storage, ""), storage.ClearFaults)
	awaitNothingOwed(t)
	if !bytes.Equal(storage.Get(objectOf(body)), body) {
		t.Error("the right bytes weren't written over it")
	}
}
