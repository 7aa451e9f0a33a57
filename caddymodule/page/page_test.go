package page

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

// testTime is when all tests' pages are looked at.
var testTime = time.Date(2026, time.November, 30, 8, 15, 0, 0, time.UTC)

// loopback are the listeners of most tests' servers.
var loopback = []string{"tcp/127.0.0.1:2020"}

// newPage returns a page of an edge with a world, on a server with these listeners.
func newPage(t testing.TB, world fakeedge.World, actions string, listen ...string) (*Page, *fakeedge.Edge) {
	t.Helper()
	edge := fakeedge.New(world)
	p := &Page{Actions: actions, edge: edge, logger: zap.NewNop()}
	p.set(&caddyhttp.Server{Listen: listen})
	p.results, p.now = new(results), func() time.Time { return testTime }
	t.Cleanup(func() { _ = p.Cleanup() })
	return p, edge
}

// morning is the world of most tests.
func morning() fakeedge.World { return fakeedge.Sample(testTime) }

// visit is one request of a test.
type visit struct {
	method, target string
	// host is the request's, and local the address at which it comes in; localhost:2020 and 127.0.0.1 if they are empty.
	host, local string
	header      http.Header
	form        url.Values
	// user is who an authentication has let in.
	user string
	// original is the path before a prefix of it was stripped.
	original string
}

func (v visit) request(t testing.TB) *http.Request {
	t.Helper()
	if v.method == "" {
		v.method = http.MethodGet
	}
	r := httptest.NewRequest(v.method, "http://x"+v.target, strings.NewReader(v.form.Encode()))
	r.Host = "localhost:2020"
	if v.host != "" {
		r.Host = v.host
	}
	local := net.ParseIP("127.0.0.1")
	if v.local != "" {
		local = net.ParseIP(v.local)
	}
	maps.Copy(r.Header, v.header)
	if v.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	replacer := caddy.NewEmptyReplacer()
	if v.user != "" {
		replacer.Set("http.auth.user.id", v.user)
	}
	ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, replacer)
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: local, Port: 2020}))
	if v.original != "" {
		ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, http.Request{URL: &url.URL{Path: v.original}})
	}
	return r.WithContext(ctx)
}

// get has a page answer a request.
func get(t testing.TB, p *Page, v visit) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := p.ServeHTTP(w, v.request(t), nil); err != nil {
		t.Fatal(err)
	}
	return w
}

// post is a form of the page's own, sent as a browser sends it.
func post(p *Page, target string, fields ...string) visit {
	form := url.Values{tokenField: {p.token}}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return visit{method: http.MethodPost, target: target, form: form, header: http.Header{"Origin": {"http://localhost:2020"}, "Sec-Fetch-Site": {"same-origin"}}}
}

// follow follows the redirect of an answer, as a browser does.
func follow(t testing.TB, p *Page, w *httptest.ResponseRecorder) string {
	t.Helper()
	if w.Code != http.StatusSeeOther {
		t.Fatalf("no redirect: %d\n%s", w.Code, w.Body)
	}
	target, _, _ := strings.Cut("/"+w.Header().Get("Location"), "#")
	return get(t, p, visit{target: target}).Body.String()
}

// expect fails the test unless a text has all of these.
func expect(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in\n%s", part, text)
		}
	}
}
