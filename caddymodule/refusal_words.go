package caddymodule

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// Why a request was refused, for people: a closed set but for GitLab's status and the name of the rules. No word of it is the
// caller's.
const (
	whyMethod          = "there is no such method for packages"
	whyBody            = "the request's body can't be read, or is too large"
	whySwitchedOff     = "the project is switched off"
	whyUndecided       = "GitLab doesn't tell which project this is"
	whyUnknownSwitches = "which projects are switched off can't be read"
	whyLimited         = "no connection to GitLab was free for a caller whom it isn't known to allow"
)

// saidByGitLab tells of GitLab's own answer.
func saidByGitLab(status int) string { return "GitLab said " + statusText(status) }

// statusText is a status as people know it: 403 Forbidden.
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return strconv.Itoa(status) + " " + text
	}
	return strconv.Itoa(status)
}

// whyInvalid tells which name a request was refused for.
func (h *Handler) whyInvalid(invalid *upstream.InvalidError) string {
	switch invalid.Parameter {
	case "package_name":
		return "the package's name is against the rules (" + h.rules.String() + ")"
	case "package_version":
		return "the version's name is against the rules (" + h.rules.String() + ")"
	case "file_name":
		return "the file's name is against the rules (" + h.rules.String() + ")"
	case "id":
		return "the path names no project that there can be"
	}
	return "the path names no file that there can be"
}

// whyUnreachable tells why GitLab could not be asked, or gave no answer of use.
func whyUnreachable(err error) string {
	switch {
	case errors.Is(err, errNotStarted):
		return "the edge hasn't started"
	case errors.Is(err, errResting):
		return "the last fetches of the file failed"
	case errors.Is(err, upstream.ErrRedirectsToHTTPS):
		return "GitLab redirects to https, and the edge was given its http URL"
	}
	unreachable, ok := errors.AsType[*upstream.UnreachableError](err)
	if !ok {
		return "what GitLab answered can't be used"
	}
	server := "GitLab"
	if unreachable.Server == upstream.ServerStorage {
		server = "the object storage"
	}
	switch unreachable.Trouble {
	case upstream.TroubleNetwork:
		return server + " didn't answer, or the line to it broke"
	case upstream.TroubleFront:
		return server + " said " + statusText(unreachable.Status)
	case upstream.TroubleNotAsked:
		return server + " is down, and isn't asked for some seconds"
	case upstream.TroubleCaller:
		return "the caller's own request broke off, or has headers that are too long"
	case upstream.TroubleEdge:
		return "a limit of the edge's own was met"
	case upstream.TroubleUnusable:
	}
	return "what " + server + " answered can't be used"
}
