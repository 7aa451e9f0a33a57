package upstream

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// CarrierHeaders are the request headers by which a caller can tell GitLab who asks (lib/gitlab/auth/auth_finders.rb,
// lib/api/api_guard.rb, lib/api/helpers.rb), in canonical spelling.
var CarrierHeaders = []string{"Authorization", "Private-Token", "Job-Token", "Deploy-Token", "Cookie", "Sudo", "Dpop"}

// CarrierParameters are the query parameters that do the same.
var CarrierParameters = []string{"private_token", "access_token", "bearer_token", "job_token", "token", "sudo"}

// Credential is everything in a request that tells GitLab who asks, as it was sent. It prints itself redacted, in every
// format. None at all is a credential too: that of an anonymous caller.
type Credential struct {
	// headers are the carriers that were sent, by canonical name in a fixed order.
	headers []carrier
	// query is the raw query.
	query string
}

type carrier struct {
	name   string
	values []string
}

// CredentialOf takes the credential out of a request: its carriers, and the admin's own identity headers. Of the query
// it keeps what names a carrier, each parameter as it was sent.
func CredentialOf(header http.Header, rawQuery string, identityHeaders []string) Credential {
	var c Credential
	for _, name := range CarrierHeaders {
		c.take(header, name)
	}
	for _, name := range identityHeaders {
		if name = textproto.CanonicalMIMEHeaderKey(name); !slices.Contains(CarrierHeaders, name) {
			c.take(header, name)
		}
	}
	if rawQuery == "" {
		return c
	}
	var kept []string
	for parameter := range strings.SplitSeq(rawQuery, "&") {
		if name, _, _ := strings.Cut(parameter, "="); isCarrierParameter(name) {
			kept = append(kept, parameter)
		}
	}
	c.query = strings.Join(kept, "&")
	return c
}

func (c *Credential) take(header http.Header, name string) {
	if values := header[name]; len(values) > 0 {
		c.headers = append(c.headers, carrier{name, slices.Clone(values)})
	}
}

// isCarrierParameter reports whether an escaped parameter name could be read as a carrier's. Brackets make Rack read
// an array or a hash, which GitLab doesn't take for a token, but which still belongs to who asks.
func isCarrierParameter(escaped string) bool {
	name, err := url.QueryUnescape(escaped)
	if err != nil {
		return true
	}
	name, _, _ = strings.Cut(name, "[")
	return slices.Contains(CarrierParameters, name)
}

// QueryHoldsOnly reports whether a raw query consists of nothing but plainly written credential parameters and the
// given others. Anything that could be read in two ways (a semicolon, brackets, an encoded name, bad encoding) isn't
// plain.
func QueryHoldsOnly(rawQuery string, others ...string) bool {
	if rawQuery == "" {
		return true
	}
	if strings.Contains(rawQuery, ";") {
		return false
	}
	for parameter := range strings.SplitSeq(rawQuery, "&") {
		name, value, ok := strings.Cut(parameter, "=")
		if !ok || (!slices.Contains(CarrierParameters, name) && !slices.Contains(others, name)) {
			return false
		}
		if _, err := url.QueryUnescape(value); err != nil {
			return false
		}
	}
	return true
}

// AddTo sets the credential's headers on a request to GitLab, as they were sent.
func (c Credential) AddTo(header http.Header) {
	for _, carrier := range c.headers {
		header[carrier.name] = slices.Clone(carrier.values)
	}
}

// Query is the credential's part of the raw query, for a request to GitLab itself; empty if there is none.
func (c Credential) Query() string { return c.query }

// Anonymous reports whether the request told nothing about who asks.
func (c Credential) Anonymous() bool { return len(c.headers) == 0 && c.query == "" }

const redacted = "[redacted credential]"

// String hides the credential.
func (c Credential) String() string {
	if c.Anonymous() {
		return "[no credential]"
	}
	return redacted
}

// Format hides the credential from every verb of package fmt.
func (c Credential) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(c.String())) }

// MarshalText hides the credential, in JSON too.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// LogValue hides the credential from log/slog.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }
