package upstream

import (
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// Identity is how GitLab names the current content of a file. Which of its kinds are there depends on where GitLab
// keeps packages and how old it is.
type Identity struct {
	// SHA256 is lower-case hex, from X-Checksum-SHA256 (GitLab 18.6 and newer, never in redirect mode).
	SHA256 string
	// Location is the host and path of a redirect to object storage, never its query: unique for each upload
	// (app/uploaders/packages/package_file_uploader.rb).
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
// bytes back.
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

// IdentityOf reads the identity out of an answer of GitLab or its storage. length is the whole file's, took the time
// between sending the request and its answer's head, now the time of the latter. Malformed values count as absent.
func IdentityOf(header http.Header, length int64, took time.Duration, now time.Time) Identity {
	identity := Identity{Length: length}
	if sum := strings.ToLower(header.Get("X-Checksum-Sha256")); len(sum) == 64 {
		if _, err := hex.DecodeString(sum); err == nil {
			identity.SHA256 = sum
		}
	}
	if tag := header.Get("Etag"); len(tag) > 2 && strings.HasPrefix(tag, `"`) && strings.HasSuffix(tag, `"`) {
		identity.ETag = tag
	}
	modified, err := http.ParseTime(header.Get("Last-Modified"))
	if err != nil {
		return identity
	}
	identity.LastModified = modified.UTC()
	// By the answer's own clock, which the files' times are from; and the file may have been chosen as early as the
	// request was sent.
	chosen := now
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		chosen = date
	}
	identity.Settled = chosen.Add(-took).Sub(identity.LastModified) >= settling
	return identity
}
