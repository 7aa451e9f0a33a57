package page

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

// tellsNothing are the addresses to which an action may lead: a page and the number of a result.
var tellsNothing = regexp.MustCompile(`^[a-z]+\?result=[A-Z2-7]{26}(#now)?$`)

// TestEachFormMakesItsCall sends each form, and follows it to what is told.
func TestEachFormMakesItsCall(t *testing.T) {
	const gitlab = fakeedge.Upstream
	for name, test := range map[string]struct {
		target string
		fields []string
		call   fakeedge.Call
		told   string
	}{
		"switch off":      {"/switch", []string{"project", "24", "upstream", gitlab, "state", "off"}, fakeedge.Call{Method: "POST", Call: "disable", Request: adminapi.SwitchRequest{Upstream: gitlab, Project: "24"}}, "Project 24 is off now."},
		"switch on":       {"/switch", []string{"project", "25", "state", "on"}, fakeedge.Call{Method: "POST", Call: "enable", Request: adminapi.SwitchRequest{Project: "25"}}, "Project 25 is on now."},
		"take back":       {"/switch", []string{"project", "25", "state", "reset"}, fakeedge.Call{Method: "POST", Call: "reset", Request: adminapi.SwitchRequest{Project: "25"}}, "Project 25 is on now."},
		"switch all":      {"/switch", []string{"all", "yes", "state", "off", "confirmed", "yes"}, fakeedge.Call{Method: "POST", Call: "disable", Request: adminapi.SwitchRequest{All: true}}, "What isn&#39;t listed is off now."},
		"purge":           {"/purge", []string{"project", "24", "package", "edge", "confirmed", "yes"}, fakeedge.Call{Method: "POST", Call: "purge", Request: adminapi.PurgeRequest{Project: "24", Package: "edge"}}, "9 files were removed; 1.1 GiB are free."},
		"purge a file":    {"/purge", []string{"project", "24", "package", "edge", "version", "1.0.0", "file", "edge-linux-amd64.tar.xz", "confirmed", "yes"}, fakeedge.Call{Method: "POST", Call: "purge", Request: adminapi.PurgeRequest{Project: "24", Package: "edge", Version: "1.0.0", File: "edge-linux-amd64.tar.xz"}}, "1 file was removed"},
		"mark as stale":   {"/purge", []string{"project", "24", "soft", "yes", "confirmed", "yes"}, fakeedge.Call{Method: "POST", Call: "purge", Request: adminapi.PurgeRequest{Project: "24", Soft: true}}, "24 files were marked as stale."},
		"purge all":       {"/purge", []string{"all", "yes", "confirmed", "yes"}, fakeedge.Call{Method: "POST", Call: "purge", Request: adminapi.PurgeRequest{All: true}}, "63 files were removed"},
		"forget grants":   {"/purge", []string{"grants", "yes", "all", "yes", "confirmed", "yes"}, fakeedge.Call{Method: "POST", Call: "purge", Request: adminapi.PurgeRequest{Grants: true, All: true}}, "12 grants were forgotten."},
		"unpin":           {"/unpin", []string{"project", "24", "package", "toolchain"}, fakeedge.Call{Method: "POST", Call: "unpin", Request: adminapi.UnpinRequest{Project: "24", Package: "toolchain"}}, "1 pin was taken back."},
		"warm":            {"/warm", []string{"project", "24", "package", "edge", "version", "", "pin", " 30d "}, fakeedge.Call{Method: "POST", Call: "warm", Request: adminapi.WarmRequest{Project: "24", Package: "edge", Pin: "30d"}}, "GitLab is asked without a token"},
		"warm by a token": {"/warm", []string{"project", "24", "package", "edge", "gitlab_token", "glpat-x"}, fakeedge.Call{Method: "POST", Call: "warm", Request: adminapi.WarmRequest{Project: "24", Package: "edge", Token: "glpat-x"}}, "24 / edge is being fetched."},
		"stop warming":    {"/warm", []string{"stop", "w7"}, fakeedge.Call{Method: "DELETE", Call: "warm", Query: url.Values{"id": {"w7"}}}, "no further file is begun"},
		"verify":          {"/verify", nil, fakeedge.Call{Method: "POST", Call: "verify"}, "All stored files are being read"},
		"stop verifying":  {"/verify", []string{"stop", "/var"}, fakeedge.Call{Method: "DELETE", Call: "verify"}, "The verification stops."},
	} {
		t.Run(name, func(t *testing.T) {
			p, edge := newPage(t, morning(), ActionsGuarded, loopback...)
			got := get(t, p, post(p, test.target, test.fields...))
			if calls := edge.Calls(""); len(calls) != 1 || !reflect.DeepEqual(calls[0], test.call) {
				t.Errorf("the calls are %+v", calls)
			}
			shown := follow(t, p, got)
			expect(t, shown, test.told)
			if address := got.Header().Get("Location"); strings.Contains(shown, "glpat-x") || !tellsNothing.MatchString(address) {
				t.Errorf("the address tells what was done, or the page the token: %s", address)
			}
			// A reload tells it again, and does nothing.
			expect(t, follow(t, p, got), test.told)
			if changed := changes(edge); len(changed) != 1 {
				t.Errorf("after a reload: %+v", changed)
			}
		})
	}
}

// TestWhatDestroysIsAskedAboutFirst opens the confirmations, and sends the forms that are in them.
func TestWhatDestroysIsAskedAboutFirst(t *testing.T) {
	for target, wants := range map[string][]string{
		"/purge?project=24&package=edge":   {"This will remove 9 files from the edge, 1.1 GiB in all.", "edge-linux-amd64.tar.xz", "GitLab keeps its files.", "Only mark them as stale", `name="package" value="edge"`},
		"/purge?all=yes":                   {"everything", "This will remove 63 files", "And 53 more files.", `name="all" value="yes"`},
		"/purge?grants=yes&project=24":     {"This will forget 12 grants of GitLab", `name="grants" value="yes"`},
		"/switch?all=yes&state=off":        {"This will switch all projects that weren&#39;t switched by themselves off.", "gets 404", `name="state" value="off"`},
		"/switch?project=24&state=reset":   {"This will take back what was said at run time about project 24.", `name="project" value="24"`},
		"/purge?project=24&package=absent": {"Nothing of that is stored."},
	} {
		p, edge := newPage(t, morning(), ActionsGuarded, loopback...)
		got := get(t, p, visit{target: target})
		expect(t, got.Body.String(), wants...)
		if changed := changes(edge); len(changed) > 0 {
			t.Errorf("%s has made the calls %+v", target, changed)
		}
		if asks := strings.Contains(got.Body.String(), `name="confirmed" value="yes"`); asks == strings.Contains(target, "absent") {
			t.Errorf("%s has a form: %v", target, asks)
		}
	}
	// A form that wasn't confirmed asks as well, and changes nothing.
	p, edge := newPage(t, morning(), ActionsGuarded, loopback...)
	for _, v := range []visit{post(p, "/purge", "all", "yes"), post(p, "/switch", "all", "yes", "state", "off")} {
		expect(t, get(t, p, v).Body.String(), `name="confirmed" value="yes"`)
	}
	if changed := changes(edge); len(changed) > 0 {
		t.Errorf("the calls %+v", changed)
	}
	// And whoever may not act isn't told what would be removed.
	readOnly, edge := newPage(t, morning(), "", loopback...)
	for _, target := range []string{"/purge?all=yes", "/switch?all=yes&state=off"} {
		if got := get(t, readOnly, visit{target: target}); got.Code != http.StatusForbidden || len(edge.Calls("")) > 0 {
			t.Errorf("%s: %d", target, got.Code)
		}
	}
}

// changes are the calls that were made and change something.
func changes(edge *fakeedge.Edge) (made []fakeedge.Call) {
	for _, call := range edge.Calls("") {
		request, isPurge := call.Request.(adminapi.PurgeRequest)
		if isDry := isPurge && request.DryRun; call.Method != http.MethodGet && !isDry {
			made = append(made, call)
		}
	}
	return made
}

// TestAnActionThatFailsSaysWhy hands on the sentence and the status of the call.
func TestAnActionThatFailsSaysWhy(t *testing.T) {
	for _, test := range []struct {
		v      func(*Page) visit
		call   string
		err    error
		status int
		says   string
	}{
		{func(p *Page) visit { return post(p, "/warm", "project", "25", "package", "edge") }, "warm", caddy.APIError{HTTPStatus: 409, Err: errors.New("the project is switched off")}, 409, "The project is switched off."},
		{func(p *Page) visit { return post(p, "/purge", "all", "yes", "confirmed", "yes") }, "purge", caddy.APIError{HTTPStatus: 500, Err: fmt.Errorf("the disk: %w", errors.New("input/output error"))}, 500, "The disk: input/output error."},
		{func(p *Page) visit { return post(p, "/verify") }, "verify", errors.New("some other error"), 500, "Some other error."},
		{func(p *Page) visit { return post(p, "/unpin") }, "", nil, 400, "Name a project"},
		{func(p *Page) visit { return post(p, "/switch", "state", "sideways") }, "", nil, 400, "on or off"},
		{func(p *Page) visit { return visit{target: "/purge?package=edge"} }, "", nil, 400, "Name a project"},
		{func(p *Page) visit { return visit{target: "/switch?state=off"} }, "", nil, 400, "Which project"},
	} {
		p, edge := newPage(t, morning(), ActionsGuarded, loopback...)
		if test.call != "" {
			edge.Fail(test.call, test.err)
		}
		got := get(t, p, test.v(p))
		if got.Code != test.status {
			t.Errorf("%q: %d", test.says, got.Code)
		}
		expect(t, got.Body.String(), test.says)
	}
}

// TestAFormThatIsTooLargeIsRefused sends more than a form may have.
func TestAFormThatIsTooLargeIsRefused(t *testing.T) {
	p, edge := newPage(t, morning(), ActionsGuarded, loopback...)
	if got := get(t, p, post(p, "/verify", "junk", strings.Repeat("x", maxForm))); got.Code != http.StatusBadRequest || len(edge.Calls("")) > 0 {
		t.Errorf("%d", got.Code)
	}
}

// TestResultsAreKeptForAWhile looks up more results than are kept.
func TestResultsAreKeptForAWhile(t *testing.T) {
	kept := new(results)
	first := kept.keep(result{Done: "first"})
	var last string
	for i := range keptResults {
		if kept.get(first) == nil {
			t.Fatalf("the first one is gone after %d", i)
		}
		last = kept.keep(result{Done: fmt.Sprint(i)})
	}
	if kept.get(first) != nil || kept.get(last) == nil || kept.get("made up") != nil || len(kept.byID) != keptResults {
		t.Errorf("%d are kept", len(kept.byID))
	}
}
