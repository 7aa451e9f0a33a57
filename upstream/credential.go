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

// CarrierHeaders are the request headers by which a caller can tell GitLab who asks, in canonical spelling (contract,
// section 5).
var CarrierHeaders = []string{"Authorization", "Private-Token", "Job-Token", "Deploy-Token", "Cookie", "Sudo", "Dpop"}

// CarrierParameters are the query parameters that do the same.
var CarrierParameters = []string{"private_token", "access_token", "bearer_token", "job_token", "token", "sudo"}

// Credential is everything in a request that tells GitLab who asks, as it was sent. It prints itself redacted, in every
// format. None at all is a credential too: that of an anonymous caller, and the zero value.
type Credential struct {
	// sent returns what was sent; it is nil when nothing was. It is a function because package fmt doesn't ask a value's
	// methods everywhere: in an unexported field of somebody else's struct, and under verbs that don't fit, it prints the
	// fields themselves and what pointers point to. Into a function nothing can look.
	sent func() *carriers
}

// carriers are what a request told about who asks.
type carriers struct {
	// headers are in the order of CarrierHeaders and then of the admin's list, each of them once.
	headers []carrier
	// query is the part of the raw query that names carriers.
	query string

	// The room of most requests, which have one header with one value: no further allocation for them.
	oneHeader [1]carrier
	oneValue  [1]string
}

type carrier struct {
	name   string
	values []string
}

// CredentialOf takes the credential out of a request: its carriers, and the admin's own identity headers, whatever their
// spelling. Of the query it keeps what names a carrier, each parameter as it was sent. Later changes to header don't
// change the credential.
func CredentialOf(header http.Header, rawQuery string, identityHeaders []string) Credential {
	sent := new(carriers)
	sent.collect(header, rawQuery, identityHeaders)
	if len(sent.headers) == 0 && sent.query == "" {
		return Credential{}
	}
	return Credential{sent: func() *carriers { return sent }}
}

// TokenCredential is the credential of a personal, project or group access token; that of an anonymous caller if the
// token is empty.
func TokenCredential(token string) Credential {
	if token == "" {
		return Credential{}
	}
	return CredentialOf(http.Header{"Private-Token": {token}}, "", nil)
}

// collect takes the carriers out of a request.
func (c *carriers) collect(header http.Header, rawQuery string, identityHeaders []string) {
	c.headers = c.oneHeader[:0]
	for _, name := range CarrierHeaders {
		c.add(name, header[name])
	}
	for _, name := range identityHeaders {
		name = textproto.CanonicalMIMEHeaderKey(name)
		c.add(name, header[name])
	}
	c.query = carriersOfQuery(rawQuery)
}

// add adds a header as it was sent, empty values too: GitLab counts those as absent, but that is GitLab's to say. Of a
// header that is named twice the second is left out.
func (c *carriers) add(name string, values []string) {
	if len(values) == 0 || slices.ContainsFunc(c.headers, func(known carrier) bool { return known.name == name }) {
		return
	}
	var room []string
	if len(c.headers) == 0 {
		room = c.oneValue[:0] // no header taken before lives there
	}
	c.headers = append(c.headers, carrier{name, append(room, values...)})
}

// carriersOfQuery returns the parameters of a raw query that could be read as a credential's.
func carriersOfQuery(rawQuery string) string {
	if QueryHoldsOnly(rawQuery) {
		return rawQuery
	}
	var kept []string
	for parameter := range strings.SplitSeq(rawQuery, "&") {
		if namesCarrier(parameter) {
			kept = append(kept, parameter)
		}
	}
	return strings.Join(kept, "&")
}

// namesCarrier reports whether a parameter could be read as a carrier. Rack 2 takes a semicolon for a separator and Rack
// 3 doesn't (contract, section 1), so that `a=1;token=x` is one parameter or two: either way it counts whole.
func namesCarrier(parameter string) bool {
	for piece := range strings.SplitSeq(parameter, ";") {
		if name, _, _ := strings.Cut(piece, "="); isCarrierParameter(name) {
			return true
		}
	}
	return false
}

// isCarrierParameter reports whether an escaped parameter name could be read as a carrier's. With brackets Rack reads an
// array or a hash, and skips those that stand in front (normalize_params): `[token]` is `token`. A name that can't be
// decoded might be anything.
func isCarrierParameter(escaped string) bool {
	name, ok := parameterName(escaped)
	return !ok || slices.Contains(CarrierParameters, name)
}

// parameterName reads an escaped parameter name as Rack does. False means that it can't be decoded.
func parameterName(escaped string) (name string, ok bool) {
	name, err := url.QueryUnescape(escaped)
	if err != nil {
		return "", false
	}
	name = strings.TrimLeft(name, "[] ")
	if end := strings.IndexAny(name, "[]"); end >= 0 {
		name = name[:end]
	}
	return name, true
}

// PlainValues returns the values of a parameter in a raw query. False means that something in the query could be read as
// the parameter, but isn't plainly it: brackets, an encoded name, a semicolon, bad encoding. Other parameters may be so.
func PlainValues(rawQuery, parameter string) (values []string, ok bool) {
	if rawQuery == "" {
		return nil, true
	}
	for piece := range strings.SplitSeq(rawQuery, "&") {
		for part := range strings.SplitSeq(piece, ";") {
			escaped, escapedValue, _ := strings.Cut(part, "=")
			name, readable := parameterName(escaped)
			if readable && name != parameter {
				continue
			}
			value, err := url.QueryUnescape(escapedValue)
			if err != nil || escaped != parameter || strings.Contains(piece, ";") {
				return nil, false
			}
			values = append(values, value)
		}
	}
	return values, true
}

// QueryHoldsOnly reports whether a raw query consists of nothing but plainly written credential parameters and the
// given others. Anything that could be read in two ways (a semicolon, brackets, an encoded name, bad encoding) isn't
// plain. An empty query is.
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
	if c.sent == nil {
		return
	}
	for _, carrier := range c.sent().headers {
		header[carrier.name] = slices.Clone(carrier.values)
	}
}

// Query is the credential's part of the raw query, for a request to GitLab itself; empty if there is none. It holds
// nothing else only if QueryHoldsOnly says so of the query it came from.
func (c Credential) Query() string {
	if c.sent == nil {
		return ""
	}
	return c.sent().query
}

// Anonymous reports whether the request told nothing about who asks.
func (c Credential) Anonymous() bool { return c.sent == nil }

// String hides the credential.
func (c Credential) String() string {
	if c.Anonymous() {
		return "[no credential]"
	}
	return "[redacted credential]"
}

// Format hides the credential from the verbs of package fmt.
func (c Credential) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(c.String())) }

// MarshalText hides the credential, in JSON too.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// LogValue hides the credential from log/slog.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }
