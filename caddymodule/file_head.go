package caddymodule

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// fileHead is what the answers' heads say of one stored file, in words. It is made once for all who get the file, and never changed.
type fileHead struct {
	// digest, size and lastModified tell the content that the words are about.
	digest       cache.Digest
	size         int64
	lastModified time.Time

	sums sumHeaders
	// length and modified are Content-Length and Last-Modified; the latter is empty where GitLab named none.
	length, modified string
}

// sumHeaders are the headers that name a file's SHA-256.
type sumHeaders struct{ etag, checksum, reprDigest string }

func newFileHead(entry cache.Entry) *fileHead {
	head := &fileHead{
		digest: entry.Digest, size: entry.Size, lastModified: entry.Identity.LastModified,
		sums: sumsOf(entry.Digest), length: strconv.FormatInt(entry.Size, 10),
	}
	if !head.lastModified.IsZero() {
		head.modified = head.lastModified.UTC().Format(http.TimeFormat)
	}
	return head
}

// sumsOf makes all three texts in one piece of memory. RFC 9530, section 3: the digest is of the whole file, also beside a part of it.
func sumsOf(digest cache.Digest) sumHeaders {
	text := append(make([]byte, 0, 128), '"')
	text = append(hex.AppendEncode(text, digest[:]), '"')
	quoted := len(text)
	text = append(text, "sha-256=:"...)
	text = append(base64.StdEncoding.AppendEncode(text, digest[:]), ':')
	both := string(text)
	return sumHeaders{etag: both[:quoted], checksum: both[1 : quoted-1], reprDigest: both[quoted:]}
}

// isOf reports whether the words are right of an entry, which may have been replaced since, or have learnt its Last-Modified.
func (f *fileHead) isOf(entry cache.Entry) bool {
	return f.digest == entry.Digest && f.size == entry.Size && f.lastModified.Equal(entry.Identity.LastModified)
}

// headOf returns an entry's head, which the store keeps beside the entry while that is used often.
func (x *exchange) headOf(entry cache.Entry) *fileHead {
	if head, ok := entry.Note.(*fileHead); ok && head.isOf(entry) {
		return head
	}
	head := newFileHead(entry)
	x.store.KeepNote(entry, head)
	return head
}
