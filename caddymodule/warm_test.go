package caddymodule

import (
	"runtime"
	"strings"
	"testing"
	"unsafe"
	"weak"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func TestAWarmingThatIsOverKeepsNoToken(t *testing.T) {
	gitlab := newGitLab(t)
	startEdge(t, gitlab.URL, "", withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	app, err := runningApp()
	if err != nil {
		t.Fatal(err)
	}
	h := app.handlers[0]
	state := h.attachment.state
	// The token's own bytes, so that it shows when nobody has them any more.
	begin := func() (*warming, weak.Pointer[byte]) {
		token := "glpat-" + strings.Repeat("w", 100)
		gitlab.AddToken(gitlabtest.Token{
			Kind: gitlabtest.PersonalToken, Secret: strings.Clone(token), Username: "warmer", Roles: map[int]gitlabtest.Role{project: gitlabtest.Developer},
		})
		w := h.newWarming("w", "24", "pkg", "1.0.0")
		if err := state.beginWarming(state.store.Load(), w, upstream.Caller{Credential: upstream.TokenCredential(token)}); err != nil {
			t.Fatal(err)
		}
		return w, weak.Make(unsafe.StringData(token)) //nolint:gosec // it is only asked whether it is still there
	}
	w, token := begin()
	<-w.over
	if status := warmingStatusOf([]*warming{w}); status.Fetched != 1 || status.Error != "" {
		t.Fatalf("warmed: %+v", status)
	}
	await(t, func() bool {
		runtime.GC()
		return token.Value() == nil
	})
	if state.warmings.find(w.id) == nil {
		t.Error("the warming is forgotten")
	}
	key := cache.Key{Upstream: h.client.Upstream(), Project: "24", Package: "pkg", Version: "1.0.0", File: "app.bin"}
	if _, err := state.store.Load().Lookup(key); err != nil {
		t.Error(err)
	}
}
