package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Identity is how GitLab names the current content of a file. Which of its kinds are there depends on where GitLab
// keeps packages and how old it is.
type Identity struct {
	// SHA256 is lower-case hex, from X-Checksum-SHA256 (GitLab 18.6 and newer, never in redirect mode).
	SHA256 string
	// Location is the host and path of a redirect to object storage, with a hash of what of its query could name an object
	// (locationIdentity): unique for each upload (contract, section 7).
	Location string
	// ETag is a strong entity tag with its quotes.
	ETag string
	// LastModified has whole seconds, in UTC.
	LastModified time.Time
	// Settled says that LastModified was at least two seconds old when it was seen, so that no later publish can have
	// the same.
	Settled bool
	// Length is the file's length in bytes, -1 when it isn't known.
	Length int64
}

// Comparison is what two identities tell about each other.
type Comparison int

// Unknown: they have nothing in common that proves anything. Same and Different speak for themselves.
const (
	Unknown Comparison = iota
	Same
	Different
)

// Compare compares by the strongest kind that both have: SHA-256, else storage location, else entity tag, else
// Last-Modified with the length. Only equality counts, never what is newer: deleting the newest upload brings older
// bytes back (contract, section 7).
func Compare(a, b Identity) Comparison {
	switch {
	case a.SHA256 != "" && b.SHA256 != "":
		return same(a.SHA256 == b.SHA256)
	case a.Location != "" && b.Location != "":
		return same(a.Location == b.Location)
	case a.ETag != "" && b.ETag != "":
		return same(a.ETag == b.ETag)
	case a.Length >= 0 && b.Length >= 0 && a.Length != b.Length:
		return Different
	case a.LastModified.IsZero() || b.LastModified.IsZero():
		return Unknown
	case !a.LastModified.Equal(b.LastModified):
		return Different
	case a.Settled && b.Settled && a.Length >= 0 && b.Length >= 0:
		return Same
	}
	return Unknown
}

func same(equal bool) Comparison {
	if equal {
		return Same
	}
	return Different
}

// settling is how old a Last-Modified must be to name its content: its resolution is a second, and another one allows
// for the answer being made in two steps.
const settling = 2 * time.Second

// IdentityOf reads the identity out of an answer of GitLab or its storage: a 200, or a 206, whose checksum and validators
// are the whole file's (contract, section 4). length is the whole file's in bytes, -1
// when it isn't known, took the time between sending the request and its answer's head, now the time of the latter.
// Malformed values count as absent, and so do contradicting ones.
func IdentityOf(header http.Header, length int64, took time.Duration, now time.Time) Identity {
	identity := Identity{SHA256: checksumOf(header), ETag: strongTagOf(header), Length: max(length, -1)}
	modified, err := http.ParseTime(onlyValue(header, "Last-Modified"))
	if err != nil {
		return identity
	}
	identity.LastModified = modified.UTC()
	// By the answer's own clock, which the files' times are from; and the file may have been chosen as early as the
	// request was sent.
	chosen := now
	if date, err := http.ParseTime(onlyValue(header, "Date")); err == nil {
		chosen = date
	}
	identity.Settled = chosen.Add(-max(took, 0)).Sub(identity.LastModified) >= settling
	return identity
}

// onlyValue returns a header's value if all its lines agree. Something between GitLab and us that adds a line of its own
// must not decide what the content is.
func onlyValue(header http.Header, name string) string {
	values := header[name]
	if len(values) == 0 || slices.ContainsFunc(values, func(value string) bool { return value != values[0] }) {
		return ""
	}
	return values[0]
}

// checksumOf reads GitLab's checksum header: 64 hex digits.
func checksumOf(header http.Header) string {
	sum := strings.ToLower(onlyValue(header, "X-Checksum-Sha256"))
	if _, err := hex.DecodeString(sum); err != nil || len(sum) != hex.EncodedLen(sha256.Size) {
		return ""
	}
	return sum
}

// strongTagOf reads a strong entity tag (RFC 9110, section 8.8.3). A weak one may be that of other bytes.
func strongTagOf(header http.Header) string {
	tag := onlyValue(header, "Etag")
	if len(tag) <= len(`""`) || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return ""
	}
	for i := 1; i < len(tag)-1; i++ {
		if c := tag[i]; c <= ' ' || c == '"' || c == 0x7f {
			return ""
		}
	}
	return tag
}
