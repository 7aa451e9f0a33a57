package bucket

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path"
	"strings"
	"unicode/utf8"
)

// SHA256 is the sum by which bytes are known.
type SHA256 [32]byte

// String is the sum in lower-case hex.
func (s SHA256) String() string { return hex.EncodeToString(s[:]) }

// Content is what an object of bytes has to be.
type Content struct {
	SHA256 SHA256
	// Size is in bytes.
	Size int64
}

// BlobName is the name of the object that holds bytes with that sum, for people and for life-cycle rules.
func (b *Bucket) BlobName(sum SHA256) string {
	text := sum.String()
	return path.Join(b.cfg.Prefix, "blobs", text[:2], text)
}

// ObjectURL is BlobName with the bucket, as the tools of storages take it.
func (b *Bucket) ObjectURL(sum SHA256) string { return "s3://" + b.cfg.Name + "/" + b.BlobName(sum) }

// locationName is the name of the object that says what a place holds.
func (b *Bucket) locationName(place string) string {
	return path.Join(b.cfg.Prefix, "locations", b.seal.nameOf(place))
}

// checkPrefix refuses what storages take for something else than it looks like.
func checkPrefix(prefix string) error {
	switch {
	case prefix == "":
		return nil
	case !utf8.ValidString(prefix), strings.ContainsFunc(prefix, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`\{}^%?#[]"<>~|`+"`", r) }):
		return errors.New("it has characters that not every storage takes")
	case path.Clean("/"+prefix) != "/"+prefix:
		return errors.New("it must not have empty parts, nor . or .. among them")
	case len(prefix) > 512:
		return errors.New("it is longer than 512 bytes")
	}
	return nil
}

func sumOf(data []byte) SHA256 { return sha256.Sum256(data) }
