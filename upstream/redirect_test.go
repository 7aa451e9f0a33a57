package upstream_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// TestARedirectToStorageThatIsNotFollowedIsShownToNobody asks by check, fetch and forward; GitLab speaks https.
func TestARedirectToStorageThatIsNotFollowedIsShownToNobody(t *testing.T) {
	for name, test := range map[string]struct {
		location string
		relayed  bool
	}{
		"down to http":                  {location: "http://s3.example.com/x?X-Amz-Signature=s3cr3t"},
		"another scheme":                {location: "ftp://s3.example.com/x?X-Goog-Signature=s3cr3t"},
		"no host":                       {location: "file:///x?X-Amz-Signature=s3cr3t"},
		"a user":                        {location: "https://u:p@s3.example.com/x?X-Amz-Signature=s3cr3t"}, //nolint:gosec // nobody has it
		"down to http, by a named host": {location: "http://minio.example.com:9000/s3cr3t"},
		"a log-in page":                 {location: "http://sso.example.com/login?next=s3cr3t", relayed: true},
		"a signed log-in page":          {location: "http://sso.example.com/login?SAMLRequest=x&SigAlg=y&Signature=s3cr3t", relayed: true},
		"a page of its own":             {location: "/users/sign_in?X-Amz-Signature=s3cr3t", relayed: true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", test.location)
				w.WriteHeader(http.StatusFound)
				_, _ = w.Write([]byte("moved to " + test.location))
			}))
			client := newClient(t, server.URL, func(c *upstream.Config) {
				c.Transport.(*http.Transport).TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
				c.StorageHosts = []string{"minio.example.com:9000"}
			}, server)
			expect := func(how string, err error) {
				t.Helper()
				_, unreachable := errors.AsType[*upstream.UnreachableError](err)
				if unreachable == test.relayed {
					t.Errorf("%s: %v", how, err)
				}
				if err != nil && strings.Contains(err.Error(), "s3cr3t") {
					t.Errorf("%s: the error shows it: %v", how, err)
				}
			}
			answer := client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Follow: true})
			if answer.Err != nil {
				expect("check", answer.Err)
			} else {
				expect("check", nil)
			}
			_, err := client.Fetch(context.Background(), callerWith(token), ref)
			expect("fetch", err)
			for how, header := range map[string]http.Header{
				"forward": {}, "forward an upgrade": {"Upgrade": {"websocket"}, "Connection": {"Upgrade"}},
			} {
				recorder, request := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, ref.EscapedPath(), nil)
				request.Header = header
				expect(how, client.Forward(recorder, request, upstream.Forwarding{Path: ref.EscapedPath(), Caller: callerWith(token)}))
				if shown := recorder.Header().Get("Location") != ""; shown != test.relayed {
					t.Errorf("%s: %d, %v, %s", how, recorder.Code, recorder.Header(), recorder.Body)
				}
			}
		})
	}
}
