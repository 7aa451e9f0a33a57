package caddymodule

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// traps are the ways in which a cache in front of GitLab goes wrong, as they are counted there (contract, section 10), and the
// tests that show that the edge doesn't.
var traps = []struct {
	name  string
	tests []string
}{
	{"1 invalidation is invisible", []string{"TestWhatTheCallerGetsIsWhatGitLabWouldGiveInEveryStorageMode", "TestEditionsThatGitLabRestoresAreServedAgain"}},
	{"2 redirects hide every validator", []string{"TestWhatTheCallerGetsIsWhatGitLabWouldGiveInEveryStorageMode", "TestForwardFollowsStorageAndShowsNothingOfIt"}},
	{"3 credentials travel with redirects", []string{"TestTrap3NoCredentialReachesTheStorage", "TestCurlUploadsDownloadsAndResumes"}},
	{"4 eight carriers, strict precedence", []string{"TestAChangeOfAnyCarrierOrOfEitherOfAnyPairLeadsToANewCheck", "TestEveryCarrierAndEveryPairIsInTheFingerprint"}},
	{"5 ?path= selects another file", []string{"TestRulesCurrentAndOwnPatterns", "TestAPathParameterInDisguiseIsRefused"}},
	{"6 public is not a constant", []string{"TestTrap6WhatBecomesPrivateIsAskedForAgain"}},
	{"7 refusals depend on the caller", []string{"TestTrap7EachCallerHearsGitLabsOwnRefusal", "TestAStrangerCannotTellAHitFromAMiss"}},
	{"8 job tokens die silently", []string{"TestTrap8AJobsTokenEndsWithTheJob"}},
	{"9 encoding", []string{"TestTheForwardedPathKeepsTheBytesAsSent", "TestHostileRequestsAreRefusedOrGoOnAsGitLabSeesThem"}},
	{"10 aliases", []string{"TestAProjectThatTakesOverAPathNeverGetsNorPlantsTheOthersFiles", "TestASwitchedOffProjectIs404ForEverySpellingAndMethodAtOnce"}},
	{"11 the checksum is of the whole file and optional", []string{"TestRangesAndConditionsOnAStoredFile", "TestADamagedBodyIsABrokenOffAnswerAndNothingIsKept"}},
	{"12 local mode has no ETag", []string{"TestTwoPublishesInOneSecondAreToldApart", "TestIdentitiesInEveryStorageMode"}},
	{"13 headers of one caller", []string{"TestTrap13NoHeaderOfOneCallerReachesAnother"}},
	{"14 the caller's address is an input", []string{"TestTheSameTokenFromAnotherAddressNeedsACheckOfItsOwn", "TestACheckTellsGitLabWhoAsksAndNothingThatAGrantDoesNotCover"}},
	{"15 publishing", []string{
		"TestWhateverBecomesOfAPublishTheNextDownloadIsRight", "TestARefusedExpectReachesTheCallerWithoutTheBody", "TestAnUploadThatGitLabRefusesCostsTheStoredFileNothing",
	}},
}

func TestEachTrapOfTheContractHasItsTests(t *testing.T) {
	there := make(map[string]bool)
	for _, pattern := range []string{"*_test.go", "../upstream/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, declared := range parsed.Decls {
				if function, ok := declared.(*ast.FuncDecl); ok {
					there[function.Name.Name] = true
				}
			}
		}
	}
	for _, trap := range traps {
		for _, test := range trap.tests {
			if !there[test] {
				t.Errorf("%s: there is no %s", trap.name, test)
			}
		}
	}
}

func TestTrap3NoCredentialReachesTheStorage(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	e := startEdge(t, gitlab.URL, "identity_headers X-Team")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	for _, suffix := range []string{"", "?status=default"} { // fetched, and forwarded
		got := e.do(t, call{path: filePath("app.bin") + suffix, token: developer, header: http.Header{
			"X-Team": {"blue"}, "Cookie": {"_gitlab_session=secret"}, "Referer": {"https://secret.example.com"}, "Sudo": {"dev"}, "Dpop": {"secret"},
		}})
		if got.StatusCode != http.StatusOK && got.StatusCode != http.StatusForbidden {
			t.Errorf("%q: %s", suffix, got.Status)
		}
	}
	e.mustGet(t, "app.bin", developer, body)
	seen := 0
	for _, request := range gitlab.Requests() {
		if !request.Storage {
			continue
		}
		seen++
		for name := range request.Header {
			switch name {
			case "User-Agent", "Accept-Encoding", "Range", "If-Range", "Accept":
			default:
				t.Errorf("the storage is told %s", name)
			}
		}
	}
	if seen == 0 {
		t.Error("the storage wasn't asked")
	}
}

func TestTrap6WhatBecomesPrivateIsAskedForAgain(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	nobody := call{path: filePath("app.bin")}
	for range 2 {
		gitlab.AddProject(gitlabtest.Project{ID: project, Path: projectPath, Visibility: gitlabtest.Public})
		putForward(2 * time.Minute)
		if got := e.do(t, nobody); !bytes.Equal(got.body, body) {
			t.Errorf("public: %s", got.Status)
		}
		gitlab.AddProject(gitlabtest.Project{ID: project, Path: projectPath, Visibility: gitlabtest.Private})
		putForward(2 * time.Minute)
		if got := e.do(t, nobody); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("private: %s", got.Status)
		}
		e.mustGet(t, "app.bin", developer, body)
	}
	gitlab.AddProject(gitlabtest.Project{ID: project, Path: projectPath, Visibility: gitlabtest.Private, RegistryPublic: true})
	if got := e.do(t, nobody); !bytes.Equal(got.body, body) {
		t.Errorf("a private project's public registry: %s", got.Status)
	}
}

func TestTrap7EachCallerHearsGitLabsOwnRefusal(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	publishOld(gitlab, "cold.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	expect := func(what string, c call, status int) {
		t.Helper()
		for _, file := range []string{"app.bin", "cold.bin"} {
			c.path = filePath(file)
			if got := e.do(t, c); got.StatusCode != status || (status != http.StatusOK && bytes.Contains(got.body, body[:16])) {
				t.Errorf("%s, %s: %s, want %d", what, file, got.Status, status)
			}
		}
	}
	expect("nobody", call{}, http.StatusUnauthorized)
	expect("somebody else", call{token: outsider}, http.StatusNotFound)
	gitlab.AddProject(gitlabtest.Project{ID: project, Path: projectPath, RegistryOff: true})
	putForward(2 * time.Minute)
	expect("a reader of a project whose registry is off", call{token: developer}, http.StatusForbidden)

	gitlab.AddProject(gitlabtest.Project{ID: project, Path: projectPath, Visibility: gitlabtest.Public})
	expect("nobody, of a public project", call{}, http.StatusOK)
	expect("a wrong token, of a public project", call{token: "glpat-wrong"}, http.StatusUnauthorized)
	wrongPassword := http.Header{"Authorization": {"Basic ZGV2Ondyb25n"}}
	status, _, _ := askGitLab(t, gitlab, "app.bin", wrongPassword)
	expect("a wrong password, of a public project", call{header: wrongPassword}, status)
}

func TestTrap8AJobsTokenEndsWithTheJob(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	carriers := map[string]call{
		"header":    {path: filePath("app.bin"), header: http.Header{"Job-Token": {jobToken}}},
		"parameter": {path: filePath("app.bin") + "?job_token=" + jobToken},
		"Bearer":    {path: filePath("app.bin"), header: http.Header{"Authorization": {"Bearer " + jobToken}}},
		"password":  {path: filePath("app.bin"), header: http.Header{"Authorization": {"Basic Z2l0bGFiLWNpLXRva2VuOmdsY2J0LWpvYg=="}}},
	}
	for name, c := range carriers {
		if got := e.do(t, c); !bytes.Equal(got.body, body) {
			t.Errorf("by %s, while the job runs: %s", name, got.Status)
		}
	}
	gitlab.RevokeToken(jobToken)
	putForward(61 * time.Second)
	for name, c := range carriers {
		if got := e.do(t, c); got.StatusCode < 400 || bytes.Contains(got.body, body[:16]) {
			t.Errorf("by %s, when the job has ended: %s", name, got.Status)
		}
	}
	gitlab.SetDown(true)
	for name, c := range carriers {
		if got := e.do(t, c); got.StatusCode < 500 {
			t.Errorf("by %s, in an outage after that: %s", name, got.Status)
		}
	}
}

func TestTrap13NoHeaderOfOneCallerReachesAnother(t *testing.T) {
	gitlab := newGitLab(t, gitlabtest.WithRateLimitHeaders())
	gitlab.Inject(gitlabtest.Fault{Times: -1, Header: http.Header{
		"Set-Cookie": {"_gitlab_session=secret"}, "X-Request-Id": {"of-the-first"}, "X-Runtime": {"1"}, "X-Sendfile": {"/srv/secret"}, "X-Amz-Request-Id": {"1"},
		"Retry-After": {"7"}, "Server": {"nginx"}, "Nel": {"{}"},
	}})
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	for _, token := range []string{developer, developer, colleague, administrator} {
		got := e.mustGet(t, "app.bin", token, body)
		for name := range got.Header {
			switch name {
			case "Accept-Ranges", "Cache-Control", "Cache-Status", "Content-Disposition", "Content-Length", "Content-Type", "Date", "Etag", "Last-Modified",
				"Repr-Digest", "Server", "Via", "X-Checksum-Sha256", "X-Content-Type-Options", "Connection":
			default:
				t.Errorf("%s: %s", name, got.Header.Get(name))
			}
		}
		if strings.Contains(got.Header.Get("Server"), "nginx") {
			t.Error("GitLab's Server is passed on")
		}
	}
}
