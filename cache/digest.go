package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Digest is the SHA-256 of a blob's bytes, and its name.
type Digest [sha256.Size]byte

// String is the digest in lower-case hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether there is no digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// DigestOf reads a file to its end and returns its digest.
func DigestOf(file io.Reader) (Digest, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return Digest{}, err
	}
	return Digest(hash.Sum(nil)), nil
}

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
