package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// forwarded sends a request on and returns what its caller sees.
func forwarded(client *upstream.Client, request *http.Request, how upstream.Forwarding) (*httptest.ResponseRecorder, error) {
	recorder := httptest.NewRecorder()
	if how.Path == "" {
		how.Path = ref.EscapedPath()
	}
	return recorder, client.Forward(recorder, request, how)
}

func expectNothingShown(t *testing.T, what string, recorder *httptest.ResponseRecorder) {
	t.Helper()
	if len(recorder.Header()) > 0 || recorder.Body.Len() > 0 {
		t.Errorf("%s: the caller sees %v %s", what, recorder.Header(), recorder.Body)
	}
}

func TestAForwardedRequestTellsOnlyTheAddressThatCaddyTrusts(t *testing.T) {
	var seen http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header.Clone() }))
	client := newClient(t, server.URL, nil, server)
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		request.Header.Set(name, "made-up")
	}
	request.Header.Set("Traceparent", "of the caller's own")
	if _, err := forwarded(client, request, upstream.Forwarding{}); err != nil {
		t.Fatal(err)
	}
	for name, values := range seen {
		if strings.HasPrefix(name, "X-Forwarded-") {
			t.Errorf("without an address GitLab is told %s: %q", name, values)
		}
	}
	caller := upstream.Caller{ClientIP: "192.0.2.7", Proto: "https", Host: "edge.example.com", Trace: http.Header{"Traceparent": {"00-1-2-01"}}}
	if _, err := forwarded(client, request, upstream.Forwarding{Caller: caller}); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(seen["X-Forwarded-For"], seen["X-Forwarded-Proto"], seen["X-Forwarded-Host"], seen["Traceparent"])
	if got != "[192.0.2.7] [https] [edge.example.com] [00-1-2-01]" {
		t.Error(got)
	}
}

func TestAnAnswerThatIsNotAdmittedIsNotShown(t *testing.T) {
	server := httptest.NewServer(answerWith(200, "X-Its-Own", "yes"))
	client := newClient(t, server.URL, nil, server)
	notAdmitted := errors.New("not this one")
	shown := false
	recorder, err := forwarded(client, httptest.NewRequest(http.MethodGet, "/", nil), upstream.Forwarding{
		Admit: func(response *http.Response) error {
			return map[bool]error{true: notAdmitted}[response.StatusCode == 200]
		},
		OnAnswer: func(*http.Response) { shown = true },
	})
	if err != notAdmitted || shown { //nolint:errorlint // as it is
		t.Errorf("%v, shown: %v", err, shown)
	}
	expectNothingShown(t, "an answer", recorder)
}

func TestAPathThatCannotBeSentIsSentNowhere(t *testing.T) {
	server := httptest.NewServer(answerWith(200))
	client := newClient(t, server.URL, nil, server)
	recorder, err := forwarded(client, httptest.NewRequest(http.MethodGet, "/", nil), upstream.Forwarding{Path: "/%zz"})
	if _, ok := errors.AsType[*upstream.UnreachableError](err); !ok {
		t.Error(err)
	}
	expectNothingShown(t, "the path", recorder)
}

func TestACallerWhoLeavesIsNoTroubleOfGitLabs(t *testing.T) {
	asked := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	client := newClient(t, server.URL, nil, server)
	ctx, leave := context.WithCancel(context.Background())
	go func() { // ends with the question
		<-asked
		leave()
	}()
	_, err := forwarded(client, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil), upstream.Forwarding{})
	if unreachable, ok := errors.AsType[*upstream.UnreachableError](err); !ok || unreachable.Trouble != upstream.TroubleCaller {
		t.Errorf("%+v", err)
	}
}

// TestASignedURLIsShownToNobodyWhoWrites answers an upload by a redirect to the object storage.
func TestASignedURLIsShownToNobodyWhoWrites(t *testing.T) {
	server := httptest.NewServer(answerWith(307, "Location", "https://s3.example.com/x?X-Amz-Signature=s3cr3t"))
	client := newClient(t, server.URL, nil, server)
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete} {
		recorder, err := forwarded(client, httptest.NewRequest(method, "/", nil), upstream.Forwarding{})
		if _, ok := errors.AsType[*upstream.UnreachableError](err); !ok || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v", method, err)
		}
		expectNothingShown(t, method, recorder)
	}
}

// TestHeadersOfTheSiteOutliveAnAnswerThatBreaksOff has an informational answer and no other: the site's headers are there for
// whoever writes the error.
func TestHeadersOfTheSiteOutliveAnAnswerThatBreaksOff(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		panic(http.ErrAbortHandler)
	}))
	client := newClient(t, server.URL, nil, server)
	recorder := httptest.NewRecorder()
	recorder.Header().Set("Strict-Transport-Security", "max-age=1")
	err := client.Forward(recorder, httptest.NewRequest(http.MethodGet, "/", nil), upstream.Forwarding{Path: ref.EscapedPath()})
	if err == nil || fmt.Sprint(recorder.Header()["Strict-Transport-Security"]) != "[max-age=1]" {
		t.Errorf("%v; %v", err, recorder.Header())
	}
}
