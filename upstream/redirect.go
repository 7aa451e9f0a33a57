package upstream

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// signatures are the query parameters by which a URL of object storage shows that it was signed, beside others that go
// with them: AWS (v4, v2 and CloudFront), Google (v4, v2 and its CDN), Alibaba, Azure. A bare Signature is also what
// single sign-on puts into its redirects to a log-in page (SAML 2.0 Bindings, section 3.4.4.1).
var signatures = []struct {
	parameter string
	beside    []string // one of them; none where the name says all
}{
	{"X-Amz-Signature", nil},
	{"X-Goog-Signature", nil},
	{"Signature", []string{"AWSAccessKeyId", "GoogleAccessId", "Key-Pair-Id", "KeyName", "OSSAccessKeyId"}},
	{"sig", []string{"sv", "se", "sp"}},
}

// isCloudflareToken reports whether a value is what Cloudflare's rules sign a URL with by the parameter verify: a time in
// seconds and a message authentication code (is_timed_hmac_valid_v0). The parameter's name alone says nothing.
var isCloudflareToken = regexp.MustCompile(`\A[0-9]{10,11}-[A-Za-z0-9+/_-]{43}=?\z`).MatchString

// signOnParameters are those of a redirect to a log-in page.
var signOnParameters = []string{"SAMLRequest", "SAMLResponse", "SigAlg", "RelayState"}

// maxStorageHops bounds the redirects between GitLab's answer and the bytes. Storage itself redirects at most once
// or twice, to another region.
const maxStorageHops = 4

// redirectTarget is a URL of object storage. It prints itself without its query, which is a capability.
type redirectTarget struct{ url *url.URL }

func (t *redirectTarget) String() string { return t.url.Host + t.url.EscapedPath() }

// storageLocation returns where a response sends us for the bytes, if it is a redirect to GitLab's object storage:
// to another origin by http or https, never from https down to http, signed or to a host the admin has named.
func (c *Client) storageLocation(response *http.Response) (*redirectTarget, bool) {
	location, ok := redirectLocation(response)
	if !ok || !c.allowedScheme(c.cfg.Base, location) {
		return nil, false
	}
	if sameOrigin(location, c.cfg.Base) || !c.isStorage(location) {
		return nil, false
	}
	return &redirectTarget{location}, true
}

// isStorage reports whether a URL is one of object storage: signed, or of a host that the admin has named.
func (c *Client) isStorage(location *url.URL) bool {
	_, named := c.storageHost(location)
	return named || isSigned(location)
}

// forbiddenStorage returns an error for a redirect to object storage that isn't followed, such as one from https down to
// http. Who got it to see would have a signed URL, and might send a token after it in clear.
func (c *Client) forbiddenStorage(response *http.Response) error {
	if !isRedirect(response.StatusCode) {
		return nil
	}
	location, err := response.Location()
	if err != nil || !c.isStorage(location) || sameOrigin(location, c.cfg.Base) {
		return nil
	}
	if _, ok := c.storageLocation(response); ok {
		return nil
	}
	if !c.allowedScheme(c.cfg.Base, location) {
		return &UnreachableError{Err: fmt.Errorf("it redirects from %s to object storage by %s, which isn't followed", c.cfg.Base.Scheme, location.Scheme)}
	}
	return &UnreachableError{Err: errors.New("it redirects to object storage by a URL that isn't followed: it has no host, or a user")}
}

// redirectLocation reads a redirect's target, relative ones included.
func redirectLocation(response *http.Response) (*url.URL, bool) {
	if !isRedirect(response.StatusCode) {
		return nil, false
	}
	location, err := response.Location()
	if err != nil || location.Host == "" || location.User != nil {
		return nil, false
	}
	location.Fragment, location.RawFragment = "", ""
	return location, true
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

func (c *Client) allowedScheme(from, to *url.URL) bool {
	return to.Scheme == "https" || (to.Scheme == "http" && from.Scheme == "http")
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(hostWithPort(a), hostWithPort(b))
}

func hostWithPort(u *url.URL) string { return u.Hostname() + ":" + portOf(u) }

func isSigned(location *url.URL) bool {
	query := location.Query()
	has := func(name string) bool { return query.Get(name) != "" }
	if slices.ContainsFunc(signOnParameters, has) {
		return false
	}
	for _, signature := range signatures {
		if has(signature.parameter) && (signature.beside == nil || slices.ContainsFunc(signature.beside, has)) {
			return true
		}
	}
	return isCloudflareToken(query.Get("verify"))
}

// isStoredFile reports whether a 200 or 206 of object storage can be a package's file. GitLab signs for an attachment;
// what has none could still be a file of an older GitLab's, but never a page for people, such as a log-in in front of the
// storage.
func isStoredFile(response *http.Response) bool {
	if isAttachment(response.Header) {
		return true
	}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")) // whatever its parameters are
	return kind != "text/html" && kind != "application/xhtml+xml"
}

// storageHeaders are the only headers of a caller that reach object storage. No credential of any kind, no cookie,
// no Referer: the signed URL is all that storage needs, and a second Authorization makes S3 refuse (contract, section 10).
var storageHeaders = []string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}

// followStorage asks object storage for what GitLab redirected to, and goes on through redirects of its own. Of
// headers only storageHeaders are sent. The caller closes the response's body. Errors name no URL.
func (c *Client) followStorage(ctx context.Context, by requester, method string, target *redirectTarget, header http.Header) (*http.Response, error) {
	location := target.url
	for range maxStorageHops {
		request, err := http.NewRequestWithContext(ctx, method, "http://storage.invalid/", nil)
		if err != nil {
			return nil, fmt.Errorf("building a request to the object storage: %w", err)
		}
		request.URL, request.Host = location, ""
		for _, name := range storageHeaders {
			if values := header.Values(name); len(values) > 0 {
				request.Header[name] = values
			}
		}
		request.Header.Set("User-Agent", userAgent)
		request.Header.Set("Accept-Encoding", "identity")
		response, err := c.askStorage(request, by)
		if err != nil {
			return nil, unreachable("asking the object storage", err)
		}
		next, redirected := redirectLocation(response)
		if !redirected {
			return response, nil
		}
		_ = response.Body.Close()
		if !c.allowedScheme(location, next) {
			return nil, &UnreachableError{Err: errors.New("the object storage redirects from https to something less")}
		}
		location = next
	}
	return nil, &UnreachableError{Err: errors.New("the object storage redirects without end")}
}
