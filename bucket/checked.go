package bucket

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// ErrDamagedFile says that the bytes which were to be written aren't those of their sum.
var ErrDamagedFile = errors.New("the file isn't what its sum says")

// errSource says that the bytes which were to be written couldn't be read.
var errSource = errors.New("reading the file failed")

// checked reads bytes that are to be written under their sum. In the place of the last of them it ends with ErrDamagedFile where the
// sum is another: the storage gets too few then, and keeps nothing. Some storages, and all over plain HTTP that are asked by a
// streaming signature, take whatever comes.
type checked struct {
	content Content
	alive   func()

	// mu guards all below: the transport may read on after its request has ended.
	mu     sync.Mutex
	source io.ReadCloser
	hash   hash.Hash
	read   int64
	closed bool
}

func newChecked(source io.ReadCloser, content Content, alive func()) *checked {
	return &checked{source: source, content: content, hash: sha256.New(), alive: alive}
}

// Read implements io.Reader.
func (c *checked) Read(p []byte) (int, error) {
	c.alive()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, errSource
	}
	if left := c.content.Size - c.read; int64(len(p)) > left {
		p = p[:left]
	}
	if len(p) == 0 {
		return 0, io.EOF
	}
	n, err := c.source.Read(p)
	_, _ = c.hash.Write(p[:n]) // never fails
	c.read += int64(n)
	switch {
	case c.read == c.content.Size:
		if SHA256(c.hash.Sum(nil)) != c.content.SHA256 {
			return 0, ErrDamagedFile
		}
		return n, nil
	case errors.Is(err, io.EOF):
		return n, fmt.Errorf("%w: it is shorter than it should be", ErrDamagedFile)
	case err != nil:
		return n, fmt.Errorf("%w: %w", errSource, err)
	}
	return n, nil
}

// close closes the source. It isn't named Close, so that no transport does.
func (c *checked) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	_ = c.source.Close() // it was only read
}
