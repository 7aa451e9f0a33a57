package cache

import (
	"cmp"
	"crypto/sha256"
	"strconv"
	"strings"
)

// Key names one file of one upstream. All fields are canonical already; the store compares them byte by byte.
type Key struct {
	Upstream, Project, Package, Version, File string
}

// String returns the key for logs and errors.
func (k Key) String() string {
	return strconv.Quote(strings.Join([]string{k.Upstream, k.Project, k.Package, k.Version, k.File}, " "))
}

// appendTo appends the key as the index has it. No field holds a zero byte (Begin and Link see to it), so keys sort by
// upstream, project, package, version and file, and a prefix names a project, a package or a version.
func (k Key) appendTo(b []byte) []byte {
	b = append(append(b, k.Upstream...), 0)
	b = append(append(b, k.Project...), 0)
	b = append(append(b, k.Package...), 0)
	b = append(append(b, k.Version...), 0)
	return append(b, k.File...)
}

func (k Key) bytes() []byte {
	return k.appendTo(make([]byte, 0, k.length()))
}

// length is how many bytes the key has in the index.
func (k Key) length() int {
	return len(k.Upstream) + len(k.Project) + len(k.Package) + len(k.Version) + len(k.File) + 4
}

// isStorable reports whether the key can be told from all others in the index, and fits there.
func (k Key) isStorable() bool {
	for _, field := range []string{k.Upstream, k.Project, k.Package, k.Version, k.File} {
		if strings.IndexByte(field, 0) >= 0 {
			return false
		}
	}
	return k.length() <= maxKeyLength
}

// maxKeyLength is well below what bbolt takes (32 KiB), and above what any rules and any URL let through.
const maxKeyLength = 16 << 10

// Compare orders keys as the index does: no field holds the zero byte that ends it there.
func (k Key) Compare(other Key) int {
	return cmp.Or(strings.Compare(k.Upstream, other.Upstream), strings.Compare(k.Project, other.Project),
		strings.Compare(k.Package, other.Package), strings.Compare(k.Version, other.Version), strings.Compare(k.File, other.File))
}

func parseKey(data []byte) (Key, bool) {
	parts := strings.Split(string(data), "\x00")
	if len(parts) != 5 {
		return Key{}, false
	}
	return Key{parts[0], parts[1], parts[2], parts[3], parts[4]}, true
}

// keyHash stands for a key in memory. Of SHA-256 it keeps half; the record has the whole key, so that a collision
// would be a miss and never another file.
type keyHash [16]byte

func (k Key) hash() keyHash {
	var buffer [512]byte // most keys fit, and need no memory of their own
	return hashOf(k.appendTo(buffer[:0]))
}

// hashOf is the hash of a key as the index has it.
func hashOf(key []byte) keyHash {
	sum := sha256.Sum256(key)
	return keyHash(sum[:16])
}

// Selector names entries; an empty field means any. Leave fields empty from the right where possible: what stands
// left of the first empty one bounds what has to be read.
type Selector struct {
	Upstream, Project, Package, Version, File string
}

// Matches reports whether the selector names a key.
func (s Selector) Matches(k Key) bool {
	return (s.Upstream == "" || s.Upstream == k.Upstream) && (s.Project == "" || s.Project == k.Project) &&
		(s.Package == "" || s.Package == k.Package) && (s.Version == "" || s.Version == k.Version) && (s.File == "" || s.File == k.File)
}

// isKey reports whether the selector names a single key.
func (s Selector) isKey() bool {
	return s.Upstream != "" && s.Project != "" && s.Package != "" && s.Version != "" && s.File != ""
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
