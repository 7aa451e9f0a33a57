package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddyserver/certmagic"
)

// runtimeSwitch is what an admin said at run time.
type runtimeSwitch struct {
	On    bool      `json:"on"`
	Since time.Time `json:"since"`
	// Names are all names of the project that were known when it was said, the one that the admin used first. Each of them
	// has a switch of its own that says the same, so that the switch outlives what they were known by. It is missing where
	// an older edge has written.
	Names []string `json:"names,omitempty"`
}

// runtimeSwitches are what was said at run time about one GitLab. They never change after they are made; a request sees
// one set of them whole.
type runtimeSwitches struct {
	// All is for every project that isn't in Projects; nil where the config's word holds.
	All *runtimeSwitch `json:"all,omitempty"`
	// Projects are single projects, by each canonical name that was known of them.
	Projects map[string]runtimeSwitch `json:"projects,omitempty"`
}

// storedSwitches is what lies in Caddy's storage: the switches of each GitLab, by its URL.
type storedSwitches struct {
	Version   int                         `json:"version"`
	Upstreams map[string]*runtimeSwitches `json:"upstreams"`
}

// Edges of several versions can share the storage. An edge that knows no names reads a switch for each of them, and so
// holds them all; it lists each by itself, switches them one by one, and drops the field when it writes, after which
// each name has its own word until somebody says another. That is why the version is still 1: with another one an older
// edge would refuse the whole file and, after a restart, serve what is off.
const (
	switchesVersion = 1
	// switchesKey is where they lie in Caddy's storage, and switchesLock the name of the lock for changing them.
	switchesKey  = "gitlab_packages/switches.json"
	switchesLock = "gitlab_packages_switches"
	// switchesTimeout bounds a start's wait for the storage, and each later look.
	switchesTimeout = 4 * time.Second
	// switchTimeout bounds a change, which may wait for another instance's.
	switchTimeout = 20 * time.Second
)

// switchStore keeps the run-time switches in Caddy's storage, which instances can share, and knows what they are.
type switchStore struct {
	process *processWide
	storage certmagic.Storage
	logger  *zap.Logger
	// present is never nil.
	present atomic.Pointer[storedSwitches]
	// readingNow is a switchesReading.
	readingNow atomic.Int32
	// trouble keeps the log readable while the storage can't be read, copyTrouble while a copy can't be written.
	trouble, copyTrouble rate.Sometimes

	// copiesMu guards copies, and that one is written at a time. No request takes it.
	copiesMu sync.Mutex
	copies   []directoryCopy
}

func newSwitchStore(p *processWide, storage certmagic.Storage, logger *zap.Logger) *switchStore {
	s := &switchStore{process: p, storage: storage, logger: logger}
	s.trouble.First, s.trouble.Interval = 1, time.Minute
	s.copyTrouble.First, s.copyTrouble.Interval = 1, time.Minute
	s.present.Store(new(storedSwitches))
	return s
}

// of returns the switches of one GitLab.
func (s *switchStore) of(upstream string) *runtimeSwitches {
	if switches := s.present.Load().Upstreams[upstream]; switches != nil {
		return switches
	}
	return new(runtimeSwitches)
}

// watch takes in what other instances say, until ctx ends. tell hears of each change.
func (s *switchStore) watch(ctx context.Context, tell func(before, after *storedSwitches)) {
	ticker := time.NewTicker(s.process.switchesPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		before, after, err := s.look(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			s.failed(err)
		case err == nil && before != after:
			tell(before, after)
		}
		s.keepCopies()
	}
}

// look reads the storage and takes over what is there. before and after are the same if nothing has changed.
func (s *switchStore) look(ctx context.Context) (before, after *storedSwitches, err error) {
	ctx, cancel := context.WithTimeout(ctx, switchesTimeout)
	defer cancel()
	before = s.present.Load()
	last := s.process.lastSwitches.Load()
	after, err = s.load(ctx)
	if err != nil {
		return before, before, err
	}
	// Only where nobody, of any config, has changed or read them since: what was read here could be older by now. Also if
	// this config finds nothing new, or what another's look has missed for that reason would be missed for ever.
	s.process.lastSwitches.CompareAndSwap(last, after)
	if after.equal(before) {
		s.succeeded()
		return before, before, nil
	}
	if !s.present.CompareAndSwap(before, after) {
		return before, before, nil // changed by this instance meanwhile; the next look compares again
	}
	s.succeeded()
	return before, after, nil
}

func (s *switchStore) load(ctx context.Context) (*storedSwitches, error) {
	data, err := s.storage.Load(ctx, switchesKey)
	if errors.Is(err, fs.ErrNotExist) {
		return new(storedSwitches), nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the run-time switches: %w", err)
	}
	return parseSwitches(data)
}

// change changes the switches of one GitLab for all instances, under the storage's lock. It is in force here when change
// returns. edit gets a copy of its own.
func (s *switchStore) change(ctx context.Context, upstream string, edit func(*runtimeSwitches)) (before, after *storedSwitches, err error) {
	ctx, cancel := context.WithTimeout(ctx, switchTimeout)
	defer cancel()
	if err := s.storage.Lock(ctx, switchesLock); err != nil {
		return nil, nil, fmt.Errorf("locking the run-time switches: %w", err)
	}
	defer func() {
		// Also if the caller has left: nobody else could change anything.
		if err := s.storage.Unlock(context.WithoutCancel(ctx), switchesLock); err != nil {
			s.logger.Error("the lock of the run-time switches can't be released", zap.Error(err))
		}
	}()
	if before, err = s.loadForChange(ctx); err != nil {
		return nil, nil, err
	}
	after = before.clone()
	switches := after.Upstreams[upstream]
	if switches == nil {
		switches = &runtimeSwitches{Projects: make(map[string]runtimeSwitch)}
		after.Upstreams[upstream] = switches
	}
	edit(switches)
	// In this order: whatever is cut short, the other one is whole.
	if err := s.save(ctx, previousSwitchesKey, before); err != nil {
		return nil, nil, err
	}
	if err := s.save(ctx, switchesKey, after); err != nil {
		return nil, nil, err
	}
	s.present.Store(after)
	s.process.lastSwitches.Store(after)
	s.succeeded()
	s.keepCopies()
	return before, after, nil
}

// loadForChange reads what is to be changed. Damaged switches are set aside: what is in force here is written in their place.
func (s *switchStore) loadForChange(ctx context.Context) (*storedSwitches, error) {
	before, err := s.load(ctx)
	if !errors.Is(err, errDamagedSwitches) {
		return before, err
	}
	s.logger.Warn("the damaged run-time switches are set aside, and what is in force is written in their place",
		zap.String("set_aside", damagedSwitchesKey), zap.Error(err))
	if data, err := s.storage.Load(ctx, switchesKey); err == nil {
		if err := s.storage.Store(ctx, damagedSwitchesKey, data); err != nil {
			s.logger.Warn("the damaged run-time switches can't be set aside", zap.Error(err))
		}
	}
	return s.present.Load(), nil
}

func (s *switchStore) save(ctx context.Context, key string, switches *storedSwitches) error {
	data, err := switches.marshal()
	if err != nil {
		return err
	}
	if err := s.storage.Store(ctx, key, data); err != nil {
		return fmt.Errorf("writing the run-time switches: %w", err)
	}
	return nil
}

func (s *storedSwitches) clone() *storedSwitches {
	clone := &storedSwitches{Version: s.Version, Upstreams: make(map[string]*runtimeSwitches, len(s.Upstreams)+1)}
	for upstream, switches := range s.Upstreams {
		projects := maps.Clone(switches.Projects)
		if projects == nil {
			projects = make(map[string]runtimeSwitch)
		}
		clone.Upstreams[upstream] = &runtimeSwitches{All: switches.All, Projects: projects}
	}
	return clone
}

func (s *storedSwitches) equal(other *storedSwitches) bool {
	return maps.EqualFunc(s.Upstreams, other.Upstreams, func(a, b *runtimeSwitches) bool {
		return (a.All == b.All || (a.All != nil && b.All != nil && a.All.equal(*b.All))) &&
			maps.EqualFunc(a.Projects, b.Projects, runtimeSwitch.equal)
	})
}

func (r runtimeSwitch) equal(other runtimeSwitch) bool {
	return r.On == other.On && r.Since.Equal(other.Since) && slices.Equal(r.Names, other.Names)
}

// isFirst reports whether a name is the one that the admin used.
func (r runtimeSwitch) isFirst(name string) bool { return len(r.Names) == 0 || r.Names[0] == name }

// say switches a project by all its names, or takes back what was said of it if to is nil. Whatever was said of one of these
// names before is out of date; what was said of another project by a name that has passed to this one stays for the rest
// of its names.
func (r *runtimeSwitches) say(names []string, to *runtimeSwitch) {
	for name, said := range r.Projects {
		left := slices.DeleteFunc(slices.Clone(said.Names), func(claimed string) bool { return slices.Contains(names, claimed) })
		said.Names = left
		r.Projects[name] = said
	}
	for _, name := range names {
		delete(r.Projects, name)
		if to != nil {
			r.Projects[name] = *to
		}
	}
}

// switchChange is one change of a switch, for the log and the event.
type switchChange struct {
	// upstream is the GitLab, project the spelling that the admin used, empty for all projects.
	upstream, project string
	// names are all names of the project that this is about.
	names []string
	// to is what holds now; nil where the config's word holds again.
	to *runtimeSwitch
}

// changes returns what differs.
func (s *storedSwitches) changes(after *storedSwitches) (found []switchChange) {
	upstreams := maps.Clone(s.Upstreams)
	if upstreams == nil {
		upstreams = make(map[string]*runtimeSwitches)
	}
	maps.Copy(upstreams, after.Upstreams)
	for upstream := range upstreams {
		was, is := s.Upstreams[upstream], after.Upstreams[upstream]
		if was == nil {
			was = new(runtimeSwitches)
		}
		if is == nil {
			is = new(runtimeSwitches)
		}
		if (was.All == nil) != (is.All == nil) || (is.All != nil && !is.All.equal(*was.All)) {
			found = append(found, switchChange{upstream: upstream, to: is.All})
		}
		projects := maps.Clone(was.Projects)
		if projects == nil {
			projects = make(map[string]runtimeSwitch)
		}
		maps.Copy(projects, is.Projects)
		for project := range projects {
			to, is := is.Projects[project]
			from, was := was.Projects[project]
			// All names of a project change together; that is one change. That another project has taken a name is none.
			switch {
			case is && to.isFirst(project) && (!was || to.On != from.On || !to.Since.Equal(from.Since)):
				found = append(found, switchChange{upstream, project, to.Names, &to})
			case was && !is && from.isFirst(project):
				found = append(found, switchChange{upstream, project, from.Names, nil})
			}
		}
	}
	return found
}
