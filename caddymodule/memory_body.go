package caddymodule

import (
	"bytes"
	"io"
	"os"
	"sync"
)

// memoryBody is a stored file that is in memory, as http.ServeContent takes it.
type memoryBody struct {
	exchange *exchange
	// kind is where the bytes come from, for the report.
	kind source

	// mu guards all below: http.ServeContent reads several ranges in a goroutine of its own that can outlive it, and the bytes
	// are another file's after close.
	mu     sync.Mutex
	bytes  []byte
	reader bytes.Reader
	closed bool
	read   int64
}

func newMemoryBody(x *exchange, kind source, data []byte) *memoryBody {
	return &memoryBody{exchange: x, kind: kind, bytes: data, reader: *bytes.NewReader(data)}
}

// Read implements io.Reader.
func (b *memoryBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, os.ErrClosed
	}
	n, err := b.reader.Read(p)
	b.read += int64(n)
	return n, err
}

// Seek implements io.Seeker.
func (b *memoryBody) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, os.ErrClosed
	}
	return b.reader.Seek(offset, whence)
}

// send writes up to that many bytes from the present place to the client.
func (b *memoryBody) send(wanted int64) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, os.ErrClosed
	}
	from := b.reader.Size() - int64(b.reader.Len())
	n, err := b.exchange.sendBytes(b.bytes[from:min(from+wanted, int64(len(b.bytes)))])
	b.read += n
	_, _ = b.reader.Seek(n, io.SeekCurrent) // it fails only for places before the beginning
	return n, err
}

// close ends all reading.
func (b *memoryBody) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.exchange.report.sent[b.kind] += b.read
	}
	b.closed = true
	b.reader.Reset(nil)
}
