package pagetest

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
	_ "github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/page"
)

// site is a Caddy with a page of a made-up edge.
type site struct {
	url  string
	edge *fakeedge.Edge
	// config is its Caddyfile, for reloads.
	config string
}

// startSite runs Caddy with the page on loopback. options are the lines of its block.
func startSite(t *testing.T, world fakeedge.World, options string) *site {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	edge := fakeedge.New(world)
	fakeedge.Current.Store(edge)
	s := &site{url: "http://localhost:" + port + "/", edge: edge}
	s.config = fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	storage file_system %s
	log default {
		level ERROR
	}
}
http://:%s {
	bind 127.0.0.1
	gitlab_packages_page {
		%s
	}
}
`, filepath.Join(t.TempDir(), "storage"), port, options)
	s.load(t)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// load has Caddy take the config, anew if it has it already.
func (s *site) load(t *testing.T) {
	t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(s.config), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
}

// morning is the world of most tests.
func morning() fakeedge.World { return fakeedge.Sample(time.Now()) }
