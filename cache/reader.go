package cache

import (
	"context"
	"errors"
	"io"
)

// FillReader reads a file while it arrives, at its own pace. Read waits for bytes that aren't there yet, and ends with
// the context. It is for one goroutine.
type FillReader struct {
	fill   *Fill
	ctx    context.Context
	offset int64
	closed bool
}

// NewReader returns a reader from the file's beginning. ErrMiss means that the fill is over and its file closed: look
// the entry up instead.
func (f *Fill) NewReader(ctx context.Context) (*FillReader, error) {
	if !f.join() {
		return nil, ErrMiss
	}
	return &FillReader{fill: f, ctx: ctx}, nil
}

// readable returns how far the file may be read now, what to wait for, and how it ended if it has. The end is held
// back until it is known to be right.
func (f *Fill) readable() (limit int64, grown <-chan struct{}, ended bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.whole {
		return f.written, f.grown, true, nil
	}
	limit = f.written - heldBack
	if f.spec.Size >= 0 {
		limit = min(f.written, f.spec.Size-heldBack)
	}
	return max(limit, 0), f.grown, f.ended, f.err
}

// Read implements io.Reader. Its error is io.EOF only at the end of a whole file.
func (r *FillReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		limit, grown, ended, failed := r.fill.readable()
		if r.offset < limit {
			n, err := r.fill.file.ReadAt(p[:min(int64(len(p)), limit-r.offset)], r.offset)
			r.offset += int64(n)
			if n > 0 {
				return n, nil
			}
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, r.fill.store.diskError("reading a fill", err)
		}
		if ended {
			if failed != nil {
				return 0, failed
			}
			return 0, io.EOF
		}
		select {
		case <-grown:
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
}

// Seek implements io.Seeker. The end is known only with the size.
func (r *FillReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		size := r.fill.Size()
		if size < 0 {
			return 0, errors.New("seeking from the end of a file whose length isn't known yet")
		}
		offset += size
	}
	if offset < 0 {
		return 0, errors.New("seeking before the beginning")
	}
	r.offset = offset
	return offset, nil
}

// Close ends the reading.
func (r *FillReader) Close() error {
	if !r.closed {
		r.closed = true
		r.fill.leave()
	}
	return nil
}
