package upstream

import (
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httputil"
	"slices"
)

// Forwarding says how a caller's own request goes on to GitLab.
type Forwarding struct {
	Caller Caller

	// Path is the escaped path below the base path; its bytes reach GitLab as they are (Route.Path).
	Path string

	// DropHeaders are further request headers that must not pass, such as the header that GitLab's admin has chosen
	// to bypass throttling.
	DropHeaders []string

	// OnBody, if set, sees the bytes of the request body as they pass, and whether the body's end was met. The slice is
	// its own only during the call.
	OnBody func(piece []byte, ended bool)

	// Admit, if set, judges the head of the answer before OnAnswer sees it. After an error nothing of the answer is relayed,
	// and Forward returns that error as it is.
	Admit func(*http.Response) error

	// OnAnswer, if set, sees the head of the answer before it is relayed, and may add to its headers.
	OnAnswer func(*http.Response)
}

// untrustedHeaders are never passed on. They would let a caller tell GitLab, or something in front of it, who or what the
// request is about. Client-Ip beside X-Forwarded-For makes GitLab answer 400 (lib/gitlab/middleware/handle_ip_spoof_attack_error.rb).
// The last one is the bypass header that GitLab's documentation uses.
var untrustedHeaders = []string{
	"Forwarded", "Client-Ip", "X-Client-Ip", "True-Client-Ip", "X-Real-Ip", "X-Cluster-Client-Ip", "X-Original-Url",
	"X-Rewrite-Url", "X-Http-Method-Override", "X-Original-Host", "X-Forwarded-Port", "X-Forwarded-Scheme", "X-Forwarded-Ssl",
	"X-Forwarded-Server", "X-Forwarded-Prefix", "Gitlab-Bypass-Rate-Limiting",
}

// PassesForward reports whether a request header of this canonical name can reach GitLab on a forwarded request.
func PassesForward(name string) bool { return !slices.Contains(untrustedHeaders, name) }

// Forward sends r on to GitLab as it came, its body streaming and never sent twice, and relays GitLab's answer to w
// as it is, informational answers (100 Continue) included. A redirect to object storage is followed and not shown.
//
// An error means that nothing was written to w: an *UnreachableError, or what Admit returned. Once the answer has begun, a failure panics
// with http.ErrAbortHandler, so that what the client has looks broken off and not whole.
//
// When GitLab answers before the body's end, r.Body may still be read, and OnBody called, after Forward has returned.
func (c *Client) Forward(w http.ResponseWriter, r *http.Request, f Forwarding) error {
	target, err := c.target(f.Path, r.URL.RawQuery)
	if err != nil {
		return unreachable("forwarding", err)
	}
	var failed, refused error
	proxy := httputil.ReverseProxy{
		Transport: forwardTransport{c},
		// Written as it arrives: a caller must not wait for a buffer to fill.
		FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			out := pr.Out
			out.URL, out.Host = target, ""
			for _, name := range slices.Concat(untrustedHeaders, f.DropHeaders) {
				out.Header.Del(name)
			}
			f.Caller.setForwarded(out.Header)
			maps.Copy(out.Header, f.Caller.Trace)
			if len(out.Header.Values("Accept-Encoding")) == 0 {
				// Else Go asks for gzip by itself and unpacks it, and the length is lost.
				out.Header.Set("Accept-Encoding", "identity")
			}
			if f.OnBody != nil && out.Body != nil && out.Body != http.NoBody {
				out.Body = &observedBody{ReadCloser: out.Body, observe: f.OnBody}
			}
		},
		ModifyResponse: func(response *http.Response) error {
			// Workhorse takes this header for itself; should one ever pass, it names a path on GitLab's disk.
			response.Header.Del("X-Sendfile")
			if f.Admit != nil {
				if refused = f.Admit(response); refused != nil {
					return refused
				}
			}
			if f.OnAnswer != nil {
				f.OnAnswer(response)
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		// What it would log is said by the panic or the error already, and could hold a URL.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	proxy.ServeHTTP(w, r)
	switch {
	case refused != nil:
		return refused
	case failed == nil:
		return nil
	}
	return unreachable("forwarding", failed)
}

// observedBody shows the bytes of a request body to a function as they are read.
type observedBody struct {
	io.ReadCloser
	observe func([]byte, bool)
}

func (b *observedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.observe(p[:n], errors.Is(err, io.EOF))
	return n, err
}

// forwardTransport sends forwarded requests to GitLab and takes its redirects to object storage upon itself.
type forwardTransport struct{ client *Client }

func (t forwardTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet && request.Method != http.MethodHead {
		return t.pass(request)
	}
	response, err := t.ask(request)
	if err != nil {
		return nil, err
	}
	location, ok := t.client.storageLocation(response)
	if !ok {
		return response, nil
	}
	_ = response.Body.Close()
	stored, err := t.client.followStorage(request.Context(), request.Method, location, request.Header)
	if err == nil && request.Method == http.MethodHead && stored.StatusCode == http.StatusForbidden {
		// Signed for GET alone (see prove).
		_ = stored.Body.Close()
		stored, err = t.client.followStorage(request.Context(), http.MethodGet, location, request.Header)
		if err == nil {
			_ = stored.Body.Close()
			stored.Body = http.NoBody
		}
	}
	if err != nil {
		return nil, err
	}
	return t.relayable(request, stored)
}

// pass sends a request to GitLab without a look at the time: how long an upload may take is its caller's matter. But none
// is begun in vain.
func (t forwardTransport) pass(request *http.Request) (*http.Response, error) {
	if breaker := t.client.breakers.Load().gitlab; breaker.isOpen() {
		return nil, breaker.notAsked()
	}
	return t.client.cfg.Transport.RoundTrip(request)
}

// ask sends a GET or HEAD to GitLab. A redirect to object storage that isn't followed is an error. An upgrade is passed,
// since what follows its answer's head isn't a body.
func (t forwardTransport) ask(request *http.Request) (*http.Response, error) {
	if request.Header.Get("Upgrade") == "" {
		return t.client.askGitLab(request, t.client.cfg.HeaderTimeout)
	}
	return t.client.unlessForbidden(t.pass(request))
}

// relayedFromStorage are the headers of object storage that are about the file. All others are the storage's own.
var relayedFromStorage = []string{
	"Accept-Ranges", "Content-Disposition", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Date",
	"Etag", "Last-Modified",
}

// relayable makes of an answer of the storage one for the caller. Its errors would tell of buckets and keys, and are
// no word of GitLab's, so they are trouble of ours.
func (t forwardTransport) relayable(request *http.Request, stored *http.Response) (*http.Response, error) {
	if stored.StatusCode < http.StatusMultipleChoices && !isStoredFile(stored) {
		_ = stored.Body.Close()
		return nil, &UnreachableError{Err: errNoFile}
	}
	switch stored.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
	default:
		_ = stored.Body.Close()
		return nil, statusUnreachable(stored)
	}
	for name := range stored.Header {
		if !slices.Contains(relayedFromStorage, name) {
			stored.Header.Del(name)
		}
	}
	// The redirect that this stands for may be kept by nobody; its answer has validators and looks as if it could be.
	stored.Header.Set("Cache-Control", "private, no-cache")
	stored.Header.Set("X-Content-Type-Options", "nosniff")
	stored.Request = request
	return stored, nil
}
