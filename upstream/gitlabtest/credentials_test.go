package gitlabtest_test

import (
	"bytes"
	"context"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// carrier is a place in a request for a secret.
type carrier struct {
	name   string
	header func(secret string) []string
	query  string
}

func inHeader(name string) carrier {
	return carrier{name: name, header: func(secret string) []string { return []string{name, secret} }}
}

func inQuery(name string) carrier { return carrier{name: "?" + name, query: name} }

func inAuthorization(name, user string) carrier {
	return carrier{name: name, header: func(secret string) []string {
		if user == "" {
			return []string{"Authorization", "Bearer " + secret}
		}
		return []string{"Authorization", basic(user, secret)}
	}}
}

// carriers are all of section 5.
var carriers = []carrier{
	inHeader("Deploy-Token"), inHeader("Private-Token"), inHeader("Job-Token"),
	inAuthorization("Bearer", ""), inAuthorization("Basic", "anybody"), inAuthorization("Basic CI", "gitlab-ci-token"),
	inQuery("access_token"), inQuery("bearer_token"), inQuery("private_token"), inQuery("job_token"), inQuery("token"),
	{name: "Cookie", header: func(secret string) []string { return []string{"Cookie", "_gitlab_session=" + secret} }},
}

// request adds the carrier with a secret to what asks.
func (c carrier) request(path string, header []string, secret string) (string, []string) {
	if c.query == "" {
		return path, append(header, c.header(secret)...)
	}
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	return path + separator + c.query + "=" + url.QueryEscape(secret), header
}

// TestWhichCarrierTakesWhichCredential is the table of section 5: each kind of secret in each place, to read and to
// publish, in a private project.
func TestWhichCarrierTakesWhichCredential(t *testing.T) {
	const (
		no        = iota // 401
		yes              // 200, 201
		readsOnly        // 200, 401
	)
	secrets := map[string]string{"personal": "dev", "job": "glcbt-job", "deploy": "deploy", "OAuth": "oauth", "session": "session"}
	accepted := map[string]map[string]int{
		"Deploy-Token":   {"deploy": yes},
		"Private-Token":  {"personal": yes},
		"Job-Token":      {"job": yes},
		"Bearer":         {"deploy": yes, "job": yes, "OAuth": yes, "personal": yes},
		"?access_token":  {"deploy": yes, "job": yes, "OAuth": yes, "personal": yes},
		"?bearer_token":  {"deploy": yes, "job": yes, "OAuth": yes, "personal": yes},
		"?private_token": {"personal": yes},
		"Basic":          {"deploy": yes, "personal": yes},
		"Basic CI":       {"deploy": yes, "personal": yes, "job": readsOnly},
		"?job_token":     {"job": yes},
		"?token":         {"job": yes},
		"Cookie":         {"session": readsOnly},
	}
	s := newWorld(t)
	for _, c := range carriers {
		for kind, secret := range secrets {
			path, header := c.request(file(24), nil, secret)
			want := accepted[c.name][kind]
			read, _ := ask(t, s, "GET", path, "", header...)
			if (read.StatusCode == 200) != (want != no) || (want == no && read.StatusCode != 401) {
				t.Errorf("GET, %s token as %s: %s", kind, c.name, read.Status)
			}
			head, _ := ask(t, s, "HEAD", path, "", header...)
			if head.StatusCode != read.StatusCode {
				t.Errorf("HEAD, %s token as %s: %s, but GET %s", kind, c.name, head.Status, read.Status)
			}
			written, _ := ask(t, s, "PUT", path, "x", header...)
			if (written.StatusCode == 201) != (want == yes) || (want != yes && written.StatusCode != 401) {
				t.Errorf("PUT, %s token as %s: %s", kind, c.name, written.Status)
			}
		}
	}
}

// TestWhatABadCredentialIsOnAPublicProject tells the carriers that end the search from those that fall through to
// nobody, who may read there.
func TestWhatABadCredentialIsOnAPublicProject(t *testing.T) {
	s := newWorld(t)
	for _, c := range carriers {
		for secret, strict := range map[string]string{
			"unknown":    "Private-Token Bearer ?access_token ?bearer_token ?private_token Job-Token ?job_token ?token Basic CI",
			"glcbt-dead": "Job-Token ?job_token ?token Basic CI",
		} {
			path, header := c.request(file(25), nil, secret)
			want := 200
			if strings.Contains(" "+strict+" ", " "+c.name+" ") && c.name != "Basic" {
				want = 401
			}
			if response, _ := ask(t, s, "GET", path, "", header...); response.StatusCode != want {
				t.Errorf("%s as %s: %s, want %d", secret, c.name, response.Status, want)
			}
		}
		path, header := c.request(file(25), nil, "")
		if response, _ := ask(t, s, "GET", path, "", header...); response.StatusCode != 200 {
			t.Errorf("empty %s: %s, want it to count as absent", c.name, response.Status)
		}
	}
}

// TestWhichOfTwoCarriersWins is the precedence of section 5. Each pair names the place whose secret decides: it is given
// the wrong one, then the right one.
func TestWhichOfTwoCarriersWins(t *testing.T) {
	byName := make(map[string]carrier)
	for _, c := range carriers {
		byName[c.name] = c
	}
	const bad = "unknown"
	for _, pair := range []struct{ winner, good, loser, losing string }{
		{"?access_token", "oauth", "Bearer", "dev"},
		{"?access_token", "oauth", "?bearer_token", "dev"},
		{"Bearer", "oauth", "?bearer_token", "dev"},
		{"?private_token", "dev", "Private-Token", "dev"},
		{"Private-Token", "dev", "Job-Token", "glcbt-job"},
		{"?private_token", "dev", "Job-Token", "glcbt-job"},
		{"Private-Token", "dev", "Basic", "dev"},
		{"Private-Token", "dev", "Basic CI", "glcbt-job"},
		{"Private-Token", "dev", "Cookie", "session"},
		{"Bearer", "dev", "Job-Token", "glcbt-job"},
		{"Basic CI", "glcbt-job", "Job-Token", "glcbt-job"},
		{"?job_token", "glcbt-job", "?token", "glcbt-job"},
		{"?job_token", "glcbt-job", "Job-Token", "glcbt-job"},
		{"?token", "glcbt-job", "Job-Token", "glcbt-job"},
		{"Job-Token", "glcbt-job", "Cookie", "session"},
	} {
		if byName[pair.winner].query == "" && byName[pair.loser].query == "" &&
			strings.HasPrefix(pair.winner, "B") && strings.HasPrefix(pair.loser, "B") {
			t.Fatalf("%s and %s are one header", pair.winner, pair.loser)
		}
		s := newWorld(t)
		for secret, want := range map[string]int{bad: 401, pair.good: 200} {
			path, header := byName[pair.winner].request(file(24), nil, secret)
			losing := pair.losing
			if want == 200 {
				losing = bad
			}
			path, header = byName[pair.loser].request(path, header, losing)
			if response, _ := ask(t, s, "GET", path, "", header...); response.StatusCode != want {
				t.Errorf("%s %q over %s %q: %s, want %d", pair.winner, secret, pair.loser, losing, response.Status, want)
			}
		}
	}
}

// TestCarriersThatDoNotHideOthers are the rest of the precedence: what falls through, and what takes another's place.
func TestCarriersThatDoNotHideOthers(t *testing.T) {
	s := newWorld(t)
	for _, test := range []struct {
		name, query string
		header      []string
		status      int
	}{
		{"a good deploy token beats all", "?private_token=bad&job_token=bad", []string{"Deploy-Token", "deploy", "Private-Token", "bad"}, 200},
		{"a Basic password takes the deploy token's place", "", []string{"Deploy-Token", "deploy", "Authorization", basic("x", "")}, 401},
		{"a bad deploy token is nothing", "", []string{"Deploy-Token", "bad", "Job-Token", "glcbt-job"}, 200},
		{"an OAuth token goes before a bad personal one", "?access_token=oauth", []string{"Private-Token", "bad"}, 200},
		{"a job token as Bearer goes before a bad personal one", "", []string{"Authorization", "Bearer glcbt-job", "Private-Token", "bad"}, 200},
		{"a bad Bearer is not tried when there is a personal token", "", []string{"Authorization", "Bearer bad", "Private-Token", "dev"}, 200},
		{"a bad Basic password is nothing", "", []string{"Authorization", basic("x", "bad"), "Job-Token", "glcbt-job"}, 200},
		{"a dead job token as Bearer is nothing", "", []string{"Authorization", "Bearer glcbt-dead", "Job-Token", "glcbt-job"}, 200},
		{"a dead job token as personal token is nothing", "", []string{"Private-Token", "glcbt-dead", "Job-Token", "glcbt-job"}, 200},
		{"a live job token as personal token is nothing too", "", []string{"Private-Token", "glcbt-job"}, 401},
		{"a scheme in any case", "", []string{"Authorization", "bEARER dev"}, 200},
		{"another scheme", "", []string{"Authorization", "Token dev"}, 401},
		{"the last of two parameters", "?private_token=bad&private_token=dev", nil, 200},
		{"not the first of two parameters", "?private_token=dev&private_token=bad", nil, 401},
		{"two lines of a header are one value", "", []string{"Private-Token", "dev", "Private-Token", "dev"}, 401},
		{"a semicolon separates too", "?a=b;private_token=dev", nil, 200},
		{"an escaped name is the same name", "?priv%61te_token=dev", nil, 200},
		{"an array is another parameter", "?private_token[]=dev", nil, 401},
		{"a name in another case is another parameter", "?PRIVATE_TOKEN=dev", nil, 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			if response, _ := ask(t, s, "GET", file(24)+test.query, "", test.header...); response.StatusCode != test.status {
				t.Errorf("got %s, want %d", response.Status, test.status)
			}
		})
	}
}

func TestAFormOnAGETCarriesCredentialsToo(t *testing.T) {
	s := newWorld(t)
	var parts bytes.Buffer
	writer := multipart.NewWriter(&parts)
	if err := writer.WriteField("private_token", "dev"); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	for contentType, test := range map[string]struct {
		body   string
		status int
	}{
		"application/x-www-form-urlencoded": {"private_token=dev", 200},
		writer.FormDataContentType():        {parts.String(), 200},
		"text/plain":                        {"private_token=dev", 401},
	} {
		if response, _ := ask(t, s, "GET", file(24), test.body, "Content-Type", contentType); response.StatusCode != test.status {
			t.Errorf("%s: %s, want %d", contentType, response.Status, test.status)
		}
	}
	// On a PUT the body is the file, whatever it says it is.
	if response, _ := ask(t, s, "PUT", file(24), "private_token=dev", "Content-Type", "application/x-www-form-urlencoded"); response.StatusCode != 401 {
		t.Errorf("PUT: %s", response.Status)
	}
}

func TestTokensThatDied(t *testing.T) {
	s := newWorld(t)
	for _, secret := range []string{"dev", "oauth", "deploy", "glcbt-job", "session"} {
		s.RevokeToken(secret)
	}
	for _, test := range []struct {
		name, path string
		header     []string
		status     int
	}{
		{"personal", file(24), []string{"Private-Token", "dev"}, 401},
		{"personal, public", file(25), []string{"Private-Token", "dev"}, 401},
		{"personal as Basic, public", file(25), []string{"Authorization", basic("x", "dev")}, 401}, // its row is known
		{"OAuth, public", file(25), []string{"Authorization", "Bearer oauth"}, 401},
		{"deploy", file(24), []string{"Deploy-Token", "deploy"}, 401},
		{"deploy, public", file(25), []string{"Deploy-Token", "deploy"}, 200},
		{"job, public", file(25), []string{"Job-Token", "glcbt-job"}, 401},
		{"job as Bearer, public", file(25), []string{"Authorization", "Bearer glcbt-job"}, 200},
		{"job as Bearer", file(24), []string{"Authorization", "Bearer glcbt-job"}, 401},
		{"session, public", file(25), []string{"Cookie", "_gitlab_session=session"}, 200},
		{"session", file(24), []string{"Cookie", "_gitlab_session=session"}, 401},
	} {
		if response, _ := ask(t, s, "GET", test.path, "", test.header...); response.StatusCode != test.status {
			t.Errorf("%s: %s, want %d", test.name, response.Status, test.status)
		}
	}
	s.ExpireToken("guest")
	if response, body := ask(t, s, "GET", file(24), "", "Private-Token", "guest"); response.StatusCode != 401 || !strings.Contains(body, "expired") {
		t.Errorf("expired: %s %s", response.Status, body)
	}
}

// TestRolesAndVisibility is what section 5 says of roles, of registries that are open to everyone, and of scopes.
func TestRolesAndVisibility(t *testing.T) {
	s := newWorld(t)
	s.AddProject(gitlabtest.Project{ID: 50, Path: "group/internal", Visibility: gitlabtest.Internal})
	s.AddProject(gitlabtest.Project{ID: 51, Path: "group/open", RegistryPublic: true})
	s.AddProject(gitlabtest.Project{ID: 52, Path: "group/shut", Visibility: gitlabtest.Public, RegistryOff: true, RegistryPublic: true})
	for _, id := range []int{50, 51, 52} {
		s.Publish(id, "pkg", "1.0.0", "f", []byte("x"))
	}
	add := func(kind gitlabtest.TokenKind, secret string, role gitlabtest.Role, scopes ...string) {
		s.AddToken(gitlabtest.Token{Kind: kind, Secret: secret, Roles: map[int]gitlabtest.Role{24: role}, Scopes: scopes})
	}
	add(gitlabtest.PersonalToken, "reporter", gitlabtest.Reporter)
	add(gitlabtest.PersonalToken, "maintainer", gitlabtest.Maintainer)
	add(gitlabtest.DeployToken, "reads", gitlabtest.Guest, "read_package_registry")
	add(gitlabtest.DeployToken, "writes", gitlabtest.Guest, "write_package_registry")
	add(gitlabtest.DeployToken, "clones", gitlabtest.Guest, "read_repository")
	for _, test := range []struct {
		carrier, secret string
		project         any
		read, publish   int
	}{
		{"Private-Token", "guest", 24, 200, 403},
		{"Private-Token", "reporter", 24, 200, 403},
		{"Private-Token", "dev", 24, 200, 201},
		{"Private-Token", "maintainer", 24, 200, 201},
		{"Private-Token", "admin", 24, 200, 201},
		{"Private-Token", "out", 24, 404, 404},
		{"Deploy-Token", "reads", 24, 200, 403},
		{"Deploy-Token", "writes", 24, 200, 201},
		{"Deploy-Token", "clones", 24, 404, 404},
		{"Deploy-Token", "reads", 25, 200, 403},
		{"Private-Token", "out", 25, 200, 403},
		{"", "", 25, 200, 401},
		{"Private-Token", "out", 50, 200, 403},
		{"Deploy-Token", "reads", 50, 404, 404},
		{"", "", 50, 401, 401},
		{"Private-Token", "out", 51, 200, 404},
		{"Deploy-Token", "reads", 51, 200, 404},
		{"", "", 51, 200, 401},
		{"Private-Token", "admin", 52, 403, 403},
		{"", "", 52, 403, 401},
	} {
		var header []string
		if test.carrier != "" {
			header = []string{test.carrier, test.secret}
		}
		read, _ := ask(t, s, "GET", file(test.project), "", header...)
		published, _ := ask(t, s, "PUT", generic(fmt.Sprint(test.project), "pkg/1.0.0/g"), "x", header...)
		if read.StatusCode != test.read || published.StatusCode != test.publish {
			t.Errorf("%s %s, project %v: %s, %s; want %d, %d",
				test.carrier, test.secret, test.project, read.Status, published.Status, test.read, test.publish)
		}
	}
	s.SetRole("guest", 24, gitlabtest.NoRole)
	if response, _ := ask(t, s, "GET", file(24), "", "Private-Token", "guest"); response.StatusCode != 404 {
		t.Errorf("a member who left: %s", response.Status)
	}
}

// TestJobsOfOtherProjects is section 8's allow-list and policies.
func TestJobsOfOtherProjects(t *testing.T) {
	s := gitlabtest.New()
	t.Cleanup(s.Close)
	everywhere := make(map[int]gitlabtest.Role)
	for id, p := range map[int]gitlabtest.Project{
		60: {Path: "group/source"},
		61: {Path: "group/closed"},
		62: {Path: "group/lets", JobTokenAccess: map[int][]string{60: nil}},
		63: {Path: "group/reads", JobTokenAccess: map[int][]string{60: {gitlabtest.ReadPackages}}},
		64: {Path: "group/admins", JobTokenAccess: map[int][]string{60: {gitlabtest.AdminPackages}}},
		65: {Path: "group/other", JobTokenAccess: map[int][]string{60: {"read_jobs"}}},
		66: {Path: "group/public", Visibility: gitlabtest.Public},
		67: {Path: "group/open", RegistryPublic: true, JobTokenAccess: map[int][]string{60: {"read_jobs"}}},
		68: {Path: "group/internal", Visibility: gitlabtest.Internal},
	} {
		p.ID = id
		s.AddProject(p)
		s.Publish(id, "pkg", "1.0.0", "f", []byte("x"))
		everywhere[id] = gitlabtest.Developer
	}
	s.AddToken(gitlabtest.Token{Kind: gitlabtest.JobToken, Secret: "glcbt-60", Project: 60, Roles: everywhere}) //nolint:gosec // nobody's
	s.AddToken(gitlabtest.Token{Kind: gitlabtest.JobToken, Secret: "glcbt-any", Roles: everywhere})             //nolint:gosec // nobody's
	lacks := func(path, policy string) string {
		return `{"message":"403 Forbidden - Insufficient permissions to access this resource in project ` + path +
			`. The following token permissions are required: ` + policy + `."}`
	}
	for project, want := range map[int]struct {
		read, publish int
		message       string
	}{
		60: {200, 201, ""},
		61: {404, 404, `{"message":"404 Not Found"}`},
		62: {200, 201, ""},
		63: {200, 403, lacks("group/reads", "admin_packages")},
		64: {200, 201, ""},
		65: {403, 403, lacks("group/other", "read_packages")},
		66: {200, 403, ""},
		67: {200, 403, lacks("group/open", "admin_packages")},
		68: {200, 403, ""},
	} {
		read, readBody := ask(t, s, "GET", file(project), "", "Job-Token", "glcbt-60")
		published, publishBody := ask(t, s, "PUT", file(project), "x", "Job-Token", "glcbt-60")
		if read.StatusCode != want.read || published.StatusCode != want.publish {
			t.Errorf("%d: %s, %s; want %d, %d", project, read.Status, published.Status, want.read, want.publish)
		}
		if want.message != "" && readBody != want.message && publishBody != want.message {
			t.Errorf("%d: %s and %s, want %s", project, readBody, publishBody, want.message)
		}
		if response, _ := ask(t, s, "GET", file(project), "", "Job-Token", "glcbt-any"); response.StatusCode != 200 {
			t.Errorf("%d: a job of no project: %s", project, response.Status)
		}
	}
}

// TestSudo is what section 5 says of acting as somebody else.
func TestSudo(t *testing.T) {
	s := newWorld(t)
	s.AddToken(gitlabtest.Token{Secret: "numbered", Username: "Numbered", UserID: 7, Roles: map[int]gitlabtest.Role{24: gitlabtest.Guest}})
	s.AddToken(gitlabtest.Token{Secret: "narrow", Username: "root2", Admin: true, Scopes: []string{"api"}})
	s.AddToken(gitlabtest.Token{Kind: gitlabtest.JobToken, Secret: "glcbt-root", Username: "root", Admin: true}) //nolint:gosec // nobody's
	for _, test := range []struct {
		name, method, query string
		header              []string
		status              int
		body                string
	}{
		{"to a member by name", "GET", "", []string{"Private-Token", "admin", "Sudo", "numbered"}, 200, ""},
		{"to a member by id", "GET", "", []string{"Private-Token", "admin", "Sudo", "7"}, 200, ""},
		{"by query", "GET", "?sudo=7", []string{"Private-Token", "admin"}, 200, ""},
		{"the query goes before the header", "GET", "?sudo=out", []string{"Private-Token", "admin", "Sudo", "7"}, 404, "404 Not Found"},
		{"a guest does not publish, whoever lends the token", "PUT", "", []string{"Private-Token", "admin", "Sudo", "7"}, 403, "403 Forbidden"},
		{"to nobody", "GET", "", []string{"Private-Token", "admin", "Sudo", "nobody"}, 404, `{"message":"404 User with ID or Username 'nobody' Not Found"}`},
		{"to a deploy token's name", "GET", "", []string{"Private-Token", "admin", "Sudo", "deploy"}, 404, "User with ID or Username"},
		{"without the scope", "GET", "", []string{"Private-Token", "narrow", "Sudo", "7"}, 403, `"scope":"sudo"`},
		{"with a job token", "GET", "", []string{"Job-Token", "glcbt-root", "Sudo", "7"}, 403, "Must be authenticated using an OAuth or personal access token"},
		{"by a developer", "GET", "", []string{"Private-Token", "dev", "Sudo", "7"}, 403, `{"message":"403 Forbidden - Must be admin to use sudo"}`},
		{"by nobody", "GET", "", []string{"Sudo", "7"}, 401, `{"message":"401 Unauthorized"}`},
		{"empty", "GET", "", []string{"Private-Token", "dev", "Sudo", ""}, 200, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, body := ask(t, s, test.method, file(24)+test.query, "", test.header...)
			if response.StatusCode != test.status || !strings.Contains(body, test.body) {
				t.Errorf("got %s %s, want %d %s", response.Status, body, test.status, test.body)
			}
		})
	}
}

func TestOtherWaysToProveWhoAsks(t *testing.T) {
	s := newWorld(t)
	s.AddToken(gitlabtest.Token{Secret: "proving", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}, DPoP: "proof"})
	s.AddToken(gitlabtest.Token{
		Kind: gitlabtest.SessionCookie, Secret: "writing", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}, CSRF: "token",
	})
	for _, test := range []struct {
		name, method string
		header       []string
		status       int
	}{
		{"proof", "GET", []string{"Private-Token", "proving", "DPoP", "proof"}, 200},
		{"wrong proof", "GET", []string{"Private-Token", "proving", "DPoP", "other"}, 401},
		{"CSRF token", "PUT", []string{"Cookie", "_gitlab_session=writing", "X-Csrf-Token", "token"}, 201},
		{"wrong CSRF token", "PUT", []string{"Cookie", "_gitlab_session=writing", "X-Csrf-Token", "other"}, 401},
		{"no CSRF token", "PUT", []string{"Cookie", "_gitlab_session=writing"}, 401},
	} {
		if response, _ := ask(t, s, test.method, file(24), "", test.header...); response.StatusCode != test.status {
			t.Errorf("%s: %s, want %d", test.name, response.Status, test.status)
		}
	}
}

// TestWhoseAddressCounts is section 5's client IP: who connects is believed about whom it forwards for only if it is a
// trusted proxy.
func TestWhoseAddressCounts(t *testing.T) {
	proxies := netip.MustParsePrefix("198.51.100.0/24")
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	for _, test := range []struct {
		name, forwarded string
		allowed         []string
		trusted         []netip.Prefix
		status          int
	}{
		{"listed", "192.0.2.1", []string{"192.0.2.1"}, []netip.Prefix{loopback}, 200},
		{"not listed", "192.0.2.2", []string{"192.0.2.1"}, []netip.Prefix{loopback}, 404},
		{"in a network", "192.0.2.77", []string{"10.0.0.0/8", "192.0.2.0/24"}, []netip.Prefix{loopback}, 200},
		{"IPv6", "2001:db8::7", []string{"2001:db8::/32"}, []netip.Prefix{loopback}, 200},
		{"not forwarded", "", []string{"192.0.2.1"}, []netip.Prefix{loopback}, 404},
		{"not forwarded, itself listed", "", []string{"127.0.0.1"}, []netip.Prefix{loopback}, 200},
		{"forged in front", "192.0.2.1, 203.0.113.9", []string{"192.0.2.1"}, []netip.Prefix{loopback}, 404},
		{"behind another trusted proxy", "192.0.2.1, 198.51.100.7", []string{"192.0.2.1"}, []netip.Prefix{loopback, proxies}, 200},
		{"behind a proxy that isn't trusted", "192.0.2.1, 198.51.100.7", []string{"192.0.2.1"}, []netip.Prefix{loopback}, 404},
		{"nobody is trusted", "192.0.2.1", []string{"192.0.2.1"}, nil, 404},
		{"nobody is trusted, itself listed", "192.0.2.1", []string{"127.0.0.1"}, nil, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := gitlabtest.New(gitlabtest.WithTrustedProxies(test.trusted...))
			t.Cleanup(s.Close)
			s.AddProject(gitlabtest.Project{ID: 24, Path: "group/app", Visibility: gitlabtest.Public, AllowedIPs: test.allowed})
			s.AddToken(gitlabtest.Token{Secret: "dev", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}})
			s.Publish(24, "pkg", "1.0.0", "f", []byte("x"))
			header := []string{"X-Forwarded-For", test.forwarded}
			if test.forwarded == "" {
				header = nil
			}
			if response, _ := ask(t, s, "GET", file(24), "", append(header, "Private-Token", "dev")...); response.StatusCode != test.status {
				t.Errorf("a member: %s, want %d", response.Status, test.status)
			}
			anonymous := test.status
			if anonymous == 404 {
				anonymous = 401
			}
			if response, _ := ask(t, s, "GET", file(24), "", header...); response.StatusCode != anonymous {
				t.Errorf("anonymous: %s, want %d", response.Status, anonymous)
			}
		})
	}
	s := newWorld(t)
	agreeing := []string{"Private-Token", "dev", "Client-Ip", "192.0.2.1", "X-Forwarded-For", "192.0.2.1, 203.0.113.9"}
	if response, _ := ask(t, s, "GET", file(24), "", agreeing...); response.StatusCode != 200 {
		t.Errorf("Client-Ip that X-Forwarded-For names too: %s", response.Status)
	}
}

func TestSecretsInTheRequestAreNotInTheAnswer(t *testing.T) {
	s := newWorld(t)
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL+"/api/v4/projects/24/packages?private_token=dev&per_page=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if links := response.Header.Get("Link"); links == "" || strings.Contains(links, "dev") {
		t.Errorf("Link: %s", links)
	}
}
