//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Small files: so many of that size. They are more than the edge's memory tier holds with its defaults.
const smallCount, smallSize = 20_000, 16 << 10

// filesPerVersion keeps versions small: the stand-in for GitLab looks through all files of one for a name.
const filesPerVersion = 200

// numbered is the name of the nth small file.
func numbered(n int) string { return fmt.Sprintf("1.0.%d/n%d.bin", n/filesPerVersion, n) }

func (b *bench) publishSmall(count int) {
	for n := range count {
		b.publish(numbered(n), smallSize)
	}
}

// callers are those who fetch many small files.
type callers struct {
	count int
	// kept tells whether each keeps its connection, or opens one for each file.
	kept bool
}

func (c callers) String() string {
	if c.kept {
		return fmt.Sprintf("%d callers", c.count)
	}
	return fmt.Sprintf("%d callers, a new connection for each file", c.count)
}

// The usual callers, and those who were measured in former days.
var (
	keepingCallers    = callers{32, true}
	fewKeepingCallers = callers{16, true}
	comingCallers     = callers{16, false}
)

// fetchSmall downloads the small files from one number to another, each once.
func (p *process) fetchSmall(ctx context.Context, from, to int, by callers) (load, error) {
	return p.fetchFiles(ctx, from, to, smallSize, by)
}

// fetchFiles downloads numbered files of that size.
func (p *process) fetchFiles(ctx context.Context, from, to int, size int64, by callers) (load, error) {
	var next atomic.Int64
	next.Store(int64(from))
	begun := time.Now()
	_, failures := together(by.count, func(int) (answer, error) {
		var connection net.Conn
		var reader *bufio.Reader
		if by.kept {
			var err error
			if connection, err = p.dial(ctx); err != nil {
				return answer{}, err
			}
			defer func() { _ = connection.Close() }()
			reader = bufio.NewReaderSize(connection, smallSize)
		}
		for ctx.Err() == nil {
			n := int(next.Add(1)) - 1
			if n >= to {
				return answer{}, nil
			}
			if err := p.fetchNumbered(ctx, n, size, connection, reader); err != nil {
				return answer{}, err
			}
		}
		return answer{}, ctx.Err()
	})
	return loadOf(int64(to-from), int64(to-from)*size, time.Since(begun)), errors.Join(failures...)
}

// fetchNumbered downloads a numbered file, over a connection of its own if it gets none.
func (p *process) fetchNumbered(ctx context.Context, n int, size int64, connection net.Conn, reader *bufio.Reader) error {
	if connection == nil {
		_, err := p.whole(ctx, call{file: numbered(n), token: token(1)}, size)
		return err
	}
	got, err := p.getAgain(connection, reader, filePath(numbered(n)), token(1))
	if err == nil && got != size {
		err = fmt.Errorf("%s has %d bytes: %w", numbered(n), got, io.ErrUnexpectedEOF)
	}
	return err
}
