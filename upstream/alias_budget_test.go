package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// TestWhoSharesAQuestionThatWasTooMuchForAnotherAsksOnTheirOwn: whoever leads the question has no budget left, which says
// nothing of those who wait for the same answer.
func TestWhoSharesAQuestionThatWasTooMuchForAnotherAsksOnTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		client := clientOf(t, nil, func(request *http.Request) (*http.Response, error) {
			if strings.HasSuffix(request.URL.Path, "/projects/24") { // and not the probe
				asked++
			}
			return &http.Response{
				StatusCode: http.StatusOK, Header: http.Header{}, Request: request,
				Body: io.NopCloser(strings.NewReader(`{"id":24,"path_with_namespace":"group/app"}`)),
			}, nil
		})
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
