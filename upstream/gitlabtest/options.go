package gitlabtest

import (
	"net/netip"
	"strings"
	"time"
)

// Option changes a server before it starts.
type Option func(*settings)

// settings are what stays the same while a server runs.
type settings struct {
	release          Release
	provider         Provider
	tls              bool
	plainStorage     bool
	basePath         string
	trustedProxies   []netip.Prefix
	signatureLife    time.Duration
	rateLimitHeaders bool
}

func defaultSettings() settings {
	return settings{
		// What Rails trusts by itself besides what gitlab.yml names (config/initializers/trusted_proxies.rb).
		trustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		// CarrierWave's default.
		signatureLife: 10 * time.Minute,
	}
}

// Mode is where GitLab keeps packages and how it gives them out.
type Mode int

// The modes. LocalDisk names no entity tag, only a Last-Modified of whole seconds. Proxied passes the object storage's
// own answer through. Redirect sends callers to a signed URL: 302 to a GET, 303 to a HEAD.
const (
	LocalDisk Mode = iota
	Proxied
	Redirect
)

// Release is which GitLab the server is.
type Release int

// The releases. Today is 18.x. Release135 is GitLab 13.5, where generic packages began: no anonymous callers, no Basic
// authentication, no deploy tokens, no nested directories, versions X.Y.Z only, former paths not followed.
const (
	Today Release = iota
	Release135
)

// Provider is whose object storage is signed for.
type Provider int

// The providers. With AWS, a HEAD is sent to a URL signed for HEAD; all others get the one signed for GET, which Google
// refuses to a HEAD and Azure doesn't.
const (
	AWS Provider = iota
	Google
	Azure
)

// WithRelease chooses the GitLab to stand in for; without it, Today.
func WithRelease(release Release) Option { return func(s *settings) { s.release = release } }

// WithStorage chooses the provider of the object storage; without it, AWS.
func WithStorage(provider Provider) Option { return func(s *settings) { s.provider = provider } }

// SignsForGETOnly makes a HEAD's redirect carry a URL that is signed for GET, as with storage providers other than AWS.
// It is WithStorage(Google).
func SignsForGETOnly() Option { return WithStorage(Google) }

// WithTLS makes GitLab and its object storage speak HTTPS, HTTP/2 included, with certificates of an authority of their
// own: Server.CA.
func WithTLS() Option { return func(s *settings) { s.tls = true } }

// WithPlainStorage leaves the object storage on plain HTTP in spite of WithTLS, so that redirects are downgrades.
func WithPlainStorage() Option { return func(s *settings) { s.plainStorage = true } }

// WithBasePath puts GitLab below a path, such as "/gitlab" (its relative URL root). Elsewhere it answers 404.
func WithBasePath(path string) Option {
	return func(s *settings) { s.basePath = strings.TrimSuffix(path, "/") }
}

// WithTrustedProxies replaces the addresses whose X-Forwarded-For is believed; without it, loopback. Without any, the
// caller is always the one who connects.
func WithTrustedProxies(prefixes ...netip.Prefix) Option {
	return func(s *settings) { s.trustedProxies = prefixes }
}

// WithSignatureLife sets how long signed URLs work, in whole seconds; without it, ten minutes.
func WithSignatureLife(life time.Duration) Option {
	return func(s *settings) { s.signatureLife = life }
}

// WithRateLimitHeaders puts the RateLimit headers on successful answers too (GitLab 18.6, behind a flag). They are the
// caller's own.
func WithRateLimitHeaders() Option { return func(s *settings) { s.rateLimitHeaders = true } }
