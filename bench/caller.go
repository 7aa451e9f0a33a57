//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// call is one GET of a file.
type call struct {
	file, token string
	// part is a Range, empty for the whole file.
	part string
	// sum asks for the SHA-256 of what came; else it is dropped by the kernel, which costs the measured server's machine
	// least.
	sum bool
}

// answer is what came back.
type answer struct {
	status int
	bytes  int64
	sum    [sha256.Size]byte
	// first and done are how long it took until the first byte of the body and until the last.
	first, done time.Duration
}

// get sends a call over a connection of its own. A body that ends early is an error.
func (p *process) get(ctx context.Context, c call) (a answer, err error) {
	begun := time.Now()
	dialer := net.Dialer{}
	opened, err := dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return a, err
	}
	connection := opened.(*net.TCPConn)
	defer func() { _ = connection.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = connection.SetDeadline(deadline)
	}
	head := "GET " + filePath(c.file) + " HTTP/1.1\r\nHost: " + p.address + "\r\nPRIVATE-TOKEN: " + c.token + "\r\nConnection: close\r\n"
	if c.part != "" {
		head += "Range: " + c.part + "\r\n"
	}
	if _, err := io.WriteString(connection, head+"\r\n"); err != nil {
		return a, err
	}
	// Small, so that nearly all of the body is left to the kernel.
	reader := bufio.NewReaderSize(connection, 4<<10)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return a, err
	}
	defer func() { _ = response.Body.Close() }()
	a.status = response.StatusCode
	if _, err := reader.Peek(1); err != nil && response.ContentLength != 0 {
		return a, err
	}
	a.first = time.Since(begun)
	if c.sum || response.ContentLength < 0 {
		hash := sha256.New()
		a.bytes, err = io.Copy(hash, response.Body)
		copy(a.sum[:], hash.Sum(nil))
	} else {
		a.bytes, err = discard(connection, response.ContentLength, reader.Buffered())
	}
	a.done = time.Since(begun)
	if err == nil && response.ContentLength >= 0 && a.bytes < response.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	return a, err
}

// discard takes a body off a connection without copying it out of the kernel (tcp(7): MSG_TRUNC).
func discard(connection *net.TCPConn, length int64, buffered int) (n int64, err error) {
	raw, err := connection.SyscallConn()
	if err != nil {
		return 0, err
	}
	n = int64(buffered)
	piece := make([]byte, 1<<20)
	for n < length {
		var got int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			got, _, failed = syscall.Recvfrom(int(fd), piece[:min(int64(len(piece)), length-n)], syscall.MSG_TRUNC) //nolint:gosec // a descriptor
			return !errors.Is(failed, syscall.EAGAIN)
		})
		switch {
		case err != nil:
			return n, err
		case failed != nil:
			return n, failed
		case got == 0:
			return n, nil
		}
		n += int64(got)
	}
	return n, nil
}

// whole sends a call and expects all of a file.
func (p *process) whole(ctx context.Context, c call, size int64) (answer, error) {
	a, err := p.get(ctx, c)
	if err == nil && (a.status != http.StatusOK || a.bytes != size) {
		err = fmt.Errorf("%s: status %d, %d of %d bytes", c.file, a.status, a.bytes, size)
	}
	return a, err
}
