//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"strconv"
	"sync/atomic"
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
	connection, err := p.dial(ctx)
	if err != nil {
		return a, err
	}
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
	status, length, err := readHead(reader)
	if err != nil {
		return a, err
	}
	a.status = status
	if _, err := reader.Peek(1); err != nil && length != 0 {
		return a, err
	}
	a.first = time.Since(begun)
	if c.sum {
		hash := sha256.New()
		a.bytes, err = io.Copy(hash, io.LimitReader(reader, length))
		copy(a.sum[:], hash.Sum(nil))
	} else {
		a.bytes, err = discard(connection, length, reader.Buffered())
	}
	a.done = time.Since(begun)
	if err == nil && a.bytes < length {
		err = io.ErrUnexpectedEOF
	}
	return a, err
}

// readHead reads the head of an answer, whose length must be known.
func readHead(reader *bufio.Reader) (status int, length int64, err error) {
	text := textproto.NewReader(reader)
	line, err := text.ReadLine()
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &status); err != nil {
		return 0, 0, fmt.Errorf("%q: %w", line, err)
	}
	header, err := text.ReadMIMEHeader()
	if err != nil {
		return 0, 0, err
	}
	length, err = strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("an answer %d without a length: %w", status, err)
	}
	return status, length, nil
}

// download asks for a file again and again over a number of connections, for a time, and lets the kernel drop what comes:
// with large files, a client that reads them would be most of what is measured.
func (p *process) download(ctx context.Context, path, token string, connections int, duration time.Duration) (load, error) {
	begun := time.Now()
	var requests, bytes atomic.Int64
	_, failures := together(connections, func(int) (answer, error) {
		connection, err := p.dial(ctx)
		if err != nil {
			return answer{}, err
		}
		defer func() { _ = connection.Close() }()
		_ = connection.SetDeadline(begun.Add(duration))
		reader := bufio.NewReaderSize(connection, 4<<10)
		for ctx.Err() == nil {
			n, err := p.getAgain(connection, reader, path, token)
			bytes.Add(n)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return answer{}, nil
			}
			if err != nil {
				return answer{}, err
			}
			requests.Add(1)
		}
		return answer{}, ctx.Err()
	})
	return loadOf(requests.Load(), bytes.Load(), time.Since(begun)), errors.Join(failures...)
}

// getAgain sends a GET over a connection that is kept, and returns how many bytes the body had.
func (p *process) getAgain(connection net.Conn, reader *bufio.Reader, path, token string) (int64, error) {
	if _, err := io.WriteString(connection, "GET "+path+" HTTP/1.1\r\nHost: "+p.address+"\r\nPRIVATE-TOKEN: "+token+"\r\n\r\n"); err != nil {
		return 0, err
	}
	status, length, err := readHead(reader)
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("status %d", status)
	}
	// What was read beside the head is of the body.
	buffered, err := reader.Discard(int(min(int64(reader.Buffered()), length)))
	if err != nil {
		return 0, err
	}
	n, err := discard(connection, length, buffered)
	if err == nil && n < length {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// dial opens a connection to the server, with TLS and HTTP/1.1 if it speaks TLS.
func (p *process) dial(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{}
	if p.protocol.tls {
		return (&tls.Dialer{NetDialer: &dialer, Config: p.certificate.config()}).DialContext(ctx, "tcp", p.address)
	}
	return dialer.DialContext(ctx, "tcp", p.address)
}

// dropped says how much the kernel may drop at once. Nothing is ever written there, so all connections share it: a piece for each
// download would cost more than all else that the client does.
var dropped [1 << 20]byte

// discard takes a body off a connection, of which some bytes were read before: over TCP itself without copying it out of the
// kernel (tcp(7): MSG_TRUNC).
func discard(connection net.Conn, length int64, buffered int) (n int64, err error) {
	n = int64(buffered)
	plain, ok := connection.(*net.TCPConn)
	if !ok {
		rest, err := io.CopyN(io.Discard, connection, length-n)
		return n + rest, err
	}
	raw, err := plain.SyscallConn()
	if err != nil {
		return n, err
	}
	// Woken for a quarter of a MiB at a time, not for each packet.
	wake := func(bytes int64) {
		_ = raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, int(bytes)) //nolint:gosec // a descriptor
		})
	}
	wake(min(length-n, 256<<10))
	defer wake(1)
	for n < length {
		var got int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			got, _, failed = syscall.Recvfrom(int(fd), dropped[:min(int64(len(dropped)), length-n)], syscall.MSG_TRUNC) //nolint:gosec // a descriptor
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
		if length-n < 256<<10 {
			wake(max(length-n, 1))
		}
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
