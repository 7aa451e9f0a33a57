package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// partsFile is a file, with all that it may be.
type partsFile struct {
	name string
	size int
	// publishing is held while somebody publishes it.
	publishing sync.Mutex
	// mu guards versions.
	mu       sync.Mutex
	versions []*partsVersion
}

// partsVersion is a content, of which only the seed is kept. replaced is when another one took its place for sure; zero for not yet.
type partsVersion struct {
	seed     uint64
	replaced time.Time
}

func (v *partsVersion) body(size int) []byte {
	var seed [32]byte
	for i := range 8 {
		seed[i] = byte(v.seed >> (8 * i)) //nolint:gosec // G115: the byte is meant
	}
	body := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(body)
	return body
}

// next is another content of it, of the same length.
func (*partsFile) next(random *rand.Rand) *partsVersion { return &partsVersion{seed: random.Uint64()} }

// isPublished notes that GitLab has taken a content, or may have.
func (f *partsFile) isPublished(version *partsVersion, taken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, before := range f.versions {
		if taken && before.replaced.IsZero() {
			before.replaced = time.Now()
		}
	}
	f.versions = append(f.versions, version)
}

// mayBe reports whether a download that began then may have brought these pieces, all of one content. One of an upload that is under way
// is no version yet.
func (f *partsFile) mayBe(begun time.Time, pieces []filePiece) bool {
	f.publishing.Lock() // then the upload's end is known
	defer f.publishing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, version := range f.versions {
		if !version.replaced.IsZero() && version.replaced.Before(begun.Add(-partsMaxAge-partsMargin)) {
			continue
		}
		whole, fits := version.body(f.size), true
		for _, one := range pieces {
			fits = fits && one.from+len(one.body) <= f.size && bytes.Equal(one.body, whole[one.from:one.from+len(one.body)])
		}
		if fits {
			return true
		}
	}
	return false
}

// filePiece is what came of a file from a byte on.
type filePiece struct {
	from int
	body []byte
}

// piecesOf reads a 206.
func piecesOf(header http.Header, body []byte) (pieces []filePiece, err error) {
	kind, parameters, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if kind != "multipart/byteranges" {
		one, err := pieceOf(header.Get("Content-Range"), body)
		return []filePiece{one}, err
	}
	parts := multipart.NewReader(bytes.NewReader(body), parameters["boundary"])
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return pieces, nil
		}
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		one, err := pieceOf(part.Header.Get("Content-Range"), body)
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, one)
	}
}

func pieceOf(contentRange string, body []byte) (filePiece, error) {
	span, _, _ := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "/")
	first, last, _ := strings.Cut(span, "-")
	from, err := strconv.Atoi(first)
	if err != nil {
		return filePiece{}, fmt.Errorf("Content-Range %q: %w", contentRange, err)
	}
	if until, err := strconv.Atoi(last); err != nil || until-from+1 != len(body) {
		return filePiece{}, fmt.Errorf("Content-Range %q of %d bytes", contentRange, len(body))
	}
	return filePiece{from, body}, nil
}
