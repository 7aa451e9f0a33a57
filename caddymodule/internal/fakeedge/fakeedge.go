package fakeedge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// Call is one call that was made.
type Call struct {
	Method, Call string
	Query        url.Values
	Request      any
}

// Edge answers calls.
type Edge struct {
	// mu guards all below.
	mu sync.Mutex
	// calls are those that were made.
	calls []Call
	world World
	// failing are errors by call.
	failing map[string]error
}

// World is what an edge answers with.
type World struct {
	Status    adminapi.Status
	Activity  adminapi.Activity
	Usage     adminapi.Usage
	Refusals  adminapi.RefusalList
	Projects  adminapi.ProjectList
	Entries   []adminapi.EntryStatus
	Histories map[string]adminapi.History
}

// New returns an edge of a world.
func New(world World) *Edge { return &Edge{world: world, failing: make(map[string]error)} }

// Change changes the world.
func (e *Edge) Change(change func(*World)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.world)
}

// Fail has a call fail from now on; nil has it work again.
func (e *Edge) Fail(call string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failing[call] = err
}

// Calls returns the calls that were made, of one kind; of all if none is named.
func (e *Edge) Calls(call string) (made []Call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.calls {
		if call == "" || one.Call == call {
			made = append(made, one)
		}
	}
	return made
}

// Call answers a call.
func (e *Edge) Call(_ context.Context, method, call string, query url.Values, request any) (any, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, Call{method, call, query, request})
	if err := e.failing[call]; err != nil {
		return nil, err
	}
	switch call {
	case adminapi.CallStatus:
		return e.world.Status, nil
	case adminapi.CallActivity:
		return e.world.Activity, nil
	case adminapi.CallUsage:
		return e.world.Usage, nil
	case adminapi.CallRefusals:
		return e.world.Refusals, nil
	case adminapi.CallProjects:
		list := e.world.Projects // which who asks may change
		list.Others, list.Projects = slices.Clone(list.Others), slices.Clone(list.Projects)
		return list, nil
	case adminapi.CallHistory:
		return e.world.Histories[query.Get("span")], nil
	case adminapi.CallEntries:
		return e.entriesLocked(query), nil
	}
	return e.doLocked(method, call, query, request)
}

func (e *Edge) doLocked(method, call string, query url.Values, request any) (any, error) {
	switch request := request.(type) {
	case adminapi.PurgeRequest:
		return e.purgeLocked(request)
	case adminapi.SwitchRequest:
		return e.switchLocked(call, request)
	case adminapi.UnpinRequest:
		if err := request.Check(); err != nil {
			return nil, refused(err)
		}
		return adminapi.UnpinAnswer{Pins: 1}, nil
	case adminapi.WarmRequest:
		if request.Project == "" || request.Package == "" {
			return nil, refused(errors.New("which package?"))
		}
		return adminapi.WarmingStatus{ID: "w1", Running: true, Upstream: request.Upstream, Project: request.Project, Package: request.Package, Version: request.Version, Anonymous: request.Token == ""}, nil
	}
	switch {
	case call == adminapi.CallWarm && method == http.MethodDelete:
		return adminapi.WarmingStatus{ID: query.Get("id"), Project: "24", Package: "edge"}, nil
	case call == adminapi.CallVerify:
		return adminapi.VerificationList{}, nil
	}
	return nil, fmt.Errorf("no fake answer to %s %s", method, call)
}

func refused(err error) error { return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err} }

// entriesLocked lists what a query means, by pages.
func (e *Edge) entriesLocked(query url.Values) adminapi.EntryList {
	list := adminapi.EntryList{Entries: []adminapi.EntryStatus{}}
	limit := adminapi.ListedEntries
	if text := query.Get("limit"); text != "" {
		_, _ = fmt.Sscan(text, &limit)
	}
	begun := query.Get("after") == ""
	for _, entry := range e.world.Entries {
		if !begun {
			begun = entry.SHA256 == query.Get("after")
			continue
		}
		if !isMeant(entry, query) {
			continue
		}
		if len(list.Entries) == limit {
			list.Next = list.Entries[limit-1].SHA256
			break
		}
		list.Entries = append(list.Entries, entry)
	}
	return list
}

func isMeant(entry adminapi.EntryStatus, query url.Values) bool {
	for name, value := range map[string]string{
		"upstream": entry.Upstream, "project": entry.Project, "package": entry.Package, "version": entry.Version, "file": entry.File,
	} {
		if wanted := query.Get(name); wanted != "" && wanted != value {
			return false
		}
	}
	wanted := query.Get("search")
	return strings.Contains(strings.Join([]string{entry.Project, entry.Package, entry.Version, entry.File}, "/"), wanted)
}

func (e *Edge) purgeLocked(request adminapi.PurgeRequest) (any, error) {
	if err := request.Check(); err != nil {
		return nil, refused(err)
	}
	if request.Grants {
		return adminapi.PurgeAnswer{Grants: 12}, nil
	}
	query := make(url.Values)
	for name, value := range map[string]string{
		"upstream": request.Upstream, "project": request.Project, "package": request.Package, "version": request.Version, "file": request.File,
	} {
		query.Set(name, value)
	}
	var answer adminapi.PurgeAnswer
	left := slices.DeleteFunc(slices.Clone(e.world.Entries), func(entry adminapi.EntryStatus) bool {
		if !isMeant(entry, query) {
			return false
		}
		answer.Entries++
		answer.Bytes += entry.Size
		return true
	})
	if !request.DryRun && !request.Soft {
		e.world.Entries = left
	}
	return answer, nil
}

func (e *Edge) switchLocked(call string, request adminapi.SwitchRequest) (any, error) {
	if err := request.Check(); err != nil {
		return nil, refused(err)
	}
	state := "on"
	if call == adminapi.CallDisable {
		state = "off"
	}
	answer := adminapi.SwitchAnswer{ProjectStatus: adminapi.ProjectStatus{Upstream: request.Upstream, Project: request.Project, State: state, From: "run time"}}
	switched := e.world.Projects.Projects
	if request.All {
		switched = e.world.Projects.Others
	}
	for i := range switched {
		if request.All || switched[i].Project == request.Project {
			switched[i].State, switched[i].From = state, "run time"
		}
	}
	return answer, nil
}
