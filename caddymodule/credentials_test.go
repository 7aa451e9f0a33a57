package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// agreeable is a GitLab that lets everybody read one file, and notes what it is asked.
type agreeable struct {
	mu        sync.Mutex
	questions []*http.Request
	gets      int
}

func (a *agreeable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	switch {
	case isProbe(r):
	case isQuestion(r):
		a.questions = append(a.questions, r)
	default:
		a.gets++
	}
	a.mu.Unlock()
	body := "the same for all"
	w.Header().Set("X-Checksum-Sha256", hexSHA256([]byte(body)))
	w.Header().Set("Content-Disposition", "attachment")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
}

// asked returns the checks since the last call.
func (a *agreeable) asked() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	questions := a.questions
	a.questions = nil
	return questions
}

// carrying is a call with carriers: headers by their names, query parameters behind a question mark.
func carrying(carriers map[string]string) call {
	c, query := call{header: http.Header{}}, url.Values{}
	for name, value := range carriers {
		if parameter, ok := strings.CutPrefix(name, "?"); ok {
			query.Set(parameter, value)
		} else {
			c.header.Set(name, value)
		}
	}
	c.path = filePath("app.bin")
	if len(query) > 0 {
		c.path += "?" + query.Encode()
	}
	return c
}

// TestAChangeOfAnyCarrierOrOfEitherOfAnyPairLeadsToANewCheck walks through all carriers of the contract, an admin's own
// header, and all their pairs.
func TestAChangeOfAnyCarrierOrOfEitherOfAnyPairLeadsToANewCheck(t *testing.T) {
	gitlab := new(agreeable)
	e := startEdge(t, serveHTTP(t, gitlab.ServeHTTP), "max_age 1h\ngrant_ttl 1h\noffline_grace 1h\nidentity_headers X-Team")
	e.do(t, call{path: filePath("app.bin")})
	names := append(slices.Clone(upstream.CarrierHeaders), "X-Team")
	for _, parameter := range upstream.CarrierParameters {
		names = append(names, "?"+parameter)
	}

	number := 0
	another := func() string {
		number++
		return fmt.Sprintf("secret%d", number)
	}
	expect := func(c call, checks int, what string) {
		t.Helper()
		gitlab.asked()
		if got := e.do(t, c); got.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", what, got.Status)
		}
		if asked := gitlab.asked(); len(asked) != checks {
			t.Errorf("%s: %d checks, want %d", what, len(asked), checks)
		}
	}
	for i, first := range names {
		one := another()
		expect(carrying(map[string]string{first: one}), 1, first)
		expect(carrying(map[string]string{first: one}), 0, first+" again")
		expect(carrying(map[string]string{first: another()}), 1, first+" changed")
		for _, second := range names[i+1:] {
			one, two := another(), another()
			pair := first + " and " + second
			expect(carrying(map[string]string{first: one, second: two}), 1, pair)
			expect(carrying(map[string]string{first: one, second: two}), 0, pair+" again")
			expect(carrying(map[string]string{first: another(), second: two}), 1, pair+", the first changed")
			expect(carrying(map[string]string{first: one, second: another()}), 1, pair+", the second changed")
			expect(carrying(map[string]string{first: two, second: one}), 1, pair+", exchanged")
			expect(carrying(map[string]string{first: one}), 1, pair+", without the second")
			expect(carrying(map[string]string{second: two}), 1, pair+", without the first")
		}
	}
	if gitlab.gets != 1 {
		t.Errorf("%d GET", gitlab.gets)
	}
}

// TestACheckTellsGitLabWhoAsksAndNothingThatAGrantDoesNotCover sends what callers like to send.
func TestACheckTellsGitLabWhoAsksAndNothingThatAGrantDoesNotCover(t *testing.T) {
	gitlab := new(agreeable)
	e := startEdge(t, serveHTTP(t, gitlab.ServeHTTP), "max_age 0\nidentity_headers X-Team")
	e.do(t, call{path: filePath("app.bin")})
	gitlab.asked()
	sent := http.Header{}
	for _, name := range []string{
		"Forwarded", "Client-Ip", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "X-Original-Url", "X-Http-Method-Override",
		"Gitlab-Bypass-Rate-Limiting", "Gitlab-Workhorse-Api-Request", "Accept", "Accept-Language", "If-None-Match", "Range", "Referer", "X-Whatever",
		"User-Agent", "X-Gitlab-Static-Object-Token",
	} {
		sent.Set(name, "evil")
	}
	sent.Set("X-Team", "blue")
	e.do(t, call{path: filePath("app.bin"), token: developer, header: sent})
	heads := gitlab.asked()
	if len(heads) != 1 {
		t.Fatalf("%d checks", len(heads))
	}
	for name, values := range heads[0].Header {
		if strings.Contains(strings.Join(values, " "), "evil") {
			t.Errorf("%s came through: %q", name, values)
		}
	}
	if heads[0].Header.Get("X-Team") != "blue" || heads[0].Header.Get("Private-Token") != developer || heads[0].Header.Get("X-Forwarded-For") != "127.0.0.1" {
		t.Errorf("the check was sent with %v", heads[0].Header)
	}
}
