package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// place is where a page of entries ends: the number of a source and the last key of it.
type place struct {
	Source int       `json:"s"`
	Key    cache.Key `json:"k"`
}

// entrySource is one selection of the store that a state had when the call began.
type entrySource struct {
	state    *state
	store    *cache.Store
	selector cache.Selector
}

// adminEntries answers GET entries: those of a project by all its names, each store after another, in the order of their
// keys.
func (a *App) adminEntries(r *http.Request) (any, error) {
	var wanted cache.Selector
	var limitText, after string
	err := readQuery(r, map[string]*string{
		"upstream": &wanted.Upstream, "project": &wanted.Project, "package": &wanted.Package, "version": &wanted.Version,
		"file": &wanted.File, "limit": &limitText, "after": &after,
	})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"upstream", "project", "package", "version", "file"} {
		if query := r.URL.Query(); query.Has(name) && query.Get(name) == "" {
			return nil, badRequest("the parameter %q is empty; leave it out to list all", name)
		}
	}
	limit := adminapi.ListedEntries
	if limitText != "" {
		if limit, err = strconv.Atoi(limitText); err != nil || limit < 1 || limit > adminapi.MaxListedEntries {
			return nil, badRequest("limit is %q; it must be a number from 1 to %d", limitText, adminapi.MaxListedEntries)
		}
	}
	from, err := parsePlace(after)
	if err != nil {
		return nil, err
	}
	sources, err := a.entrySources(r, wanted)
	if err != nil {
		return nil, err
	}
	list := adminapi.EntryList{Entries: []adminapi.EntryStatus{}}
	for number, source := range sources {
		if number < from.Source {
			continue
		}
		var last *cache.Key
		if number == from.Source && after != "" {
			last = &from.Key
		}
		// One more than is shown tells whether there is another page.
		listed, err := source.store.Entries(r.Context(), source.selector, last, limit+1-len(list.Entries))
		if err != nil {
			return nil, err
		}
		for _, entry := range listed {
			if len(list.Entries) == limit {
				return list, nil
			}
			list.Entries = append(list.Entries, newEntryStatus(entry))
			list.Next = place{number, entry.Key}.String()
		}
	}
	list.Next = ""
	return list, nil
}

// entrySources are where entries are to be looked for.
func (a *App) entrySources(r *http.Request, wanted cache.Selector) (sources []entrySource, err error) {
	handlers, err := a.handlersOf(wanted.Upstream)
	if err != nil {
		return nil, err
	}
	project, err := projectOf(wanted.Project)
	if err != nil {
		return nil, err
	}
	selectors := []cache.Selector{wanted}
	if wanted.Upstream != "" {
		selectors[0].Upstream = handlers[0].client.Upstream()
	}
	if project != "" {
		selectors = selectors[:0]
		for _, known := range upstreamsOf(handlers) {
			// What GitLab can't tell now stays out, as the answer's names show.
			names, _ := namesOf(r.Context(), handlersFor(handlers, known), project)
			for _, name := range names {
				selector := wanted
				selector.Upstream, selector.Project = known, name
				selectors = append(selectors, selector)
			}
		}
	}
	for _, state := range statesOf(handlers) {
		store, err := storeOf(state)
		if err != nil {
			return nil, err
		}
		for _, selector := range selectors {
			sources = append(sources, entrySource{state, store, selector})
		}
	}
	return sources, nil
}

// handlersFor are those of one GitLab.
func handlersFor(handlers []*Handler, known string) (found []*Handler) {
	for _, h := range handlers {
		if h.client.Upstream() == known {
			found = append(found, h)
		}
	}
	return found
}

func newEntryStatus(entry cache.Listed) adminapi.EntryStatus {
	status := adminapi.EntryStatus{
		Upstream: entry.Key.Upstream, Project: entry.Key.Project, Package: entry.Key.Package, Version: entry.Key.Version,
		File: entry.Key.File, Size: entry.Size, SHA256: entry.Digest.String(), Stored: entry.Stored, LastUsed: entry.LastUsed,
		Hits: entry.Hits,
	}
	if !entry.Confirmed.IsZero() {
		confirmed := entry.Confirmed.UTC()
		status.Confirmed = &confirmed
	}
	if !entry.Pinned.IsZero() {
		pinned := entry.Pinned.UTC()
		status.PinnedUntil = &pinned
	}
	return status
}

// String is the place as the parameter `after` has it.
func (p place) String() string {
	encoded, err := json.Marshal(p)
	if err != nil {
		return "" // texts and a number can always be encoded
	}
	return base64.RawURLEncoding.EncodeToString(encoded)
}

func parsePlace(after string) (p place, err error) {
	if after == "" {
		return place{}, nil
	}
	decoded, err := base64.RawURLEncoding.DecodeString(after)
	if err == nil {
		err = json.Unmarshal(decoded, &p)
	}
	if err != nil || p.Source < 0 {
		return place{}, badRequest("after must be the field next of the page before")
	}
	return p, nil
}
