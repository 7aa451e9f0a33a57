//nolint:bodyclose // answers are made up; their bodies are what is tested, or there is none
package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheLatestAnswerOfAServerBelow500IsWhatWasHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		breakers := NewBreakers(BreakerConfig{})
		begun := time.Now()
		for _, host := range []string{"one", "two", "three"} {
			breakers.storageAt(host).hear(200, false)
			time.Sleep(time.Second)
		}
		breakers.storageAt("four").hear(499, true)
		breakers.storageAt("five").hear(500, false)
		for range 20 { // in whatever order they come
			if got := breakers.Heard(ServerStorage); !got.At.Equal(begun.Add(3*time.Second)) || !got.RedirectsToHTTPS {
				t.Errorf("%+v", got)
			}
		}
		if got := breakers.Heard(ServerGitLab); !got.At.IsZero() {
			t.Errorf("GitLab: %+v", got)
		}
	})
}

func TestAnAnswerOfTheStorageIsHeardForWhomeverItIs(t *testing.T) {
	for _, by := range []requester{theEdge, aCaller} {
		client := clientBy(t, nil, func(request *http.Request) (*http.Response, error) {
			return answerOf(request, 200, nil, http.NoBody), nil
		})
		request := (&http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: "s3.example.com"}, Header: http.Header{}}).WithContext(t.Context())
		if _, err := client.askStorage(request, by); err != nil {
			t.Fatal(err)
		}
		if got := client.breakers.Load().Heard(ServerStorage); got.At.IsZero() || got.RedirectsToHTTPS {
			t.Errorf("by %d: %+v", by, got)
		}
	}
}

func TestOnlyARedirectFromHTTPToTheSamePathLeadsToHTTPS(t *testing.T) {
	asked := &http.Request{URL: &url.URL{Scheme: "http", Host: "gitlab.example.com", Path: "/f"}}
	for name, test := range map[string]struct {
		base, location string
		request        *http.Request
		want           bool
	}{
		"the same path":          {"http", "https://gitlab.example.com/f", asked, true},
		"another path":           {"http", "https://gitlab.example.com/g", asked, false},
		"by http":                {"http", "http://gitlab.example.com/f", asked, false},
		"from https":             {"https", "https://gitlab.example.com/f", asked, false},
		"of storage":             {"http", "https://s3.example.com/f?X-Amz-Signature=a", asked, false},
		"without a request":      {"http", "https://gitlab.example.com/f", nil, false},
		"of a request to no URL": {"http", "https://gitlab.example.com/f", new(http.Request), false},
	} {
		client := clientBy(t, func(c *Config) { c.Base = &url.URL{Scheme: test.base, Host: "gitlab.example.com"} }, nil)
		response := answerOf(test.request, 301, http.Header{"Location": {test.location}}, http.NoBody)
		if got := client.redirectsToHTTPS(response); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	body := &stepBody{Reader: strings.NewReader("")}
	client := clientBy(t, nil, nil)
	if _, err := client.unlessForbidden(answerOf(asked, 301, http.Header{"Location": {"https://gitlab.example.com/f"}}, body), nil); !errors.Is(err, ErrRedirectsToHTTPS) || !body.closed.Load() {
		t.Errorf("%v; closed: %v", err, body.closed.Load())
	}
}

func TestAProbeHoldsTheEdgeWhileItIsOnItsWay(t *testing.T) {
	held := 0
	client := clientBy(t, func(c *Config) {
		c.Hold = func() func() {
			held++
			return func() { held-- }
		}
		c.ProbeTransport = roundTripFunc(func(request *http.Request) (*http.Response, error) {
			if held != 1 {
				t.Errorf("held %d times", held)
			}
			return answerOf(request, 500, nil, http.NoBody), nil
		})
	}, nil)
	if answer := client.AskAtStart(t.Context()); answer.Err == nil || held != 0 {
		t.Errorf("%+v; held %d times", answer, held)
	}
}

// TestARemainderHasTheFirstAnswersNameIfItsOwnHasNone: and of what breaks off after it no other bytes are taken.
func TestARemainderHasTheFirstAnswersNameIfItsOwnHasNone(t *testing.T) {
	for own, want := range map[string]string{"": "first", "attachment; filename=second": "attachment; filename=second"} {
		s := &script{answers: []func(*http.Request) (*http.Response, error){func(request *http.Request) (*http.Response, error) {
			header := partOf("3-5/6")
			if own != "" {
				header.Set("Content-Disposition", own)
			}
			response := answerOf(request, 206, header, io.NopCloser(strings.NewReader("def")))
			response.ContentLength = 3
			return response, nil
		}}}
		progress := Progress{identity: Identity{ETag: `"1"`, Length: 6}, disposition: "first", offset: 3}
		rest, err := clientBy(t, nil, s.RoundTrip).FetchRemainder(t.Context(), Caller{}, refOfSteps, progress)
		if err != nil {
			t.Fatal(err)
		}
		if rest.Disposition != want || rest.takesAll {
			t.Errorf("%q: %q, takes all: %v", own, rest.Disposition, rest.takesAll)
		}
	}
}

func TestWhatAnOwnPatternRefusesIsToldAsSuch(t *testing.T) {
	rules, err := CustomRules("[a-z]+", "", "")
	if err != nil {
		t.Fatal(err)
	}
	invalid, ok := errors.AsType[*InvalidError](rules.Check(Ref{Package: "UPPER", Version: "1.0.0", File: "f"}))
	if !ok || invalid.Parameter != "package_name" || !strings.Contains(invalid.Allowed, "the pattern in the edge's settings") {
		t.Errorf("%+v", invalid)
	}
}
