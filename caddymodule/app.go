package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

const appName = "gitlab_packages"

func init() {
	caddy.RegisterModule(new(App))
}

// App opens the stores that the config's handlers use and gives them their settings. It needs no config of its own:
// the first handler brings it. It exists because a config is in force from the start of its apps on, and not before:
// what handlers do when they are provisioned must not touch a running edge (design, "Life cycle with Caddy").
type App struct {
	process  *processWide
	switches *switchStore
	events   *eventSender

	// mu guards all below. Under it stores are opened and closed, when the config starts and ends; nothing else is waited
	// for.
	mu          sync.Mutex
	attachments map[string]*attachment
	handlers    []*Handler
	// names are those of each GitLab's projects, by its URL. Set by Start, and fixed then.
	names map[string]*gitlabNames
	// startAnswers are those of the GitLabs that this config's handlers stand in front of.
	startAnswers startAnswers
	// usage is what the files of this config's directories took when somebody asked last.
	usage usageReport
	// started is closed by Start. Caddy starts apps in no fixed order, so a request can come first.
	started chan struct{}
	// cancel ends what runs from Start to Stop, which work counts.
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// attachment is one config's use of a cache directory.
type attachment struct {
	app       *App
	directory string
	settings  storeSettings
	// handlers are the config's that use the directory.
	handlers []*Handler

	// state is there once the app has started.
	state *state
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: appName, New: func() caddy.Module { return new(App) }}
}

// Provision finds what the app needs of Caddy. It opens nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.process = process
	a.started = make(chan struct{})
	a.switches = newSwitchStore(a.process, ctx.Storage(), ctx.Logger())
	events, err := newEventSender(ctx)
	if err != nil {
		return err
	}
	a.events = events
	return nil
}

// attach notes that a handler of this config uses a directory with these settings. It opens nothing.
func (a *App) attach(directory string, settings storeSettings, h *Handler) (*attachment, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handlers = append(a.handlers, h)
	if at, ok := a.attachments[directory]; ok {
		if at.settings != settings {
			return nil, fmt.Errorf("two gitlab_packages handlers share the cache directory %s and disagree on its settings", directory)
		}
		at.handlers = append(at.handlers, h)
		return at, nil
	}
	at := &attachment{app: a, directory: directory, settings: settings, handlers: []*Handler{h}}
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
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	a.switches.begin(ctx, slices.Sorted(maps.Keys(a.attachments)))
	a.names = joinNames(a.handlers)
	// Ends with Stop, or when the handlers of an event have ended that it is handing on then: nobody waits for those.
	go a.events.send(ctx)
	for _, at := range a.attachments {
		value, _, err := a.process.states.LoadOrNew(at.directory, func() (caddy.Destructor, error) {
			return newState(a.process, at.directory, at.settings), nil
		})
		if err != nil {
			return fmt.Errorf("opening the state of %s: %w", at.directory, err)
		}
		at.state = value.(*state)
		for _, h := range at.handlers {
			h.client.UseBreakers(at.state.breakersOf(h.access))
			if h.shared != nil {
				h.shared.UseMemory(at.state.sharedMemory(at.settings.shared))
			}
		}
		at.state.adopt(at) // whereupon files may be written to the shared store
		a.switches.useCopy(directoryCopy{at.directory, at.state.isHeld})
	}
	a.switches.keepCopies()
	// Ends with Stop.
	a.work.Go(func() { a.switches.watch(ctx, a.tellSwitched) })
	close(a.started)
	if place := a.historyPlace(); place != nil {
		a.process.history.begin(place)
	}
	a.warnOfOtherHosts()
	a.tellWhereItStands(ctx)
	return nil
}

// Stop gives the stores back. The last config to do so closes them. When a reload fails after our Start, the
// settings of the config that goes on come back into force.
func (a *App) Stop() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cancel != nil {
		a.cancel()
		a.work.Wait()
	}
	if place := a.historyPlace(); place != nil {
		a.process.history.leave(place) // before the directory is given back
	}
	var failed error
	for _, at := range a.attachments {
		if at.state == nil {
			continue
		}
		at.state.disown(at)
		if _, err := a.process.states.Delete(at.directory); err != nil && failed == nil {
			failed = fmt.Errorf("closing the store in %s: %w", at.directory, err)
		}
	}
	return failed
}

// historyPlace is where this config would have the history: its first directory by name. Nil for a config without handlers.
func (a *App) historyPlace() *attachment {
	if len(a.attachments) == 0 {
		return nil
	}
	return a.attachments[slices.Min(slices.Collect(maps.Keys(a.attachments)))]
}

// errNotStarted says that the config hasn't come into force.
var errNotStarted = errors.New("the edge hasn't started")

// hasStarted reports whether the config has come into force.
func (a *App) hasStarted() bool {
	select {
	case <-a.started:
		return true
	default:
		return false
	}
}

// wait returns when the app has started, and an error if it doesn't.
func (a *App) wait(ctx context.Context) error {
	if a.hasStarted() {
		return nil
	}
	timer := time.NewTimer(a.process.startPatience)
	defer timer.Stop()
	select {
	case <-a.started:
		return nil
	case <-timer.C:
		return errNotStarted
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Interface guards.
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
)
