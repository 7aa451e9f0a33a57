package page

import (
	"net/http"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// TestOnlyThoseActWhomTheConfigLets sends one form in many ways. What the page shows and what it does must agree.
func TestOnlyThoseActWhomTheConfigLets(t *testing.T) {
	origin := http.Header{"Origin": {"http://localhost:2020"}}
	with := func(name, value string) http.Header {
		header := origin.Clone()
		header.Set(name, value)
		return header
	}
	for name, test := range map[string]struct {
		actions string
		listen  []string
		visit   visit
		may     bool
	}{
		"read only by default":                           {"", loopback, visit{user: "bob"}, false},
		"somebody who was let in":                        {ActionsGuarded, []string{":2020"}, visit{user: "bob", local: "10.0.0.7"}, true},
		"nobody was let in":                              {ActionsGuarded, []string{":2020"}, visit{local: "10.0.0.7"}, false},
		"loopback":                                       {ActionsGuarded, loopback, visit{header: origin}, true},
		"a loopback connection to a server for all":      {ActionsGuarded, []string{":2020"}, visit{header: origin}, false},
		"a server on loopback, another local address":    {ActionsGuarded, loopback, visit{local: "10.0.0.7", header: origin}, false},
		"loopback by a name of the site":                 {ActionsGuarded, loopback, visit{host: "edge.example.com", header: http.Header{"Origin": {"http://edge.example.com"}}}, false},
		"loopback behind a proxy that says so":           {ActionsGuarded, loopback, visit{header: with("X-Forwarded-For", "203.0.113.9")}, false},
		"loopback behind a proxy that says it otherwise": {ActionsGuarded, loopback, visit{header: with("Via", "1.1 proxy")}, false},
		"unauthenticated, in plain words":                {ActionsUnauthenticated, []string{":2020"}, visit{local: "10.0.0.7"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p, edge := newPage(t, morning(), test.actions, test.listen...)
			p.hosts = hostNames{"edge.example.com": true}
			read := test.visit
			read.target = "/actions"
			shown := get(t, p, read).Body.String()
			if hasToken := containsText(shown, p.token); hasToken != test.may {
				t.Errorf("the page has a form: %v", hasToken)
			}
			sent := post(p, "/verify")
			sent.user, sent.local, sent.host, sent.header = test.visit.user, test.visit.local, test.visit.host, test.visit.header
			got := get(t, p, sent)
			if done := len(edge.Calls(adminapi.CallVerify)) == 1; done != test.may || (got.Code == http.StatusSeeOther) != test.may {
				t.Errorf("done: %v, with %d", done, got.Code)
			}
			if !test.may && got.Code != http.StatusForbidden {
				t.Errorf("refused with %d", got.Code)
			}
		})
	}
}

// TestAProxyThatHidesItselfIsToldByTheFormsOrigin has a proxy on this machine that puts the page's own name into Host, as nginx does, and
// adds no header. The browser names the proxy.
func TestAProxyThatHidesItselfIsToldByTheFormsOrigin(t *testing.T) {
	for _, origin := range []string{"https://public.example.com", "null", "", "http://localhost:3000"} {
		p, edge := newPage(t, morning(), ActionsGuarded, loopback...)
		sent := post(p, "/verify")
		sent.header = http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {origin}}
		if got := get(t, p, sent); got.Code != http.StatusForbidden || len(edge.Calls("")) > 0 {
			t.Errorf("%q: %d", origin, got.Code)
		}
	}
}

// TestAFormOfAnotherSiteDoesNothing sends forms as browsers do for pages of others, by people who may act and with the right token.
func TestAFormOfAnotherSiteDoesNothing(t *testing.T) {
	for name, header := range map[string]http.Header{
		"another site":          {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}},
		"another port":          {"Sec-Fetch-Site": {"same-site"}, "Origin": {"http://localhost:3000"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}},
		"an older browser":      {"Origin": {"https://evil.example"}},
		"a frame without names": {"Origin": {"null"}},
	} {
		p, edge := newPage(t, morning(), ActionsUnauthenticated, ":2020")
		sent := post(p, "/purge", "all", "yes", "confirmed", "yes")
		sent.header, sent.user = header, "bob"
		if got := get(t, p, sent); got.Code != http.StatusForbidden || len(edge.Calls("")) > 0 {
			t.Errorf("%s: %d, %v", name, got.Code, edge.Calls(""))
		}
	}
}

// TestAFormWithoutTheTokenDoesNothing sends forms that this process didn't make.
func TestAFormWithoutTheTokenDoesNothing(t *testing.T) {
	for _, tokens := range [][]string{nil, {""}, {"guessed"}, {"right", "right"}} {
		p, edge := newPage(t, morning(), ActionsGuarded, loopback...)
		sent := post(p, "/purge", "all", "yes", "confirmed", "yes")
		sent.form.Del(tokenField)
		for _, token := range tokens {
			if token == "right" {
				token = p.token
			}
			sent.form.Add(tokenField, token)
		}
		got := get(t, p, sent)
		if got.Code != http.StatusForbidden || len(edge.Calls("")) > 0 {
			t.Errorf("%q: %d", tokens, got.Code)
		}
		expect(t, got.Body.String(), "load the page again")
		// Nor does the token count in the address, where it would be in logs.
		sent.form.Del(tokenField)
		sent.target += "?" + tokenField + "=" + p.token
		if got := get(t, p, sent); got.Code != http.StatusForbidden {
			t.Errorf("the token in the query: %d", got.Code)
		}
	}
}

// TestPagesOfOtherSitesDrawNothingIn asks as a browser does for pictures, scripts, frames and streams of another site's page.
func TestPagesOfOtherSitesDrawNothingIn(t *testing.T) {
	for _, test := range []struct {
		site, mode, destination string
		status                  int
	}{
		{"cross-site", "no-cors", "image", http.StatusForbidden},
		{"cross-site", "cors", "empty", http.StatusForbidden},
		{"same-site", "cors", "empty", http.StatusForbidden},
		{"cross-site", "navigate", "iframe", http.StatusForbidden},
		{"cross-site", "navigate", "document", http.StatusOK},
		{"same-origin", "cors", "empty", http.StatusOK},
		{"none", "navigate", "document", http.StatusOK},
	} {
		p, edge := newPage(t, morning(), "", loopback...)
		got := get(t, p, visit{target: "/live", header: http.Header{"Sec-Fetch-Site": {test.site}, "Sec-Fetch-Mode": {test.mode}, "Sec-Fetch-Dest": {test.destination}}})
		if got.Code != test.status || (test.status != http.StatusOK && len(edge.Calls("")) > 0) {
			t.Errorf("%+v: %d", test, got.Code)
		}
	}
}
