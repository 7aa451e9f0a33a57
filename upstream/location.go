package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// StorageHost is a host of GitLab's object storage that an admin has named.
type StorageHost struct {
	// Host has a port, if it isn't the scheme's own.
	Host string
	// Parameters are the query parameters by which this storage names an object; all others say nothing about it. They
	// count only if ParametersNamed: an admin may have said that none does.
	Parameters      []string
	ParametersNamed bool
}

// ParseStorageHost reads what an admin writes: "minio.example.com:9000", or with the parameters by which it names objects
// "store.example.com?object&version", or "cdn.example.com?" where none does.
func ParseStorageHost(text string) (StorageHost, error) {
	host, query, named := strings.Cut(text, "?")
	if host == "" || strings.ContainsAny(host, "/#@ ") {
		return StorageHost{}, errors.New("it is no host such as minio.example.com:9000")
	}
	parsed := StorageHost{Host: host, ParametersNamed: named}
	if query == "" {
		return parsed, nil
	}
	for name := range strings.SplitSeq(query, "&") {
		if name == "" || strings.ContainsAny(name, "=?#/ ") {
			return StorageHost{}, errors.New("after the ? come names of parameters with & between them, such as ?object&version")
		}
		parsed.Parameters = append(parsed.Parameters, name)
	}
	return parsed, nil
}

// storageHost returns what the admin has said of a URL's host.
func (c *Client) storageHost(location *url.URL) (StorageHost, bool) {
	at := slices.IndexFunc(c.storageHosts, func(host StorageHost) bool { return strings.EqualFold(host.Host, location.Host) })
	if at < 0 {
		return StorageHost{}, false
	}
	return c.storageHosts[at], true
}

// locationIdentity is how a storage location names content: host and path, which are unique for each upload in GitLab's own
// storage (contract, section 7), and what else in the query could name an object.
//
// Of a URL that is signed in a way that is known here, all counts but what belongs to the signature. Of any other, which is
// of a host that the admin has named, all counts: its files can be told apart, but if a parameter changes with each
// answer, no location is ever the same as another, and each download is a fetch. The admin can name the parameters that
// count (ParseStorageHost).
//
// What counts of the query is hashed, since it could be a capability, and identities stand in the index and in logs.
func (c *Client) locationIdentity(target *redirectTarget) string {
	c.redirects.Store(true)
	host, _ := c.storageHost(target.url)
	signed := isSigned(target.url)
	var naming []string
	for pair := range strings.SplitSeq(target.url.RawQuery, "&") {
		escaped, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(escaped)
		if err != nil {
			name = escaped
		}
		counts := !signed || !belongsToSignature(name)
		if host.ParametersNamed {
			counts = slices.Contains(host.Parameters, name)
		}
		if pair != "" && counts {
			naming = append(naming, pair)
		}
	}
	if len(naming) == 0 {
		return target.String()
	}
	sum := sha256.Sum256([]byte(strings.Join(naming, "&")))
	return target.String() + "?" + hex.EncodeToString(sum[:16])
}

// signaturePrefixes begin the names of parameters of signed URLs: those of AWS, Google and Alibaba, and what the answer's
// headers are to be.
var signaturePrefixes = []string{"X-Amz-", "X-Goog-", "x-oss-", "response-"}

// signatureParameters are the others: of AWS (v2, CloudFront, and the name of the call that its libraries add), Google (v2,
// its CDN), Alibaba, Azure (service, account and user delegation signatures, and the answer's headers), Cloudflare.
var signatureParameters = []string{
	"AWSAccessKeyId", "Signature", "Expires", "Key-Pair-Id", "Policy", "Hash-Algorithm", "x-id",
	"GoogleAccessId", "KeyName", "URLPrefix",
	"OSSAccessKeyId", "security-token",
	"sv", "ss", "srt", "sr", "sp", "st", "se", "sip", "spr", "si", "sig", "sdd", "ses", "skoid", "sktid", "skt", "ske", "sks",
	"skv", "saoid", "suoid", "scid", "rscc", "rscd", "rsce", "rscl", "rsct",
	"verify",
}

// belongsToSignature reports whether a parameter is one of a signed URL's that say nothing about the object.
func belongsToSignature(parameter string) bool {
	return slices.Contains(signatureParameters, parameter) ||
		slices.ContainsFunc(signaturePrefixes, func(prefix string) bool { return strings.HasPrefix(parameter, prefix) })
}
