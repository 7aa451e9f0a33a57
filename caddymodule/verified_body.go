package caddymodule

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// verifiedHeldBack is how much of a body's end isn't given out before its checksum is known to be right, as of a fill.
const verifiedHeldBack = 64 << 10

// verifiedBody reads a whole file of which GitLab or its storage named a sum, and ends with an error in the place of its last
// bytes if it is another: what is sent of it breaks off and never looks whole. It takes the same memory for all sizes.
type verifiedBody struct {
	source io.Reader
	// want is the SHA-256; zero if source itself compares another sum, and says at its end that it is wrong.
	want cache.Digest
	// length is the file's, -1 if it isn't known.
	length int64

	hash hash.Hash
	// arrived is how much was read. held is the end of it that wasn't given out yet.
	arrived int64
	held    []byte
	// err is why there is nothing more to read from source; io.EOF after a right end.
	err error
}

func newVerifiedBody(source io.Reader, want cache.Digest, length int64) *verifiedBody {
	return &verifiedBody{source: source, want: want, length: length, hash: sha256.New(), held: make([]byte, 0, 2*verifiedHeldBack)}
}

// Read implements io.Reader.
func (b *verifiedBody) Read(p []byte) (int, error) {
	for b.err == nil && b.releasable() == 0 {
		b.fetch()
	}
	if b.err != nil && !errors.Is(b.err, io.EOF) {
		return 0, b.err
	}
	n := copy(p, b.held[:b.releasable()])
	b.held = b.held[:copy(b.held, b.held[n:])]
	if n == 0 && len(p) > 0 {
		return 0, b.err
	}
	return n, nil
}

// releasable is how much of what is held may be given out.
func (b *verifiedBody) releasable() int {
	switch {
	case errors.Is(b.err, io.EOF):
		return len(b.held)
	case b.length < 0:
		return max(0, len(b.held)-verifiedHeldBack)
	}
	// Of a known length all but the end of the file, as soon as it comes.
	given := b.arrived - int64(len(b.held))
	return int(min(max(0, b.length-verifiedHeldBack-given), int64(len(b.held))))
}

// fetch reads more. There is room: what is held is no more than the end.
func (b *verifiedBody) fetch() {
	fresh := b.held[len(b.held):cap(b.held)]
	if len(fresh) == 0 {
		b.err = cache.ErrTooLong // past its length
		return
	}
	n, err := b.source.Read(fresh)
	if !b.want.IsZero() {
		_, _ = b.hash.Write(fresh[:n]) // never fails
	}
	b.held = b.held[:len(b.held)+n]
	b.arrived += int64(n)
	if errors.Is(err, io.EOF) && !b.want.IsZero() && cache.Digest(b.hash.Sum(nil)) != b.want {
		err = cache.ErrChecksum
	}
	b.err = err
}
