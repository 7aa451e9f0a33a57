package cache

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
)

// FillReader reads a file while it arrives, at its own pace. Read waits for bytes that aren't there yet, and ends with
// the context. It is for one goroutine.
type FillReader struct {
	fill   *Fill
	ctx    context.Context
	offset int64
	closed bool
	// joined says that the reader counts as a user of the fill's file.
	joined bool
	// own is the part opened once more, for the kernel to send from: it reads at the position of the open file.
	own File
}

// NewReader returns a reader from the file's beginning. ErrMiss means that the fill is over and its file closed: look
// the entry up instead. Files up to 64 KiB that were kept are read from the fill's memory also then: who had them fetched comes
// just after their end as often as before it.
func (f *Fill) NewReader(ctx context.Context) (*FillReader, error) {
	joined := f.join()
	if !joined && !f.isInMemory() {
		return nil, ErrMiss
	}
	return &FillReader{fill: f, ctx: ctx, joined: joined}, nil
}

// isInMemory reports whether the fill is over, was kept, and all of its file is the end that was held back.
func (f *Fill) isInMemory() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.whole && f.notKept == nil && f.flushed == 0
}

// view is what a reader may see of a fill at one moment.
type view struct {
	// flushed bytes are in the part; after them comes tail once the file is whole. until is up to where those from the
	// reader's offset on are: with a part ahead, also further.
	flushed, until int64
	tail           []byte
	// sendable says that all of the part may be read, to its end, and ended that the fill is over.
	sendable, ended bool
	err             error
}

// view returns what may be read from offset on, and, if that is nothing yet, what to wait for.
func (f *Fill) view(offset int64) (v view, grown <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v = view{flushed: f.flushed, until: f.readableLocked(offset), ended: f.ended, err: f.err}
	// Only while the file is being committed are the bytes counted: else a reader would have its last byte before there is an
	// entry, and ask again in vain.
	v.sendable = f.whole || (!f.parts && f.written != f.spec.Size)
	if f.whole {
		v.tail = f.tail
	}
	if offset >= v.until && !f.ended {
		grown = f.newsOfLocked(offset).wait()
	}
	return v, grown
}

// next waits until there is something to read at the reader's offset. Its error is io.EOF only at the end of a whole
// file.
func (r *FillReader) next() (view, error) {
	for {
		v, grown := r.fill.view(r.offset)
		switch {
		case r.offset < max(v.until, v.flushed+int64(len(v.tail))):
			return v, nil
		case v.err != nil:
			return view{}, v.err
		case v.ended:
			return view{}, io.EOF
		}
		select {
		case <-grown:
		case <-r.ctx.Done():
			return view{}, context.Cause(r.ctx)
		}
	}
}

// Read implements io.Reader.
func (r *FillReader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, os.ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	v, err := r.next()
	if err != nil {
		return 0, err
	}
	if r.offset >= v.until {
		n := copy(p, v.tail[r.offset-v.flushed:])
		r.offset += int64(n)
		return n, nil
	}
	p = p[:min(int64(len(p)), v.until-r.offset)]
	n, err := r.fill.file.ReadAt(p, r.offset)
	if v.until > v.flushed && r.fill.ArrivedUntil(r.offset) < r.offset+int64(len(p)) {
		return r.Read(p) // what lay ahead was cut off meanwhile, and may be a hole of the next fill's by now
	}
	r.offset += int64(n)
	if n > 0 {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return 0, r.fill.store.diskError("reading a fill", err)
}

// WriteTo implements io.WriterTo: it copies from the reader's offset to the end, waiting as Read does. Where w can take
// a file itself (io.ReaderFrom, as the connections of net/http do), the kernel sends what is there without copying it
// through memory.
func (r *FillReader) WriteTo(w io.Writer) (total int64, err error) {
	if r.closed {
		return 0, os.ErrClosed
	}
	to, direct := w.(io.ReaderFrom)
	for {
		v, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			return total, nil
		case err != nil:
			return total, err
		}
		var n int64
		file, ok := (*os.File)(nil), false
		if direct && r.offset < v.until && v.sendable {
			file, ok = r.openOwn()
		}
		switch {
		case r.offset >= v.until:
			n, err = write(w, v.tail[r.offset-v.flushed:])
			r.offset += n
		case ok:
			// All that is in the part may be read, so it is handed on as it is, without a limit: sendfile sees through one
			// io.LimitedReader, and the writer may bring its own.
			n, err = to.ReadFrom(file)
			r.offset += n
			if isMediaError(err) {
				err = r.fill.store.diskError("reading a fill", err)
			}
			direct = n > 0
		default:
			n, err = withCopyBuffer(func(buffer []byte) (int64, error) { return r.copyPiece(w, buffer) })
		}
		total += n
		if err != nil {
			return total, err
		}
	}
}

func (r *FillReader) copyPiece(w io.Writer, buffer []byte) (int64, error) {
	n, err := r.Read(buffer)
	if err != nil {
		return 0, err
	}
	written, err := write(w, buffer[:n])
	r.offset -= int64(n) - written
	return written, err
}

func write(w io.Writer, p []byte) (int64, error) {
	n, err := w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return int64(n), err
}

// openOwn returns the part, or the blob that it became, as a file with its own position, which is the reader's.
func (r *FillReader) openOwn() (*os.File, bool) {
	if r.own == nil {
		s := r.fill.store
		file, err := s.fs.Open(r.fill.path)
		if errors.Is(err, fs.ErrNotExist) {
			if entry, failed := r.fill.Result(); failed == nil {
				file, err = s.fs.Open(blobPath(s.dir, entry.Digest))
			}
		}
		if err != nil {
			return nil, false
		}
		if !isSameFile(file, r.fill.file) {
			_ = file.Close()
			return nil, false
		}
		r.own = file
	}
	file, ok := osFileOf(r.own)
	if !ok {
		return nil, false
	}
	_, err := file.Seek(r.offset, io.SeekStart)
	return file, err == nil
}

func isSameFile(one, other File) bool {
	a, err := one.Stat()
	if err != nil {
		return false
	}
	b, err := other.Stat()
	return err == nil && os.SameFile(a, b)
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
	default:
		return 0, errors.New("seeking from nowhere")
	}
	if offset < 0 {
		return 0, errors.New("seeking before the beginning")
	}
	r.offset = offset
	return offset, nil
}

// Close ends the reading.
func (r *FillReader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	if r.own != nil {
		_ = r.own.Close() // it was only read
	}
	if r.joined {
		r.fill.leave()
	}
	return nil
}
