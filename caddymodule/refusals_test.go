package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// startRefusing starts an edge of which the process remembers no refusal.
func startRefusing(t testing.TB, gitlab *gitlabtest.Server, options string) *edge {
	t.Helper()
	setForTest(t, &process.refusals, newRefusals())
	return startEdge(t, gitlab.URL, options, withAdmin)
}

// refusals are those that the edge tells of.
func (e *edge) refusals(t testing.TB) adminapi.RefusalList {
	t.Helper()
	return mustCall[adminapi.RefusalList](t, e, http.MethodGet, adminapi.CallRefusals, "")
}

func TestRefusalsAreToldByProjectWithWhyAndHowOften(t *testing.T) {
	gitlab := newGitLab(t)
	e := startRefusing(t, gitlab, "retries 0\n header_timeout 300ms\n transport http {\n max_conns_per_host 4\n }")
	publishOld(gitlab, "app.bin", []byte("x"))
	e.mustGet(t, "app.bin", developer, []byte("x"))
	awaitNoFlight(t)
	ask := func(c call) func() { return func() { e.do(t, c) } }
	for _, test := range []struct {
		name    string
		provoke func()
		want    adminapi.Refusal
	}{
		{"a download that GitLab refuses", ask(call{path: filePath("app.bin"), token: outsider}), adminapi.Refusal{Outcome: "refused", Status: 404, Why: "GitLab said 404 Not Found"}},
		{"a wrong token", ask(call{path: filePath("app.bin"), token: "glpat-wrong"}), adminapi.Refusal{Outcome: "refused", Status: 401, Why: "GitLab said 401 Unauthorized"}},
		{"an upload that GitLab refuses", ask(call{method: http.MethodPut, path: filePath("up.bin"), body: strings.NewReader("x")}), adminapi.Refusal{Outcome: "refused", Status: 401, Why: "GitLab said 401 Unauthorized"}},
		{"a limit of GitLab's", func() {
			gitlab.Inject(gitlabtest.Fault{Status: http.StatusTooManyRequests})
			e.do(t, call{path: filePath("app.bin"), token: colleague})
		}, adminapi.Refusal{Outcome: "rate_limited", Status: 429, Why: "GitLab said 429 Too Many Requests"}},
		{"a version against the rules", ask(call{path: "/api/v4/projects/24/packages/generic/pkg/latest/app.bin"}), adminapi.Refusal{
			Outcome: "invalid", Status: 400, Why: "the version's name is against the rules (13.5)",
		}},
		{"a method", ask(call{method: http.MethodPost, path: filePath("app.bin")}), adminapi.Refusal{Outcome: "invalid", Status: 405, Why: whyMethod}},
		{"a body that is too large", ask(call{method: http.MethodDelete, path: filePath("app.bin"), body: strings.NewReader(strings.Repeat("x", 100_000))}), adminapi.Refusal{
			Outcome: "invalid", Status: 413, Why: whyBody,
		}},
		{"a project that is off", func() {
			e.expectCLI(t, 0, nil, "disable", "24")
			e.do(t, call{path: filePath("app.bin"), token: developer})
			e.expectCLI(t, 0, nil, "enable", "24")
		}, adminapi.Refusal{Outcome: "switched_off", Status: 404, Why: whySwitchedOff}},
		{"no free connection", func() { limitOne(t, e, gitlab) }, adminapi.Refusal{Outcome: "limited", Status: 503, Why: whyLimited}},
		{"a GitLab that fails", func() {
			gitlab.Inject(gitlabtest.Fault{Status: http.StatusBadGateway, Times: -1})
			e.do(t, call{path: filePath("other.bin"), token: developer})
		}, adminapi.Refusal{Outcome: "unreachable", Status: 502, Why: "GitLab said 502 Bad Gateway"}},
	} {
		find := func() (found adminapi.Refusal) {
			for _, known := range e.refusals(t).Refusals {
				if known.Outcome == test.want.Outcome && known.Status == test.want.Status && known.Why == test.want.Why {
					found = known
				}
			}
			return found
		}
		before, began := find(), process.clock()
		test.provoke()
		await(t, func() bool { return find().Times == before.Times+1 })
		got := find()
		test.want.Upstream, test.want.Project, test.want.Times, test.want.Time = gitlab.URL, "24", before.Times+1, got.Time
		if got != test.want || got.Time.Before(began) || got.Time.After(process.clock()) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
	list := e.refusals(t)
	if list.Others.Times != 0 || list.Others.Time != nil || !slices.IsSortedFunc(list.Refusals, func(a, b adminapi.Refusal) int { return b.Time.Compare(a.Time) }) {
		t.Errorf("%+v", list)
	}
	_, told := e.api(t, http.MethodGet, adminapi.CallRefusals, "")
	for _, secret := range []string{outsider, developer, "glpat-wrong", "127.0.0.1\"", "app.bin"} {
		if strings.Contains(told, secret) {
			t.Errorf("%s is in %s", secret, told)
		}
	}
}

// limitOne has two strangers hold all the connections to GitLab that strangers may, and refuses a third one.
func limitOne(t *testing.T, e *edge, gitlab *gitlabtest.Server) {
	t.Helper()
	upload := func(from int, file string) call {
		return call{method: http.MethodPut, path: filePath(file), body: strings.NewReader("x"), header: http.Header{"X-Forwarded-For": {fmt.Sprintf("192.0.2.%d", from)}}}
	}
	release, reached := make(chan struct{}), make(chan struct{}, 2)
	gitlab.Inject(gitlabtest.Fault{PathContains: "held.bin", Hang: true, Times: 2, Release: release, Reached: func() { reached <- struct{}{} }})
	var held sync.WaitGroup
	for i := range cap(reached) {
		c := upload(i, "held.bin")
		held.Go(func() { e.do(t, c) })
	}
	for range cap(reached) {
		<-reached
	}
	if got := e.do(t, upload(9, "third.bin")); string(got.body) != bodyLimited {
		t.Errorf("got %s %s", got.Status, got.body)
	}
	close(release)
	held.Wait()
}

func TestRefusalsNameNoProjectToWhichNobodyHeldAYes(t *testing.T) {
	gitlab := newGitLab(t)
	e := startRefusing(t, gitlab, "")
	publishOld(gitlab, "app.bin", []byte("x"))
	e.mustGet(t, "app.bin", developer, []byte("x"))
	e.do(t, call{path: filePath("app.bin"), token: outsider})
	// The only grant goes, and the project is still one to which somebody held a yes.
	e.expectCLI(t, 0, []string{"1 grant is forgotten"}, "purge", "--grants", "--all")
	e.do(t, call{path: filePath("app.bin"), token: outsider})
	paths := make([]string, 0, 8)
	for _, name := range []string{"secret%2Fproject", "26", "group%2Fapp", "%3Cscript%3E%2Fx"} {
		paths = append(paths, "/api/v4/projects/"+name+"/packages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/"+name+"/packages/generic/pkg/latest/app.bin")
	}
	for _, path := range paths {
		e.do(t, call{path: path, token: outsider})
	}
	await(t, func() bool { return e.refusals(t).Others.Times == int64(len(paths)) })
	list := e.refusals(t)
	if len(list.Refusals) != 1 || list.Refusals[0].Project != "24" || list.Refusals[0].Times != 2 || list.Others.Time == nil {
		t.Errorf("%+v", list)
	}
	if _, told := e.api(t, http.MethodGet, adminapi.CallRefusals, ""); strings.Contains(told, "secret") || strings.Contains(told, "script") || strings.Contains(told, `"26"`) {
		t.Errorf("a name is told: %s", told)
	}
}

func TestAFloodOfRefusalsPushesNobodyOut(t *testing.T) {
	r, now := newRefusals(), time.Date(2026, time.November, 29, 12, 0, 0, 0, time.UTC)
	refused := func(status int) *report {
		return &report{outcome: outcomeRefused, status: status, why: saidByGitLab(status)}
	}
	honest := make([]knownProject, adminapi.MaxRefusals-1)
	for i := range honest {
		honest[i] = knownProject{"u", fmt.Sprint(i)}
		r.note(honest[i], refused(http.StatusForbidden), true, now)
	}
	// Names that were made up are counted, and a known project that is refused in all ways there are fills its own part.
	const flood = 100_000
	loud := knownProject{"u", "loud"}
	for i := range flood {
		now = now.Add(time.Millisecond)
		r.note(knownProject{"u", fmt.Sprintf("invented/%d", i)}, refused(http.StatusNotFound), false, now)
		r.note(loud, refused(400+i%100), true, now)
	}
	list := r.list()
	if list.Others.Times != flood || !list.Others.Time.Equal(now) || r.ofProjects.Len() != len(honest)+1 {
		t.Errorf("%d of others, the last at %s, %d projects", list.Others.Times, list.Others.Time, r.ofProjects.Len())
	}
	if kinds, _ := r.ofProjects.Get(loud); len(kinds) != maxKindsOfProject {
		t.Errorf("%d kinds of one project", len(kinds))
	}
	shown := make(map[string]int)
	for _, row := range list.Refusals {
		shown[row.Project]++
	}
	if len(list.Refusals) != adminapi.MaxRefusals || len(shown) != adminapi.MaxRefusals || list.Refusals[0].Project != "loud" {
		t.Errorf("%d rows of %d projects: %v", len(list.Refusals), len(shown), shown)
	}
	for i := range 2 * maxRefusedProjects {
		r.note(knownProject{"u", fmt.Sprintf("known/%d", i)}, refused(http.StatusForbidden), true, now)
	}
	if r.ofProjects.Len() != maxRefusedProjects {
		t.Errorf("%d projects are remembered", r.ofProjects.Len())
	}
}

func TestWhyGitLabWasOfNoUseIsToldInWords(t *testing.T) {
	for _, test := range []struct {
		want string
		err  error
	}{
		{"the edge hasn't started", errNotStarted},
		{"the last fetches of the file failed", &upstream.UnreachableError{Err: errResting}},
		{"GitLab redirects to https, and the edge was given its http URL", &upstream.UnreachableError{Err: upstream.ErrRedirectsToHTTPS}},
		{"GitLab didn't answer, or the line to it broke", &upstream.UnreachableError{Trouble: upstream.TroubleNetwork, Err: errors.New("x")}},
		{"the object storage said 503 Service Unavailable", &upstream.UnreachableError{Trouble: upstream.TroubleFront, Server: upstream.ServerStorage, Status: 503, Err: errors.New("x")}},
		{"GitLab said 599", &upstream.UnreachableError{Trouble: upstream.TroubleFront, Status: 599, Err: errors.New("x")}},
		{"GitLab is down, and isn't asked for some seconds", &upstream.UnreachableError{Trouble: upstream.TroubleNotAsked, Err: upstream.ErrNotAsked}},
		{"the caller's own request broke off, or has headers that are too long", &upstream.UnreachableError{Trouble: upstream.TroubleCaller, Err: errors.New("x")}},
		{"a limit of the edge's own was met", &upstream.UnreachableError{Trouble: upstream.TroubleEdge, Err: errors.New("x")}},
		{"what the object storage answered can't be used", &upstream.UnreachableError{Server: upstream.ServerStorage, Err: errors.New("x")}},
		{"what GitLab answered can't be used", errors.New("https://storage.example.com/?signature=x")},
	} {
		if got := whyUnreachable(test.err); got != test.want {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}
