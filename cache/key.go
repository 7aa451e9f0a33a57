package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Key names one file of one upstream. All fields are canonical already; the store compares them byte by byte.
type Key struct {
	Upstream, Project, Package, Version, File string
}

// String returns the key for logs and errors.
func (k Key) String() string {
	return strconv.Quote(strings.Join([]string{k.Upstream, k.Project, k.Package, k.Version, k.File}, " "))
}

// bytes is the key as the index has it. No field holds a zero byte, so keys sort by upstream, project, package, version
// and file, and a prefix names a project, a package or a version.
func (k Key) bytes() []byte {
	return k.appendTo(nil)
}

func (k Key) appendTo(data []byte) []byte {
	data = append(append(data, k.Upstream...), 0)
	data = append(append(data, k.Project...), 0)
	data = append(append(data, k.Package...), 0)
	data = append(append(data, k.Version...), 0)
	return append(data, k.File...)
}

func parseKey(data []byte) (Key, bool) {
	parts := strings.Split(string(data), "\x00")
	if len(parts) != 5 {
		return Key{}, false
	}
	return Key{parts[0], parts[1], parts[2], parts[3], parts[4]}, true
}

// keyHash stands for a key in memory. Of SHA-256 it keeps half; the record on disk has the whole key, so that a
// collision would be a miss and never another file.
type keyHash [16]byte

func (k Key) hash() keyHash {
	var room [256]byte // most keys fit, and cost no allocation
	sum := sha256.Sum256(k.appendTo(room[:0]))
	return keyHash(sum[:16])
}

// Digest is the SHA-256 of a blob's bytes, and its name.
type Digest [sha256.Size]byte

// String is the digest in lower-case hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether there is no digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// ParseDigest reads a digest in hex.
func ParseDigest(text string) (Digest, error) {
	var d Digest
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(d) {
		return Digest{}, fmt.Errorf("%q is no SHA-256 in hex", text)
	}
	copy(d[:], raw)
	return d, nil
}

// Identity is how the upstream named a file's content. The store keeps it for its user and never compares it.
type Identity struct {
	SHA256       string
	Location     string
	ETag         string
	LastModified time.Time
	Settled      bool
	Length       int64
}

// Entry is what the store knows of a key.
type Entry struct {
	Key    Key
	Digest Digest
	// Size is the file's length in bytes.
	Size     int64
	Identity Identity
	// Disposition is the upstream's Content-Disposition.
	Disposition string
	// Stored is when the entry was committed.
	Stored time.Time
	// Confirmed is when the upstream was last asked and named these bytes; zero when it has not been since the start,
	// since a publish or a purge, or since it said that the file is gone.
	Confirmed time.Time

	// serial tells this commit of the key from others.
	serial uint64
}

// FillSpec is what is known of a file before its first byte.
type FillSpec struct {
	// Size is its length, -1 when unknown.
	Size int64
	// SHA256 is its digest as the upstream named it; zero when it didn't. A fill with another sum is never kept.
	SHA256      Digest
	Identity    Identity
	Disposition string
	// Confirmed is when the answer was asked for that the bytes come from; zero for a publish's own copy.
	Confirmed time.Time
}

// Selector names entries from the left: a field may be empty only if those after it are, except that an empty Upstream
// means any.
type Selector struct {
	Upstream, Project, Package, Version, File string
}

func (s Selector) matches(k Key) bool {
	return (s.Upstream == "" || s.Upstream == k.Upstream) && (s.Project == "" || s.Project == k.Project) &&
		(s.Package == "" || s.Package == k.Package) && (s.Version == "" || s.Version == k.Version) && (s.File == "" || s.File == k.File)
}

// prefix is what all index keys begin with that the selector names.
func (s Selector) prefix() []byte {
	var prefix []byte
	for _, part := range []string{s.Upstream, s.Project, s.Package, s.Version} {
		if part == "" {
			return prefix
		}
		prefix = append(append(prefix, part...), 0)
	}
	return append(prefix, s.File...)
}
