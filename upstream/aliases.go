package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// Aliases finds the other names of a project by asking GitLab with a token of the admin's: its numeric id and its
// present path. What it says only ever widens what an admin has said about one name to the others; it never decides
// who may read what, nor which entry answers a request, since names pass from one project to another.
//
// What GitLab said last counts until it says something newer, however long ago that was and whatever fails meanwhile.
//
// It is safe for concurrent use.
type Aliases struct {
	client *Client
	token  string
	*AliasMemory
}

const (
	// aliasTimeout bounds one question.
	aliasTimeout = 10 * time.Second
	// maxProjectAnswer bounds what is read of an answer; GitLab's are a few KiB.
	maxProjectAnswer = 1 << 20
)

// NewAliases returns a finder that asks by client with a token that may read projects (scope read_api).
func NewAliases(client *Client, token string, memory *AliasMemory) *Aliases {
	return &Aliases{client: client, token: token, AliasMemory: memory}
}

var (
	// ErrTooManyNames says that GitLab isn't asked about a name, since uploads from that address, or from all, have asked
	// about too many.
	ErrTooManyNames = errors.New("uploads ask about too many names of projects")
	// errNoAnswerLately says that GitLab isn't asked about a name, since it gave no answer a moment ago.
	errNoAnswerLately = errors.New("GitLab gave no answer about this project's names a moment ago")
)

// Occasion is on whose account GitLab is asked about a name. It decides whether the question takes of the budget of
// uploads. Only the functions below make one.
type Occasion struct {
	budgeted bool
	address  string
}

// OfAllowedCaller is the occasion of a download that GitLab has just allowed to its caller, by that very name. Each such
// question has cost the caller a request that GitLab answered with yes.
func OfAllowedCaller() Occasion { return Occasion{} }

// OfAdmin is the occasion of an admin's own call.
func OfAdmin() Occasion { return Occasion{} }

// OfUnknownCaller is the occasion of a request whose caller GitLab hasn't judged yet: an upload, above all. Its questions
// are bounded by address, as Caddy trusts it, and in all.
func OfUnknownCaller(address string) Occasion { return Occasion{budgeted: true, address: address} }

// IsDue reports whether what GitLab said of a name is old, so that it is to be asked anew, or was never said. It is false
// for some seconds after a question about the name was begun or has failed.
func (a *Aliases) IsDue(project string) bool { return a.isDue(project, a.client.cfg.Now()) }

// Ask returns the names of a project, and asks GitLab if it never answered or its answer is old. With an error come the
// names that it told last, if it ever did: ErrTooManyNames if the occasion has no question left, else what failed.
func (a *Aliases) Ask(ctx context.Context, project string, occasion Occasion) (ProjectNames, error) {
	now := a.client.cfg.Now()
	a.mu.Lock()
	record, _ := a.recordLocked(project)
	last := a.lastLocked(project)
	a.mu.Unlock()
	switch {
	case record.isFresh(now):
		return last, nil
	case now.Sub(record.failed) < aliasPause:
		return last, errNoAnswerLately
	}
	led, err := a.question(ctx, project, occasion)
	for !led && errors.Is(err, ErrTooManyNames) {
		// It was another one's budget that had no question left.
		led, err = a.question(ctx, project, occasion)
	}
	return a.Last(project), err
}

// Renewal begins to ask about a name that was never answered, or whose answer is old. The function that it returns asks; it ends with the answer,
// within ten seconds, or with its context. It is nil where there is nothing to ask, or the occasion has no question left.
func (a *Aliases) Renewal(project string, occasion Occasion) func(context.Context) error {
	now := a.client.cfg.Now()
	if !a.beginRenewal(project, now) || !a.budget.affords(occasion, now) {
		return nil
	}
	return func(ctx context.Context) error {
		_, err := a.question(ctx, project, Occasion{}) // paid for
		return err
	}
}

// question asks GitLab about a name and takes in what it says. Who asks about the same name meanwhile shares the answer, and
// led is false: many uploads that begin at once into one project cost one question of their budget.
func (a *Aliases) question(ctx context.Context, project string, occasion Occasion) (led bool, err error) {
	var leads atomic.Bool
	// The goroutine ends with the answer, or after aliasTimeout.
	result := a.asking.DoChan(project, func() (any, error) {
		leads.Store(true)
		if !a.budget.affords(occasion, a.client.cfg.Now()) {
			return nil, ErrTooManyNames
		}
		// Not the request's context: others may wait for the same answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), aliasTimeout)
		defer cancel()
		id, path, err := a.ask(ctx, project)
		switch now := a.client.cfg.Now(); {
		case err != nil:
			a.fail(project, now)
		case id == "":
			a.learnUnknown(project, now)
		default:
			a.learn(project, id, path, now)
		}
		return nil, err
	})
	select {
	case got := <-result:
		return leads.Load(), got.Err
	case <-ctx.Done():
		return leads.Load(), fmt.Errorf("asking for a project's names: %w", context.Cause(ctx))
	}
}

// ask sends GET /projects/:id, which follows former paths (contract, section 6). A project that GitLab doesn't know,
// or doesn't show to the token, has no number.
func (a *Aliases) ask(ctx context.Context, project string) (id, path string, err error) {
	target, err := a.client.target("/api/v4/projects/"+url.PathEscape(project), "")
	if err != nil {
		return "", "", err
	}
	for range maxStorageHops {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.client.cfg.Base.String(), nil)
		if err != nil {
			return "", "", fmt.Errorf("building a request for a project's names: %w", err)
		}
		request.URL = target
		request.Header.Set("Private-Token", a.token)
		request.Header.Set("User-Agent", userAgent)
		response, err := a.client.askGitLab(request, a.client.cfg.CheckTimeout)
		if err != nil {
			return "", "", unreachable("asking for a project's names", err)
		}
		id, path, next, err := readNames(response)
		_ = response.Body.Close()
		if next == nil {
			return id, path, err
		}
		// A moved project is a 301 to its numeric URL (GitLab 16.4). Elsewhere the token must not go.
		if !sameOrigin(next, a.client.cfg.Base) {
			return "", "", errors.New("asking for a project's names: GitLab redirects to another host")
		}
		target = next
	}
	return "", "", errors.New("asking for a project's names: GitLab redirects without end")
}

// readNames reads an answer about a project: its number and its path, or where to ask instead.
func readNames(response *http.Response) (id, path string, next *url.URL, err error) {
	if location, ok := redirectLocation(response); ok {
		return "", "", location, nil
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		if !isJSON(response) {
			// Of something in front of GitLab, which doesn't know its projects.
			return "", "", nil, errors.New("asking for a project's names: a 404 that isn't GitLab's")
		}
		return "", "", nil, nil
	default:
		return "", "", nil, &UnreachableError{Status: response.StatusCode, Err: errors.New("asking for a project's names: it answered " + response.Status)}
	}
	var answer struct {
		ID   int64  `json:"id"`
		Path string `json:"path_with_namespace"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxProjectAnswer)).Decode(&answer); err != nil {
		return "", "", nil, fmt.Errorf("reading a project's names: %w", err)
	}
	// An answer without them is none: something in front of GitLab, or another program, may have said 200.
	path, err = CanonicalProject(answer.Path)
	if err != nil || answer.ID <= 0 {
		return "", "", nil, errors.New("reading a project's names: the answer has no number or no path")
	}
	return strconv.FormatInt(answer.ID, 10), path, nil, nil
}

func isJSON(response *http.Response) bool {
	mediaType, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return err == nil && mediaType == "application/json"
}
