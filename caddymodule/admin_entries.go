package caddymodule

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

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

// entriesRequest is what GET entries asks for.
type entriesRequest struct {
	wanted cache.Selector
	search string
	limit  int
	// from is where the page begins; goesOn says that it isn't the first.
	from   place
	goesOn bool
}

// adminEntries answers GET entries: those of a project by all its names, each store after another, in the order of their
// keys.
func (a *App) adminEntries(r *http.Request) (any, error) {
	request, err := readEntriesRequest(r)
	if err != nil {
		return nil, err
	}
	sources, _, err := a.entrySources(r, request.wanted)
	if err != nil {
		return nil, err
	}
	if request.search != "" {
		return request.find(r.Context(), sources)
	}
	return request.list(r.Context(), sources)
}

func readEntriesRequest(r *http.Request) (request entriesRequest, err error) {
	var limit, after string
	wanted := &request.wanted
	err = readQuery(r, map[string]*string{
		"upstream": &wanted.Upstream, "project": &wanted.Project, "package": &wanted.Package, "version": &wanted.Version,
		"file": &wanted.File, "search": &request.search, "limit": &limit, "after": &after,
	})
	if err != nil {
		return request, err
	}
	for _, name := range []string{"upstream", "project", "package", "version", "file", "search"} {
		if query := r.URL.Query(); query.Has(name) && query.Get(name) == "" {
			return request, badRequest("the parameter %q is empty; leave it out to list all", name)
		}
	}
	request.limit = adminapi.ListedEntries
	if limit != "" {
		if request.limit, err = strconv.Atoi(limit); err != nil || request.limit < 1 || request.limit > adminapi.MaxListedEntries {
			return request, badRequest("limit is %q; it must be a number from 1 to %d", limit, adminapi.MaxListedEntries)
		}
	}
	request.goesOn = after != ""
	request.from, err = parsePlace(after)
	return request, err
}

// after is the key after which a source's entries are asked for; nil for all of them.
func (e entriesRequest) after(source int) *cache.Key {
	if source == e.from.Source && e.goesOn {
		return &e.from.Key
	}
	return nil
}

// list lists entries that are there.
func (e entriesRequest) list(ctx context.Context, sources []entrySource) (any, error) {
	list := adminapi.EntryList{Entries: []adminapi.EntryStatus{}}
	for number, source := range sources {
		if number < e.from.Source {
			continue
		}
		// One more than is shown tells whether there is another page.
		listed, err := source.store.Entries(ctx, source.selector, e.after(number), e.limit+1-len(list.Entries))
		if err != nil {
			return nil, err
		}
		for _, entry := range listed {
			if len(list.Entries) == e.limit {
				return list, nil
			}
			list.Entries = append(list.Entries, newEntryStatus(source.state.directory, entry))
			list.Next = place{number, entry.Key}.String()
		}
	}
	list.Next = ""
	return list, nil
}

// find lists entries with a text in their names. It looks at so many for one answer and no more.
func (e entriesRequest) find(ctx context.Context, sources []entrySource) (any, error) {
	list, look := adminapi.EntryList{Entries: []adminapi.EntryStatus{}}, adminapi.MaxSearchedEntries
	text := strings.ToLower(e.search)
	accepts := func(k cache.Key) bool {
		look--
		return strings.Contains(strings.ToLower(k.Project+"/"+k.Package+"/"+k.Version+"/"+k.File), text)
	}
	for number, source := range sources {
		if number < e.from.Source {
			continue
		}
		found, last, err := source.store.Search(ctx, source.selector, accepts, e.after(number), e.limit-len(list.Entries), max(look, 1))
		if err != nil {
			return nil, err
		}
		for _, entry := range found {
			list.Entries = append(list.Entries, newEntryStatus(source.state.directory, entry))
		}
		if last != nil {
			list.Next = place{number, *last}.String()
			return list, nil
		}
	}
	return list, nil
}

// entrySources are where entries are to be looked for: in all directories, of all GitLabs that handlers stand in front of or
// that files came from, or of the one that is named. The names are those of the project that count.
func (a *App) entrySources(r *http.Request, wanted cache.Selector) (sources []entrySource, names projectNames, err error) {
	handlers, err := a.handlersOf("")
	if err != nil {
		return nil, names, err
	}
	project, err := projectOf(wanted.Project)
	if err != nil {
		return nil, names, err
	}
	known := upstreamsOf(handlers)
	stores := make(map[*state]*cache.Store)
	for _, state := range statesOf(handlers) {
		if stores[state], err = storeOf(state); err != nil {
			return nil, names, err
		}
		former, err := stores[state].Upstreams(r.Context())
		if err != nil {
			return nil, names, err
		}
		known = append(known, former...)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	if wanted.Upstream != "" {
		at := slices.IndexFunc(known, func(one string) bool { return isSameUpstream(one, wanted.Upstream) })
		if at < 0 {
			return nil, names, badRequest("no handler stands in front of %q, and no stored file came from there; there are %s", wanted.Upstream, strings.Join(known, ", "))
		}
		known = known[at : at+1]
		wanted.Upstream = known[0]
	}
	selectors := []cache.Selector{wanted}
	if project != "" {
		selectors, names = selectorsOf(r.Context(), handlers, known, project, wanted)
	}
	for _, state := range statesOf(handlers) {
		for _, selector := range selectors {
			sources = append(sources, entrySource{state, stores[state], selector})
		}
	}
	return sources, names, nil
}

// projectNames are the other names of a project that are known, and what is to be said of those that aren't.
type projectNames struct {
	others  []string
	warning string
}

// selectorsOf are the selections of a project by all names that it is known to have at each GitLab.
func selectorsOf(ctx context.Context, handlers []*Handler, known []string, project string, wanted cache.Selector) (selectors []cache.Selector, found projectNames) {
	var notTold error
	for _, upstream := range known {
		names := []string{project}
		if those := handlersFor(handlers, upstream); len(those) > 0 {
			var err error
			names, err = namesOf(ctx, those, project)
			notTold = errors.Join(notTold, err)
		}
		for _, name := range names {
			selector := wanted
			selector.Upstream, selector.Project = upstream, name
			selectors = append(selectors, selector)
			if name != project && !slices.Contains(found.others, name) {
				found.others = append(found.others, name)
			}
		}
	}
	switch {
	case notTold != nil:
		found.warning = "GitLab could not be asked for the names that it alone knows, and what is stored by them stays; run this again when it answers api_token"
	case len(found.others) == 0:
		found.warning = "no other name of " + project + " is known, so what callers asked for by another one, such as its " + otherKind(project) +
			", stays; say it of each of its names, or let api_token or a line of projects tell which belong together"
	}
	return selectors, found
}

// otherKind is what a project is called by that isn't called so.
func otherKind(project string) string {
	if isProjectNumber(project) {
		return "path"
	}
	return "number"
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

func newEntryStatus(directory string, entry cache.Listed) adminapi.EntryStatus {
	status := adminapi.EntryStatus{
		Directory: directory, Upstream: entry.Key.Upstream, Project: entry.Key.Project, Package: entry.Key.Package, Version: entry.Key.Version,
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
