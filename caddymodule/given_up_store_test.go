package caddymodule

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// slowListFS holds the listing of blobs, with which loading begins.
type slowListFS struct {
	cache.FS
	held <-chan struct{}
}

func (f slowListFS) ReadDir(path string) ([]string, error) {
	if filepath.Base(path) == "00" {
		<-f.held
	}
	return f.FS.ReadDir(path)
}

// TestNobodyWaitsForAStoreThatIsGivenUpWhileItLoads gives a store up that never gets ready, as a lost directory's is and as one is
// that closes.
func TestNobodyWaitsForAStoreThatIsGivenUpWhileItLoads(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	app, err := runningApp()
	if err != nil {
		t.Fatal(err)
	}
	h := app.handlers[0]
	state := h.attachment.state
	const read = "the cache directory was read"
	await(t, func() bool { return strings.Contains(e.log(t), read) }) // the edge's own
	for name, giveUp := range map[string]func(*cache.Store) error{"lost": (*cache.Store).Abandon, "closed": (*cache.Store).Close} {
		t.Run(name, func(t *testing.T) {
			held := make(chan struct{})
			store, err := cache.Open(cache.Config{Dir: t.TempDir(), Limits: cache.Limits{MaxSize: 1 << 20}, FS: slowListFS{cache.OS(), held}})
			if err != nil {
				t.Fatal(err)
			}
			var giving sync.WaitGroup
			told := make(chan struct{})
			go func() { // ends with the store
				state.tellFound(store, time.Now())
				close(told)
			}()
			w := h.newWarming(name, "24", "pkg", "1.0.0")
			if err := state.beginWarming(store, w, upstream.Caller{Credential: upstream.TokenCredential(developer)}); err != nil {
				t.Fatal(err)
			}
			giving.Go(func() {
				if err := giveUp(store); err != nil {
					t.Error(err)
				}
			})
			<-store.Done()
			close(held)
			bound, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for what, over := range map[string]<-chan struct{}{"the warming": w.over, "what tells the log": told} {
				select {
				case <-over:
				case <-bound.Done():
					t.Fatal(what, "waits on")
				}
			}
			giving.Wait()
			if !errors.Is(w.err, errStoreGone) {
				t.Errorf("the warming ended with %v", w.err)
			}
			if n := strings.Count(e.log(t), read); n != 1 {
				t.Errorf("%d directories are said to be read", n)
			}
		})
	}
}
