package caddymodule

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// series gathers the running config's registry: values by name and labels, of histograms the number of observations.
func series(t testing.TB) map[string]float64 {
	t.Helper()
	active := caddy.ActiveContext()
	families, err := active.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, family := range families {
		name, ours := strings.CutPrefix(family.GetName(), "caddy_gitlab_packages_")
		if !ours {
			continue
		}
		for _, metric := range family.GetMetric() {
			key := name
			for _, label := range metric.GetLabel() {
				key += " " + label.GetValue()
			}
			values[key] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return values
}

// since returns how much each series has grown.
func since(t testing.TB, before map[string]float64) map[string]float64 {
	t.Helper()
	grown := series(t)
	for name, value := range before {
		grown[name] -= value
	}
	return grown
}

func expectGrown(t *testing.T, before, want map[string]float64) {
	t.Helper()
	var wrong string
	defer func() {
		if wrong != "" {
			t.Error("wrong:", wrong)
		}
	}()
	await(t, func() bool { // a request is counted when its answer is gone
		grown := since(t, before)
		wrong = ""
		for name, value := range want {
			if grown[name] != value {
				wrong += fmt.Sprintf(" %s is %v, not %v;", name, grown[name], value)
			}
		}
		return wrong == ""
	})
}

func TestMetricsTellWhatHappened(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects on {\n off 25\n}\ncache "+t.TempDir()+" {\n memory 64MiB\n min_free 0\n}")
	body := someBytes(100_000, 1)
	publishOld(gitlab, "app.bin", body)
	before := series(t)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	for range 2 { // the first takes it into memory
		e.mustGet(t, "app.bin", developer, body)
	}
	e.mustGet(t, "app.bin", colleague, body)
	refusals := e.do(t, call{path: filePath("app.bin"), token: outsider}).body
	refusals = append(refusals, e.do(t, call{path: filePath("nothing.bin"), token: developer}).body...) // whose grant that ends
	e.do(t, call{path: "/api/v4/projects/25/packages/generic/pkg/1.0.0/app.bin", token: developer})
	e.do(t, call{path: "/api/v4/projects/24/packages/generic/pkg/v1/app.bin", token: developer})
	refusals = append(refusals, e.do(t, call{path: filePath("app.bin"), token: developer, method: "BREW"}).body...)
	expectGrown(t, before, map[string]float64{
		"requests_total GET hit": 2, "requests_total GET revalidated": 1, "requests_total GET refused": 2,
		"requests_total GET switched_off": 1, "requests_total GET invalid": 1, "requests_total other forwarded": 1,
		"first_byte_seconds hit": 2, "request_duration_seconds switched_off": 1,
		"sent_bytes_total memory": 300_000, "sent_bytes_total upstream": float64(len(refusals)),
		"check_duration_seconds allowed": 1, "check_duration_seconds refused": 1,
		"fetch_duration_seconds allowed": 1, "fetch_duration_seconds refused": 1,
		"stored_bytes_total": 100_000, "grants": 1, "entries": 1, "store_bytes": 100_000, "fills": 0, "followers": 0,
	})
	grown := since(t, before)
	if got := grown["sent_bytes_total disk"] + grown["sent_bytes_total fill"]; got != 100_000 { // to the first, as it comes early or late
		t.Errorf("%v bytes were sent from the fill and the disk", got)
	}
	if got := grown["upstream_received_bytes_total"]; got != 100_000+float64(len(refusals)) {
		t.Errorf("%v bytes were received", got)
	}
}

func TestMetricsSurviveReloadsAndFailedOnes(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	publishOld(gitlab, "app.bin", []byte("x"))
	e.mustGet(t, "app.bin", developer, []byte("x"))
	before := series(t)
	hits := 0.0
	hit := func() {
		t.Helper()
		hits++
		e.mustGet(t, "app.bin", developer, []byte("x"))
		expectGrown(t, before, map[string]float64{"requests_total GET hit": hits, "stored_bytes_total": 0})
	}
	hit()
	e.reload(t, "max_age 2m")
	hit()
	failing := bytes.Replace(e.config("max_age 3m"), []byte(`"apps":{`), []byte(`"apps":{"gitlab_packages_test_failing":{},`), 1)
	if err := caddy.Load(failing, true); err == nil {
		t.Fatal("the failing config was loaded")
	}
	// Connections that wait at the socket of the config that failed are reset with it.
	await(t, func() bool { return listeners(t, e.url) <= 1 })
	hit()
	// Another directory: the first store is closed, and what it counted stays counted.
	e.reload(t, "cache "+t.TempDir()+" {\n min_free 0\n}")
	e.mustGet(t, "app.bin", developer, []byte("x"))
	expectGrown(t, before, map[string]float64{"stored_bytes_total": 1})
}

func TestMetricsTellOfResumesChecksumsAndBreakers(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1_000_000, 1)
	publishOld(gitlab, "app.bin", body)
	before := series(t)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, CutAfter: 500_000})
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	expectGrown(t, before, map[string]float64{"resumes_total": 1, "sent_bytes_total fill": 1_000_000, "upstream_received_bytes_total": 1_000_000})
	awaitProbeAnswered(t)
	gitlab.Inject(gitlabtest.Fault{Status: http.StatusBadGateway, Times: -1})
	for range 2 {
		e.do(t, call{path: filePath("app.bin"), token: outsider})
	}
	await(t, func() bool { return isDown(upstream.ServerGitLab) })
	e.do(t, call{path: filePath("app.bin"), token: outsider})
	expectGrown(t, before, map[string]float64{
		"breakers_open gitlab": 1, "breakers_open object storage": 0, "check_duration_seconds unreachable": 2, "check_duration_seconds not_asked": 1,
	})
}

func TestTheAccessLogTellsTheOutcome(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	publishOld(gitlab, "app.bin", []byte("x"))
	for range 2 {
		e.mustGet(t, "app.bin", developer, []byte("x"))
	}
	for _, want := range []string{
		`"gitlab_packages":{"outcome":"miss","project":"24","bytes_upstream":1,"first_byte":0.`,
		`"gitlab_packages":{"outcome":"hit","project":"24","bytes_upstream":0,"first_byte":0.`,
	} {
		await(t, func() bool { return strings.Contains(e.log(t), want) })
	}
}

func TestPlaceholdersTellOtherDirectivesWhatHappened(t *testing.T) {
	gitlab := newGitLab(t)
	lines := `header >X-Edge "{http.gitlab_packages.outcome} {http.gitlab_packages.project} {http.gitlab_packages.package} {http.gitlab_packages.version} {http.gitlab_packages.file}"
log_append fetched {http.gitlab_packages.bytes_upstream}
`
	e := startEdge(t, gitlab.URL, "", around{site: lines})
	publishOld(gitlab, "app.bin", []byte("four"))
	for _, want := range []string{"miss 24 pkg 1.0.0 app.bin", "hit 24 pkg 1.0.0 app.bin"} {
		if got := e.mustGet(t, "app.bin", developer, []byte("four")).Header.Get("X-Edge"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	await(t, func() bool {
		return strings.Contains(e.log(t), `"fetched":"4"`) || strings.Contains(e.log(t), `"fetched":4`)
	})
}

func TestTraceContextReachesGitLabWhereTracingIsOn(t *testing.T) {
	const sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, tracing := range []bool{true, false} {
		t.Run(fmt.Sprint(tracing), func(t *testing.T) {
			t.Setenv("OTEL_TRACES_EXPORTER", "none")
			gitlab := newGitLab(t)
			var lines around
			if tracing {
				lines.site = "tracing {\n span test\n}\n"
			}
			e := startEdge(t, gitlab.URL, "", lines)
			publishOld(gitlab, "app.bin", []byte("x"))
			e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Traceparent": {sent}}})
			e.do(t, call{path: filePath("app.bin"), token: colleague, header: http.Header{"Traceparent": {sent}}})
			for _, request := range gitlab.Requests() {
				got := request.Header.Get("Traceparent")
				switch {
				case !tracing && got != "":
					t.Errorf("%s carries a stranger's %q", request.Method, got)
				case tracing && (!strings.HasPrefix(got, sent[:36]) || got == sent):
					t.Errorf("%s carries %q, and should carry the trace with a span of the edge's", request.Method, got)
				}
			}
		})
	}
}

// TestCacheStatusIsOnEveryAnswer goes through the ways that a request can end.
func TestCacheStatusIsOnEveryAnswer(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects on {\n off 25\n}")
	body := []byte("some bytes")
	publishOld(gitlab, "app.bin", body)
	// A slow machine takes some seconds.
	fresh, late := regexp.MustCompile(`ttl=[45]\d\b`), regexp.MustCompile(`ttl=-[34]\d\b`)
	expect := func(c call, want string) {
		t.Helper()
		if c.token == "" {
			c.token = developer
		}
		if c.path == "" {
			c.path = filePath("app.bin")
		}
		got := fresh.ReplaceAllString(e.do(t, c).cacheStatus(), "ttl=59")
		if got = late.ReplaceAllString(got, "ttl=-30"); got != "gitlab_packages; "+want {
			t.Errorf("%s %s: %q, want %q", c.method, c.path, got, want)
		}
	}
	expect(call{method: http.MethodHead}, "fwd=uri-miss; fwd-status=200")
	expect(call{}, "fwd=uri-miss; fwd-status=200; stored; ttl=59")
	awaitNoFlight(t)
	expect(call{}, "hit; ttl=59")
	expect(call{method: http.MethodHead}, "hit; ttl=59")
	expect(call{header: http.Header{"Range": {"bytes=1-3"}}}, "hit; ttl=59")
	expect(call{header: http.Header{"Range": {"bytes=99-"}}}, "hit; ttl=59")
	expect(call{header: http.Header{"If-None-Match": {`"` + hexSHA256(body) + `"`}}}, "hit; ttl=59")
	expect(call{token: colleague}, "fwd=stale; fwd-status=206; ttl=59; detail=confirmed")
	expect(call{token: outsider}, "fwd=miss; fwd-status=404")
	expect(call{path: filePath("app.bin") + "?path=dir", token: developer}, "detail=invalid")
	expect(call{header: http.Header{"Origin": {"https://elsewhere.example"}}}, "fwd=bypass; fwd-status=200")
	expect(call{path: "/api/v4/projects/25/packages/generic/pkg/1.0.0/app.bin"}, "detail=switched-off")
	expect(call{method: http.MethodPut, body: strings.NewReader("other")}, "fwd=method; fwd-status=201")
	expect(call{method: http.MethodDelete}, "fwd=method; fwd-status=405")
	// What was published lies beside what is stored: GitLab is asked, and names another file.
	expect(call{}, "fwd=stale; fwd-status=200; stored; ttl=59")
	awaitNoFlight(t)
	putForward(defaultMaxAge + defaultMaxAge/2)
	gitlab.Inject(gitlabtest.Fault{Status: http.StatusBadGateway, Times: -1})
	expect(call{}, "hit; ttl=-30; detail=offline")
	expect(call{token: outsider}, "detail=unreachable")
}
