package upstream_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// serverThat starts a server that answers each request by a function, and returns the requests too.
func serverThat(t *testing.T, answer http.HandlerFunc) (server *httptest.Server, asked chan *http.Request) {
	t.Helper()
	asked = make(chan *http.Request, 100)
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		answer(w, r)
	}))
	return server, asked
}

func answerOf(status int, kind, location string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.WriteHeader(status)
	}
}

func TestTheStartsQuestionTellsHowGitLabAnswers(t *testing.T) {
	const probePath = "/api/v4/projects/0/packages/generic/probe/0.0.0/probe"
	gitlab := newGitLab(t)
	if got := newClient(t, gitlab.URL, nil, gitlab).AskAtStart(t.Context()); got.Err != nil || got.Status != http.StatusUnauthorized || !got.LooksLikeGitLab() || got.Took <= 0 {
		t.Errorf("GitLab: %+v", got)
	}
	for name, test := range map[string]struct {
		answer   http.HandlerFunc
		gitlab   bool
		location string
		err      string
	}{
		"a missing project":  {answerOf(404, "application/json; charset=utf-8", ""), true, "", ""},
		"a page":             {answerOf(404, "text/html", ""), false, "", ""},
		"all is well":        {answerOf(200, "application/json", ""), false, "", ""},
		"a log-in":           {answerOf(302, "text/html", "https://login.example.com/sign_in?back=secret"), false, "https://login.example.com/sign_in", ""},
		"a move by http":     {answerOf(301, "text/html", "http://gitlab.example.com"+probePath), false, "http://gitlab.example.com" + probePath, ""},
		"a move to https":    {answerOf(301, "text/html", "https://gitlab.example.com"+probePath), false, "https://gitlab.example.com" + probePath, upstream.ErrRedirectsToHTTPS.Error()},
		"a front on its own": {answerOf(502, "text/html", ""), false, "", "it answered 502 Bad Gateway"},
		"no HTTP":            {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false, "", "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			server, asked := serverThat(t, test.answer)
			client := newClient(t, server.URL, nil, server)
			got := client.AskAtStart(t.Context())
			if got.LooksLikeGitLab() != test.gitlab || got.Location != test.location || (got.Err == nil) != (test.err == "") || (got.Err != nil && got.Err.Error() != test.err) {
				t.Errorf("%+v", got)
			}
			if len(asked) != 1 {
				t.Errorf("it was asked %d times", len(asked))
			}
			if r := <-asked; r.Method != http.MethodGet || r.URL.Path != probePath || r.URL.RawQuery != "" || r.Header.Get("Private-Token")+r.Header.Get("Authorization")+r.Header.Get("Cookie") != "" {
				t.Errorf("asked %s %s with %v", r.Method, r.URL, r.Header)
			}
		})
	}
}

func TestTheStartsQuestionOpensNoBreakerAndMakesNoProbeBelieved(t *testing.T) {
	server, _ := serverThat(t, answerOf(503, "text/html", ""))
	client := newClient(t, server.URL, nil, server)
	breakers := upstream.NewBreakers(upstream.BreakerConfig{})
	client.UseBreakers(breakers)
	for range 5 {
		if got := client.AskAtStart(t.Context()); got.Err == nil {
			t.Errorf("%+v", got)
		}
	}
	if down := breakers.Down(); len(down) > 0 || breakers.ProbeAnswered() || !breakers.Heard(upstream.ServerGitLab).At.IsZero() {
		t.Errorf("%v, believed %v, heard %v", down, breakers.ProbeAnswered(), breakers.Heard(upstream.ServerGitLab))
	}
}

func TestTheStartsQuestionEndsWithItsContext(t *testing.T) {
	reached, ended := make(chan struct{}), make(chan struct{})
	server, _ := serverThat(t, func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
		close(ended)
	})
	client := newClient(t, server.URL, nil, server)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // ends with the request
		<-reached
		cancel()
	}()
	if got := client.AskAtStart(ctx); !errors.Is(got.Err, context.Canceled) {
		t.Errorf("%+v", got)
	}
	<-ended
}

// toHTTPS redirects all requests to the same path by https, as web servers are told to.
func toHTTPS(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	http.Redirect(w, r, "https://gitlab.example.com"+r.URL.RequestURI(), http.StatusMovedPermanently) //nolint:gosec // a server of the test
}

func TestARedirectToHTTPSIsFollowedByNobodyAndShown(t *testing.T) {
	answer := http.HandlerFunc(toHTTPS)
	server, _ := serverThat(t, func(w http.ResponseWriter, r *http.Request) { answer(w, r) })
	client := newClient(t, server.URL, nil, server)
	breakers := upstream.NewBreakers(upstream.BreakerConfig{})
	client.UseBreakers(breakers)
	caller := upstream.Caller{}
	forward := func(method string) error {
		recorder := httptest.NewRecorder()
		err := client.Forward(recorder, httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader("body")), upstream.Forwarding{Caller: caller, Path: ref.EscapedPath()})
		if len(recorder.Header()) > 0 || recorder.Body.Len() > 0 {
			t.Errorf("%s was answered %v %s", method, recorder.Header(), recorder.Body)
		}
		return err
	}
	for name, ask := range map[string]func() error{
		"a question": func() error { return client.Check(t.Context(), upstream.Question{Caller: caller, Ref: ref}).Err },
		"a fetch": func() error {
			_, err := client.Fetch(t.Context(), caller, ref)
			return err
		},
		"a list": func() error {
			_, err := client.PackageFiles(t.Context(), caller, ref.Project, ref.Package, "")
			return err
		},
		"a download": func() error { return forward(http.MethodGet) },
		"an upload":  func() error { return forward(http.MethodPut) },
		"a deletion": func() error { return forward(http.MethodDelete) },
	} {
		err := ask()
		unreachable, ok := errors.AsType[*upstream.UnreachableError](err)
		if !errors.Is(err, upstream.ErrRedirectsToHTTPS) || !ok || unreachable.Trouble.IsOutage() {
			t.Errorf("%s: %v", name, err)
		}
		if !breakers.Heard(upstream.ServerGitLab).RedirectsToHTTPS {
			t.Errorf("%s: nobody can see why", name)
		}
	}
	// Mended without a new config, as by a rule in the web server.
	answer = answerOf(404, "application/json", "")
	if answer := client.Check(t.Context(), upstream.Question{Caller: caller, Ref: ref}); answer.Verdict != upstream.Refused {
		t.Errorf("%+v", answer)
	}
	if heard := breakers.Heard(upstream.ServerGitLab); heard.RedirectsToHTTPS || heard.At.IsZero() {
		t.Errorf("%+v", heard)
	}
}

// TestARedirectElsewhereStaysARefusal has redirects that aren't GitLab's wish to be asked by https.
func TestARedirectElsewhereStaysARefusal(t *testing.T) {
	for name, location := range map[string]string{
		"to a log-in":      "https://gitlab.example.com/users/sign_in",
		"to a host":        "http://other.example.com" + ref.EscapedPath(),
		"to a new project": "https://gitlab.example.com/api/v4/projects/25/packages/generic/pkg/1.0.0/app.bin",
	} {
		server, _ := serverThat(t, answerOf(302, "text/html", location))
		client := newClient(t, server.URL, nil, server)
		if answer := client.Check(t.Context(), upstream.Question{Ref: ref}); answer.Verdict != upstream.Refused || answer.No == nil || answer.No.Header.Get("Location") != location {
			t.Errorf("%s: %+v", name, answer)
		}
	}
}
