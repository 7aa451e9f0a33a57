package upstream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// signature is what no server but the storage may see, and no caller.
const signature = "s3cr3t-signature"

// seenRequests are the requests that reached servers, in order.
type seenRequests struct {
	mu   sync.Mutex // guards all
	seen []*http.Request
}

func (s *seenRequests) add(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r)
}

func (s *seenRequests) all() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// noted is a handler that notes the requests which it answers, save probes.
func (s *seenRequests) noted(answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isProbe(r) {
			return // of GitLab or of the storage
		}
		s.add(r)
		answer(w, r)
	})
}

// redirectsTo is an answer that leads to a signed URL.
func redirectsTo(base string) http.HandlerFunc {
	return answerWith(http.StatusTemporaryRedirect, "Location", base+"/object?X-Amz-Signature="+signature)
}

// aStoredFile answers as object storage does.
func aStoredFile(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Disposition", "attachment")
	w.Header().Set("Etag", `"1"`)
	http.ServeContent(w, r, "", lastModifiedTime, bytes.NewReader([]byte("0123456789")))
}

// waysToStorage are what leads a request to the object storage. Each returns what went wrong, and the answer if one was shown.
var waysToStorage = map[string]func(*upstream.Client, http.Header, string) (*httptest.ResponseRecorder, error){
	"check": func(client *upstream.Client, header http.Header, query string) (*httptest.ResponseRecorder, error) {
		answer := client.Check(context.Background(), upstream.Question{Caller: whoSends(header, query), Ref: ref, Follow: true})
		if answer.Err != nil {
			return nil, answer.Err
		}
		if answer.Verdict != upstream.Allowed || answer.Unproven || answer.Identity.Length != 10 {
			return nil, errors.New("the check isn't answered by a proven yes")
		}
		return nil, nil
	},
	"fetch": func(client *upstream.Client, header http.Header, query string) (*httptest.ResponseRecorder, error) {
		download, err := client.Fetch(context.Background(), whoSends(header, query), ref)
		if err != nil {
			return nil, err
		}
		defer download.Close()
		got, err := io.ReadAll(download)
		if err == nil && string(got) != "0123456789" {
			err = errors.New("another file was fetched")
		}
		return nil, err
	},
	"forwarded GET":  forwardsBy(http.MethodGet),
	"forwarded HEAD": forwardsBy(http.MethodHead),
}

func whoSends(header http.Header, query string) upstream.Caller {
	return upstream.Caller{Credential: upstream.CredentialOf(header, query, []string{"X-Remote-User"}), ClientIP: "192.0.2.7", Proto: "https", Host: "edge.example.com"}
}

func forwardsBy(method string) func(*upstream.Client, http.Header, string) (*httptest.ResponseRecorder, error) {
	return func(client *upstream.Client, header http.Header, query string) (*httptest.ResponseRecorder, error) {
		request := httptest.NewRequestWithContext(context.Background(), method, ref.EscapedPath()+"?"+query, nil)
		request.Header = header.Clone()
		recorder := httptest.NewRecorder()
		err := client.Forward(recorder, request, upstream.Forwarding{Caller: whoSends(header, query), Path: ref.EscapedPath()})
		if err == nil && recorder.Code != http.StatusOK {
			err = errors.New("answered " + strconv.Itoa(recorder.Code))
		}
		return recorder, err
	}
}

// TestNothingOfACallersReachesObjectStorage sends each carrier alone, by each way, over two hosts of the storage, and looks at
// what these got: the signed URL, the range and conditions, and nothing that says who asks.
func TestNothingOfACallersReachesObjectStorage(t *testing.T) {
	const secret = "glpat-of-the-caller" //nolint:gosec // nobody's
	type sending struct {
		header http.Header
		query  string
	}
	sendings := map[string]sending{"nothing": {http.Header{}, ""}}
	for _, name := range []string{
		"Authorization", "Private-Token", "Job-Token", "Deploy-Token", "Cookie", "Sudo", "Dpop", "X-Remote-User", // carriers
		"Referer", "Proxy-Authorization", "X-Forwarded-For", "X-Forwarded-Host", "Origin", "User-Agent", "Accept", "Traceparent", "X-Csrf-Token",
	} {
		sendings[name] = sending{http.Header{name: {secret}}, ""}
	}
	sendings["Bearer"] = sending{http.Header{"Authorization": {"Bearer " + secret}}, ""}
	sendings["Basic"] = sending{http.Header{"Authorization": {"Basic dXNlcjpnbHBhdC1vZi10aGUtY2FsbGVy"}}, ""}
	for _, name := range []string{"private_token", "access_token", "bearer_token", "job_token", "token", "sudo"} {
		sendings["?"+name] = sending{http.Header{}, name + "=" + secret}
	}
	var stored, asked seenRequests
	second := httptest.NewServer(stored.noted(aStoredFile))
	first := httptest.NewServer(stored.noted(redirectsTo(second.URL)))
	gitlab := httptest.NewServer(asked.noted(redirectsTo(first.URL)))
	client := newClient(t, gitlab.URL, nil, gitlab, first, second)
	harmless := []string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "User-Agent", "Accept-Encoding"}
	for how, send := range waysToStorage {
		for name, what := range sendings {
			before, askedBefore := len(stored.all()), len(asked.all())
			if _, err := send(client, what.header, what.query); err != nil {
				t.Fatalf("%s with %s: %v", how, name, err)
			}
			// The way is one that a credential takes: GitLab got it.
			for _, request := range asked.all()[askedBefore:] {
				for carrier := range what.header {
					if slices.Contains(upstream.CarrierHeaders, carrier) && request.Header.Get(carrier) != what.header.Get(carrier) {
						t.Errorf("%s: GitLab didn't get %s", how, carrier)
					}
				}
				if request.URL.RawQuery != what.query {
					t.Errorf("%s: GitLab was asked by %q", how, request.URL.RawQuery)
				}
			}
			got := stored.all()[before:]
			if len(got) != 2 {
				t.Fatalf("%s with %s: the storage was asked %d times", how, name, len(got))
			}
			for hop, request := range got {
				for header, values := range request.Header {
					if !slices.Contains(harmless, header) || strings.Contains(strings.Join(values, " "), secret) {
						t.Errorf("%s with %s: hop %d got %s: %q", how, name, hop, header, values)
					}
				}
				if request.URL.RequestURI() != "/object?X-Amz-Signature="+signature || request.Header.Get("User-Agent") != "caddy-gitlab-packages" {
					t.Errorf("%s with %s: hop %d was asked for %s by %s", how, name, hop, request.URL.RequestURI(), request.UserAgent())
				}
			}
		}
	}
}

// TestRangeAndConditionsOfAForwardedDownloadReachEachHop, and they reach it as they were sent.
func TestRangeAndConditionsOfAForwardedDownloadReachEachHop(t *testing.T) {
	var stored seenRequests
	second := httptest.NewServer(stored.noted(aStoredFile))
	first := httptest.NewServer(stored.noted(redirectsTo(second.URL)))
	gitlab := httptest.NewServer(redirectsTo(first.URL))
	client := newClient(t, gitlab.URL, nil, gitlab, first, second)
	for name, value := range map[string]string{
		"Range": "bytes=2-4", "If-Range": `"1"`, "If-Match": `"1"`, "If-None-Match": `"1"`,
		"If-Modified-Since": lastModified, "If-Unmodified-Since": lastModified,
	} {
		before := len(stored.all())
		_, _ = forwardsBy(http.MethodGet)(client, http.Header{name: {value}}, "") // 206, 304 and 412 are no 200
		for hop, request := range stored.all()[before:] {
			if request.Header.Get(name) != value {
				t.Errorf("%s: hop %d got %q", name, hop, request.Header.Get(name))
			}
		}
		if len(stored.all()) != before+2 {
			t.Errorf("%s: the storage was asked %d times", name, len(stored.all())-before)
		}
	}
}

// TestStorageIsFollowedOverThreeRedirectsOfItsOwnAndNoMore: the limit is of four requests.
func TestStorageIsFollowedOverThreeRedirectsOfItsOwnAndNoMore(t *testing.T) {
	for how, send := range waysToStorage {
		for redirects, reached := range map[int]bool{0: true, 1: true, 2: true, 3: true, 4: false, 5: false} {
			t.Run(how+" "+strconv.Itoa(redirects), func(t *testing.T) {
				var stored seenRequests
				storage := httptest.NewServer(stored.noted(func(w http.ResponseWriter, r *http.Request) {
					left, err := strconv.Atoi(r.URL.Query().Get("left"))
					if err != nil {
						t.Error(err)
					}
					if left == 0 {
						aStoredFile(w, r)
						return
					}
					w.Header().Set("Location", "/object?X-Amz-Signature="+signature+"&left="+strconv.Itoa(left-1))
					w.WriteHeader(http.StatusFound)
				}))
				location := storage.URL + "/object?X-Amz-Signature=" + signature + "&left=" + strconv.Itoa(redirects)
				gitlab := httptest.NewServer(answerWith(http.StatusFound, "Location", location))
				client := newClient(t, gitlab.URL, nil, gitlab, storage)
				_, err := send(client, http.Header{"Private-Token": {token}}, "")
				if (err == nil) != reached || len(stored.all()) != min(redirects+1, 4) {
					t.Errorf("the storage was asked %d times: %v", len(stored.all()), err)
				}
				if _, ok := errors.AsType[*upstream.UnreachableError](err); err != nil && (!ok || strings.Contains(err.Error(), signature)) {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

// TestStorageNeverLeadsFromHTTPSToHTTP has GitLab and storages of both schemes. Who is led down to http asks nobody there, and the
// caller sees no URL.
func TestStorageNeverLeadsFromHTTPSToHTTP(t *testing.T) {
	for name, test := range map[string]struct {
		gitlab, first, second string
		// last is whether the second storage is reached.
		last bool
	}{
		"http all along":               {"http", "http", "http", true},
		"up to https":                  {"http", "http", "https", true},
		"https all along":              {"https", "https", "https", true},
		"down from the storage":        {"https", "https", "http", false},
		"up and down again":            {"http", "https", "http", false},
		"down from GitLab":             {"https", "http", "http", false},
		"down from GitLab and up":      {"https", "http", "https", false},
		"http, and from there to ftp":  {"http", "http", "ftp", false},
		"https, and from there to ftp": {"https", "https", "ftp", false},
	} {
		for how, send := range waysToStorage {
			t.Run(name+", "+how, func(t *testing.T) {
				certificates := x509.NewCertPool()
				begin := func(scheme string, handler http.Handler) *httptest.Server {
					if scheme == "http" {
						return httptest.NewServer(handler)
					}
					server := httptest.NewTLSServer(handler)
					certificates.AddCert(server.Certificate())
					return server
				}
				var atFirst, atSecond seenRequests
				second := begin(strings.Replace(test.second, "ftp", "http", 1), atSecond.noted(aStoredFile))
				first := begin(test.first, atFirst.noted(redirectsTo(withScheme(t, second.URL, test.second))))
				gitlab := begin(test.gitlab, redirectsTo(first.URL))
				client := newClient(t, gitlab.URL, func(c *upstream.Config) {
					for _, transport := range []http.RoundTripper{c.Transport, c.StorageTransport} {
						transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: certificates, MinVersion: tls.VersionTLS12}
					}
				}, gitlab, first, second)
				recorder, err := send(client, http.Header{"Private-Token": {token}}, "")
				if (err == nil) != test.last || (len(atSecond.all()) > 0) != test.last {
					t.Errorf("%v; the second storage was asked %d times", err, len(atSecond.all()))
				}
				if test.gitlab == "https" && test.first == "http" && len(atFirst.all()) > 0 {
					t.Error("from GitLab's https a storage of http was asked")
				}
				if err == nil {
					return
				}
				if _, ok := errors.AsType[*upstream.UnreachableError](err); !ok || strings.Contains(err.Error(), signature) {
					t.Errorf("%v", err)
				}
				if recorder != nil && (len(recorder.Header()) > 0 || recorder.Body.Len() > 0) {
					t.Errorf("the caller sees %v %s", recorder.Header(), recorder.Body)
				}
			})
		}
	}
}

func withScheme(t *testing.T, base, scheme string) string {
	t.Helper()
	parsed, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	parsed.Scheme = scheme
	return parsed.String()
}
