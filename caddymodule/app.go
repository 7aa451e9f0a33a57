package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

const appName = "gitlab_packages"

func init() {
	caddy.RegisterModule(new(App))
}

// App opens the stores that the config's handlers use and gives them their settings. It needs no config of its own:
// the first handler brings it. It exists because a config is in force from the start of its apps on, and not before:
// what handlers do when they are provisioned must not touch a running edge.
type App struct {
	// mu guards attachments; nothing is waited for under it.
	mu          sync.Mutex
	attachments map[string]*attachment
}

// attachment is one config's use of a cache directory.
type attachment struct {
	directory string
	settings  storeSettings
	// clients are those of the config's handlers that use the directory.
	clients []*upstream.Client

	// ready is closed when state is there. Caddy starts apps in no fixed order, so a request can come first.
	ready chan struct{}
	state *state
}

// states holds the state of each cache directory in use, across reloads.
var states = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: appName, New: func() caddy.Module { return new(App) }}
}

// attach notes that a handler of this config uses a directory with these settings. It opens nothing.
func (a *App) attach(directory string, settings storeSettings, client *upstream.Client) (*attachment, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.attachments[directory]; ok {
		if at.settings != settings {
			return nil, fmt.Errorf("two gitlab_packages handlers share the cache directory %s and disagree on its settings", directory)
		}
		at.clients = append(at.clients, client)
		return at, nil
	}
	at := &attachment{directory: directory, settings: settings, clients: []*upstream.Client{client}, ready: make(chan struct{})}
	if a.attachments == nil {
		a.attachments = make(map[string]*attachment)
	}
	a.attachments[directory] = at
	return at, nil
}

// Start opens the stores, or takes over those that the previous config has open, and applies the settings. A
// directory that can't be used doesn't fail the start: the edge streams uncached, says so and tries again.
func (a *App) Start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.attachments {
		value, _, err := states.LoadOrNew(at.directory, func() (caddy.Destructor, error) {
			return newState(at.directory, at.settings), nil
		})
		if err != nil {
			return fmt.Errorf("opening the state of %s: %w", at.directory, err)
		}
		at.state = value.(*state)
		at.state.adopt(at)
		for _, client := range at.clients {
			client.UseBreakers(at.state.breakersOf(client.Upstream()))
		}
		close(at.ready)
	}
	return nil
}

// Stop gives the stores back. The last config to do so closes them. When a reload fails after our Start, the
// settings of the config that goes on come back into force.
func (a *App) Stop() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var failed error
	for _, at := range a.attachments {
		if at.state == nil {
			continue
		}
		at.state.disown(at)
		if _, err := states.Delete(at.directory); err != nil && failed == nil {
			failed = fmt.Errorf("closing the store in %s: %w", at.directory, err)
		}
	}
	return failed
}

// startPatience is how long a request waits for the app to start. When another app of the config fails to, this one may
// never: then the config that stays in force waits for the requests of the one that failed. Tests change it.
var startPatience = 10 * time.Second

// errNotStarted says that the config hasn't come into force.
var errNotStarted = errors.New("the edge hasn't started")

// wait returns the directory's state, as soon as the app has started.
func (at *attachment) wait(ctx context.Context) (*state, error) {
	select {
	case <-at.ready:
		return at.state, nil
	default:
	}
	timer := time.NewTimer(startPatience)
	defer timer.Stop()
	select {
	case <-at.ready:
		return at.state, nil
	case <-timer.C:
		return nil, errNotStarted
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Interface guards.
var _ caddy.App = (*App)(nil)
