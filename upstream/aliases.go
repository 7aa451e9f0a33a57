package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

// Aliases finds the other names of a project by asking GitLab with a token of the admin's: its numeric id and its
// present path. What it says only ever widens what an admin has said about one name to the others; it never decides
// who may read what, nor which entry answers a request, since names pass from one project to another.
//
// It is safe for concurrent use.
type Aliases struct {
	client *Client
	token  string
	*AliasMemory
}

// AliasMemory is what aliases remember, apart from the client: it can outlive that, and serve several, of one GitLab and
// one token. The token isn't in it. It is safe for concurrent use.
type AliasMemory struct {
	asking singleflight.Group

	// known holds the projects that GitLab knows, unknown all other names that were asked about. They are apart so that a
	// stranger who makes up names pushes out other made-up names, and no project.
	known, unknown *lru.Cache[string, aliasRecord]
	// fresh bounds the questions about names that were never asked about: they are asked before anybody knows who the
	// caller is, and by the admin's token.
	fresh *rate.Limiter
}

type aliasRecord struct {
	names   []string
	learned time.Time
	// failed is when GitLab last gave no answer about this project.
	failed time.Time
}

const (
	// maxAliases bounds the projects that are remembered, and the names that are none.
	maxAliases = 10_000
	// freshPerSecond names are asked about that weren't before, and freshAtOnce after a pause. All of a large instance's
	// projects are known within minutes, and a stranger can't use up what GitLab allows the token.
	freshPerSecond, freshAtOnce = 5, 100
	// aliasLife is how long an answer holds; a project that was renamed meanwhile is known by its new name then.
	aliasLife = 5 * time.Minute
	// aliasPause is the wait after GitLab gave no answer about a project.
	aliasPause = 30 * time.Second
	// aliasTimeout bounds one question.
	aliasTimeout = 10 * time.Second
	// maxProjectAnswer bounds what is read of an answer; GitLab's are a few KiB.
	maxProjectAnswer = 1 << 20
)

// NewAliases returns a finder that asks by client with a token that may read projects (scope read_api).
func NewAliases(client *Client, token string, memory *AliasMemory) *Aliases {
	return &Aliases{client: client, token: token, AliasMemory: memory}
}

// NewAliasMemory returns a memory of nothing.
func NewAliasMemory() *AliasMemory {
	remember := func() *lru.Cache[string, aliasRecord] {
		records, err := lru.New[string, aliasRecord](maxAliases)
		if err != nil {
			panic(err) // only for a size that isn't positive
		}
		return records
	}
	return &AliasMemory{known: remember(), unknown: remember(), fresh: rate.NewLimiter(freshPerSecond, freshAtOnce)}
}

// ErrTooManyNames says that GitLab isn't asked about a project, since too many names were asked about that it doesn't
// know.
var ErrTooManyNames = errors.New("too many unknown names of projects are asked about")

// Names returns all known names of a project besides the one given, in canonical spelling. When GitLab can't say, it
// returns what it said last, and the error.
func (a *Aliases) Names(ctx context.Context, project string) ([]string, error) {
	now := a.client.cfg.Now()
	record, known := a.known.Get(project)
	if !known {
		record, known = a.unknown.Get(project)
	}
	if now.Sub(record.learned) < aliasLife || now.Sub(record.failed) < aliasPause {
		return record.names, nil
	}
	if !known && !a.fresh.AllowN(now, 1) {
		return nil, ErrTooManyNames
	}
	result := a.asking.DoChan(project, func() (any, error) {
		// Not the request's context: others may wait for the same answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), aliasTimeout)
		defer cancel()
		names, err := a.ask(ctx, project)
		fresh := aliasRecord{names: names, learned: a.client.cfg.Now()}
		if err != nil {
			fresh = aliasRecord{names: record.names, learned: record.learned, failed: a.client.cfg.Now()}
		}
		a.remember(project, fresh)
		return fresh.names, err
	})
	select {
	case got := <-result:
		names, _ := got.Val.([]string)
		return names, got.Err
	case <-ctx.Done():
		return record.names, fmt.Errorf("asking for a project's names: %w", context.Cause(ctx))
	}
}

// remember keeps what is known of a name, in the place where it belongs now. Names are pieces of requests.
func (a *AliasMemory) remember(project string, record aliasRecord) {
	project = strings.Clone(project)
	if len(record.names) > 0 {
		a.known.Add(project, record)
		a.unknown.Remove(project)
		return
	}
	a.unknown.Add(project, record)
	a.known.Remove(project)
}

// ask sends GET /projects/:id, which follows former paths (doc/api/projects.md). A project that GitLab doesn't know,
// or doesn't show to the token, has no other names.
func (a *Aliases) ask(ctx context.Context, project string) ([]string, error) {
	target, err := a.client.target("/api/v4/projects/"+url.PathEscape(project), "")
	if err != nil {
		return nil, err
	}
	for range maxStorageHops {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.client.cfg.Base.String(), nil)
		if err != nil {
			return nil, fmt.Errorf("building a request for a project's names: %w", err)
		}
		request.URL = target
		request.Header.Set("Private-Token", a.token)
		request.Header.Set("User-Agent", userAgent)
		response, err := a.client.askGitLab(request, a.client.cfg.CheckTimeout)
		if err != nil {
			return nil, unreachable("asking for a project's names", err)
		}
		names, next, err := readNames(response, project)
		_ = response.Body.Close()
		if next == nil || err != nil {
			return names, err
		}
		// A moved project is a 301 to its numeric URL (GitLab 16.4). Elsewhere the token must not go.
		if !sameOrigin(next, a.client.cfg.Base) {
			return nil, errors.New("asking for a project's names: GitLab redirects to another host")
		}
		target = next
	}
	return nil, errors.New("asking for a project's names: GitLab redirects without end")
}

// readNames reads an answer about a project: its names, or where to ask instead.
func readNames(response *http.Response, project string) (names []string, next *url.URL, err error) {
	if location, ok := redirectLocation(response); ok {
		return nil, location, nil
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil, nil
	default:
		return nil, nil, &UnreachableError{Status: response.StatusCode, Err: errors.New("asking for a project's names: it answered " + response.Status)}
	}
	var answer struct {
		ID   int64  `json:"id"`
		Path string `json:"path_with_namespace"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxProjectAnswer)).Decode(&answer); err != nil {
		return nil, nil, fmt.Errorf("reading a project's names: %w", err)
	}
	for _, spelling := range []string{strconv.FormatInt(answer.ID, 10), answer.Path} {
		if name, err := ParseProject(spelling); err == nil && name != project {
			names = append(names, name)
		}
	}
	return names, nil, nil
}
