package upstream

import (
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
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

	// Standing says what GitLab is known to think of the caller.
	Standing Standing

	// Delivery, if set, tells what became of the request's body.
	Delivery *Delivery

	// AwaitAnswer, if set, is asked when the caller leaves after the whole body has gone to GitLab: with ok GitLab's answer is
	// waited for all the same, for at most Config.PublishTimeout, until release is called. Methods other than GET and HEAD only.
	AwaitAnswer func() (release func(), ok bool)

	// OnBody, if set, sees the bytes of the request body as they pass. The slice is its own only during the call.
	OnBody func(piece []byte)

	// Admit, if set, judges the head of the answer before OnAnswer sees it. After an error nothing of the answer is relayed,
	// and Forward returns that error as it is.
	Admit func(*http.Response) error

	// OnAnswer, if set, sees the head of the answer before it is relayed, and may add to its headers.
	OnAnswer func(*http.Response)

	// expects says that the edge has added an expectation (expectation.go).
	expects bool
	// upgrades says that the request asks for a WebSocket, and may get one (upgrade.go).
	upgrades bool
}

// Forward sends r on to GitLab as it came, its body streaming and never sent twice, and relays GitLab's answer to w as it is,
// informational answers included, such as a 100 Continue that the caller expects. A redirect to object storage is followed and
// not shown.
//
// An error means that nothing was written to w: an *UnreachableError, or what Admit returned. Once the answer has begun, a
// failure panics with http.ErrAbortHandler, so that what the client has looks broken off and not whole.
//
// When GitLab answers before the body's end, r.Body may still be read, and OnBody called, after Forward has returned.
func (c *Client) Forward(w http.ResponseWriter, r *http.Request, f Forwarding) error {
	target, err := c.target(f.Path, r.URL.RawQuery)
	if err != nil {
		return unreachable("forwarding", err)
	}
	if f.Delivery == nil {
		f.Delivery = new(Delivery)
	}
	f.expects = c.addsExpectation(r)
	var refused error
	unreached := relay(w, r, target, forwardTransport{c, f}, f, func(response *http.Response) error {
		if f.Admit != nil {
			if refused = f.Admit(response); refused != nil {
				return refused
			}
		}
		if f.OnAnswer != nil {
			f.OnAnswer(response)
		}
		return nil
	})
	switch {
	case refused != nil:
		return refused
	case unreached != nil:
		return unreached
	}
	return nil
}

// relay sends r to target by a transport, as f says, and relays the answer to w after onAnswer has seen its head. An error of
// onAnswer's takes the answer's place. The error means that nothing was written to w; f.Delivery must be set.
func relay(w http.ResponseWriter, r *http.Request, target *url.URL, transport http.RoundTripper, f Forwarding, onAnswer func(*http.Response) error) *UnreachableError {
	informed := &informing{ResponseWriter: w, dropsContinue: f.expects, before: w.Header().Clone()}
	defer informed.restore() // for who writes an error instead
	var failed error
	proxy := httputil.ReverseProxy{
		Transport: transport,
		// Written as it arrives: a caller must not wait for a buffer to fill.
		FlushInterval: -1,
		Rewrite:       func(pr *httputil.ProxyRequest) { f.rewrite(pr.Out, target) },
		ModifyResponse: func(response *http.Response) error {
			// Workhorse takes this header for itself; should one ever pass, it names a path on GitLab's disk.
			response.Header.Del("X-Sendfile")
			return onAnswer(response)
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		// What it would log is said by the panic or the error already, and could hold a URL.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	proxy.ServeHTTP(informed, r)
	if failed == nil {
		return nil
	}
	unreached := unreachable("forwarding", failed)
	if f.Delivery.Broken() != nil || r.Context().Err() != nil {
		unreached.Trouble = TroubleCaller
	}
	return unreached
}

// rewrite makes of a copy of the caller's request what GitLab gets.
func (f Forwarding) rewrite(out *http.Request, target *url.URL) {
	out.URL, out.Host = target, ""
	dropHeaders(out.Header, f.DropHeaders)
	if f.upgrades {
		out.Header.Set("Connection", "Upgrade")
		out.Header.Set("Upgrade", webSocket)
	}
	f.Caller.setForwarded(out.Header)
	maps.Copy(out.Header, f.Caller.Trace)
	if len(out.Header.Values("Accept-Encoding")) == 0 {
		// Else Go asks for gzip by itself and unpacks it, and the length is lost.
		out.Header.Set("Accept-Encoding", "identity")
	}
	if f.expects {
		out.Header.Set("Expect", "100-continue")
	}
	if hasBody(out) {
		out.Body = f.Delivery.observe(out.Body, out.ContentLength, f.OnBody)
	}
}

// forwardTransport sends forwarded requests to GitLab and takes its redirects to object storage upon itself.
//
// What becomes of these requests shows nothing of GitLab: how they are made, and how long they may take, is their callers'
// to choose. So the breaker never hears of them.
type forwardTransport struct {
	client *Client
	how    Forwarding
}

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
	stored, err := t.client.followStorage(request.Context(), aCaller, request.Method, location, request.Header)
	if err == nil && request.Method == http.MethodHead && stored.StatusCode == http.StatusForbidden {
		// Signed for GET alone (see prove).
		_ = stored.Body.Close()
		stored, err = t.client.followStorage(request.Context(), aCaller, http.MethodGet, location, request.Header)
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

// pass sends a request to GitLab without a look at the time until all of it is sent: how long an upload may take is its
// caller's matter. But none is begun in vain. A redirect to object storage is an error: no upload and no deletion goes there,
// and who saw it would have a signed URL.
func (t forwardTransport) pass(request *http.Request) (*http.Response, error) {
	response, err := t.send(request)
	if response, err = t.client.unlessForbidden(response, err); err != nil {
		return nil, err
	}
	if _, ok := t.client.storageLocation(response); ok {
		_ = response.Body.Close()
		return nil, &UnreachableError{Err: errStorageForOthers}
	}
	return response, nil
}

// send is pass without a look at the answer.
func (t forwardTransport) send(request *http.Request) (*http.Response, error) {
	if err := t.client.breakers.Load().gitlab.notAsked(); err != nil {
		return nil, err
	}
	leave, err := t.client.strangers.enter(request.Context(), t.how.Caller, t.how.Standing, t.client.cfg.HeaderTimeout)
	if err != nil {
		return nil, err
	}
	response, err := t.client.deliver(neverRepeated(request), t.how)
	if err != nil {
		leave()
		return nil, err
	}
	response.Body = onClose(response.Body, leave)
	return response, nil
}

// errStorageForOthers says that GitLab redirected something else than a download to object storage.
var errStorageForOthers = errors.New("it redirects a request to object storage that is no download, which isn't followed")

// ask sends a GET or HEAD to GitLab and bounds the wait for its answer. A redirect to object storage that isn't followed is
// an error.
func (t forwardTransport) ask(request *http.Request) (*http.Response, error) {
	if err := t.client.breakers.Load().gitlab.notAsked(); err != nil {
		return nil, err
	}
	leave, err := t.client.strangers.enter(request.Context(), t.how.Caller, t.how.Standing, t.client.cfg.HeaderTimeout)
	if err != nil {
		return nil, err
	}
	request = request.WithContext(requestedBy(request.Context(), aCaller))
	response, _, err := t.client.roundTrip(t.client.cfg.Transport, request, t.client.cfg.HeaderTimeout)
	if err != nil {
		leave()
		return nil, err
	}
	response.Body = closingBody{response.Body, leave}
	if isOdd(request, response.StatusCode) {
		_ = response.Body.Close()
		return nil, &UnreachableError{Err: errors.New("it answered a download that asked for no such thing by " + response.Status)}
	}
	return t.client.unlessForbidden(response, nil)
}

// isOdd reports whether a status can't be an answer to this download: success without a file, a part that wasn't asked for, or
// "not modified" without a condition. To the caller, whose tool is content with it, such an answer is an empty file.
func isOdd(request *http.Request, status int) bool {
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return len(request.Header.Values(name)) > 0 })
	}
	switch status {
	case http.StatusNoContent, http.StatusResetContent:
		return true
	case http.StatusPartialContent:
		return !has("Range")
	case http.StatusNotModified:
		return !has("If-None-Match", "If-Modified-Since")
	}
	return false
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
