package gitlabtest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// Content is a file's bytes. Each reader starts at the beginning and is used by one request; many may be in use.
type Content interface {
	Size() int64
	NewReader() io.ReadSeeker
}

// Bytes is content held in memory. The bytes must not change any more.
func Bytes(b []byte) Content { return bytesContent(b) }

type bytesContent []byte

// Size implements Content.
func (b bytesContent) Size() int64 { return int64(len(b)) }

// NewReader implements Content.
func (b bytesContent) NewReader() io.ReadSeeker { return bytes.NewReader(b) }

// Generated is content that looks random, is the same for the same seed, and is made while it is read, so that files of
// any size need no memory. Of two sizes with one seed, the shorter is the beginning of the longer.
func Generated(size int64, seed uint64) Content {
	var key [16]byte
	binary.BigEndian.PutUint64(key[:], seed)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(fmt.Sprintf("gitlabtest: generating content: %v", err))
	}
	return &generated{size: max(size, 0), block: block}
}

type generated struct {
	size  int64
	block cipher.Block
}

// Size implements Content.
func (g *generated) Size() int64 { return g.size }

// NewReader implements Content.
func (g *generated) NewReader() io.ReadSeeker { return &generatedReader{content: g} }

type generatedReader struct {
	content *generated
	offset  int64
	stream  cipher.Stream // at offset; nil after a Seek
}

// Read implements io.Reader.
func (r *generatedReader) Read(p []byte) (int, error) {
	if r.offset >= r.content.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.content.size-r.offset)]
	if r.stream == nil {
		// Counter mode can begin anywhere: the counter is the number of the block.
		var counter [aes.BlockSize]byte
		binary.BigEndian.PutUint64(counter[8:], uint64(r.offset/aes.BlockSize)) //nolint:gosec // never negative
		r.stream = cipher.NewCTR(r.content.block, counter[:])
		skipped := make([]byte, r.offset%aes.BlockSize)
		r.stream.XORKeyStream(skipped, skipped)
	}
	clear(p)
	r.stream.XORKeyStream(p, p)
	r.offset += int64(len(p))
	return len(p), nil
}

// Seek implements io.Seeker.
func (r *generatedReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.content.size
	default:
	}
	if offset < 0 {
		return r.offset, errors.New("seeking in generated content: before its beginning")
	}
	r.offset, r.stream = offset, nil
	return offset, nil
}

// SHA256 reads content to its end and returns its digest, in lower-case hex.
func SHA256(content Content) string {
	hash := sha256.New()
	if _, err := io.Copy(hash, content.NewReader()); err != nil {
		panic(fmt.Sprintf("gitlabtest: reading content: %v", err))
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// spooled is content in a file of the server's own.
type spooled struct {
	file *os.File
	size int64
}

// Size implements Content.
func (s *spooled) Size() int64 { return s.size }

// NewReader implements Content.
func (s *spooled) NewReader() io.ReadSeeker { return io.NewSectionReader(s.file, 0, s.size) }
