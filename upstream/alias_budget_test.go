package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
)

type answeredBy func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (a answeredBy) RoundTrip(request *http.Request) (*http.Response, error) { return a(request) }

// TestWhoSharesAQuestionThatWasTooMuchForAnotherAsksOnTheirOwn: whoever leads the question has no budget left, which says
// nothing of those who wait for the same answer.
func TestWhoSharesAQuestionThatWasTooMuchForAnotherAsksOnTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		client, err := NewClient(Config{
			Base: &url.URL{Scheme: "http", Host: "gitlab.example.com"}, StorageTransport: http.DefaultTransport,
			Transport: answeredBy(func(request *http.Request) (*http.Response, error) {
				asked++
				return &http.Response{
					StatusCode: http.StatusOK, Header: http.Header{}, Request: request,
					Body: io.NopCloser(strings.NewReader(`{"id":24,"path_with_namespace":"group/app"}`)),
				}, nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		aliases := NewAliases(client, "glpat-admin", NewAliasMemory())
		release := make(chan struct{})
		led := aliases.asking.DoChan("24", func() (any, error) {
			<-release
			return nil, ErrTooManyNames
		})
		answers := make(chan ProjectNames, 1)
		go func() { // ends with the answer
			names, err := aliases.Ask(context.Background(), "24", OfUnknownCaller("192.0.2.1"))
			if err != nil {
				t.Error(err)
			}
			answers <- names
		}()
		synctest.Wait()
		close(release)
		if got := <-led; !errors.Is(got.Err, ErrTooManyNames) {
			t.Errorf("the leader: %v", got.Err)
		}
		if names := <-answers; names.ID != "24" || asked != 1 {
			t.Errorf("%+v, GitLab was asked %d times", names, asked)
		}
	})
}
