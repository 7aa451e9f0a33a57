package upstream

import (
	"maps"
	"net/http"
	"strings"
)

// idempotencyKeys are the headers by which a caller says that a request may be repeated, spelled as net/http looks for them.
var idempotencyKeys = []string{"Idempotency-Key", "X-Idempotency-Key"}

// neverRepeated returns the request in a form that the transport never repeats, if its method isn't safe.
//
// net/http sends a request without a body again when a kept connection closes before a byte of the answer, if the method is
// GET, HEAD, OPTIONS or TRACE, or if an idempotency key is there. A proxy may repeat the safe methods; of all others it can't know
// what a second one does (RFC 9110, section 9.2.2), and GitLab may heed no such key.
func neverRepeated(request *http.Request) *http.Request {
	switch request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return request
	}
	header := request.Header
	for _, name := range idempotencyKeys {
		values, ok := header[name]
		if !ok {
			continue
		}
		header = maps.Clone(header) // a RoundTripper changes no request
		delete(header, name)
		// For GitLab the name is the same in small letters, and net/http doesn't find it.
		header[strings.ToLower(name)] = values
	}
	changed := *request
	changed.Header = header
	return &changed
}
