package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// ErrWrong says that the object isn't what it should be, and ErrDistrusted that it was found so before, and hasn't been written
// anew since.
var (
	ErrWrong      = errors.New("what the bucket has isn't what it should be")
	ErrDistrusted = errors.New("what the bucket has wasn't what it should be")
)

// ErrNoParts says that the storage, or what stands before it, gives no parts of an object: it has sent all of it, or another part.
var ErrNoParts = errors.New("a part of the object was asked for, and something else was sent")

// Open is OpenPart up to the object's end.
func (b *Bucket) Open(ctx context.Context, content Content, offset int64, within time.Duration) (*Object, error) {
	return b.OpenPart(ctx, content, offset, content.Size, within)
}

// OpenPart returns the bytes of an object from one up to another. Its head is waited for as long as within says, and each 16 KiB of the
// object as long as Config.FirstByte says.
//
// ErrAbsent: the bucket hasn't it. ErrNoParts: it doesn't give parts. ErrWrong and ErrDistrusted: what it has isn't that. ErrResting: it isn't asked for now. A *TroubleError: it
// couldn't be asked. What is read may be wrong all the same: who has read all of it, from wherever, compares the sum, and says so
// if it is another (Distrust).
func (b *Bucket) OpenPart(ctx context.Context, content Content, from, until int64, within time.Duration) (*Object, error) {
	if b.memory.wrong.has(content.SHA256) {
		return nil, ErrDistrusted
	}
	name := b.BlobName(content.SHA256)
	if b.memory.absent.has(name) {
		return nil, ErrAbsent
	}
	if within < b.cfg.FirstByte/leastOfFirstByte {
		return nil, ErrResting // hardly any time is left, and too little to blame the bucket
	}
	const doing = "reading an object"
	done, err := b.memory.reading.ask()
	if err != nil {
		return nil, err
	}
	patient, alive, rest, end := patiently(ctx, within)
	object, err := b.openWithin(patient, name, content, from, until)
	rest() // only reads are waited for, and not who reads
	err = b.classified(ctx, patient, doing, err)
	if within < b.cfg.FirstByte/blamedFrom && errors.Is(err, errStandsStill) {
		err = fmt.Errorf("%w: %w", errNotTheBuckets, err) // with all of its time it may have answered
	}
	b.memory.reading.noteHead(asHealth(err))
	done(asHealth(err))
	switch {
	case err == nil:
		object.patience, object.remaining = b.cfg.FirstByte, b.cfg.FirstByte
		object.alive, object.rest, object.end = alive, rest, end
		object.failed = func(err error) error { return b.classified(ctx, patient, doing, err) }
		object.ended = func(err error) { b.memory.reading.noteBody(asHealth(err)) }
		return object, nil
	case errors.Is(err, ErrAbsent):
		b.memory.absent.note(name, absentFor)
	case errors.Is(err, ErrWrong):
		b.Distrust(content.SHA256)
	}
	end(nil)
	return nil, err
}

const (
	// leastOfFirstByte is which part of FirstByte must be left to ask for an object: one in so many.
	leastOfFirstByte = 10
	// blamedFrom is with which part of FirstByte, one in so many, a head that doesn't come is the bucket's fault. Who asks has never quite
	// all of it: a location may have been read before, by the same bucket.
	blamedFrom = 2
)

func (b *Bucket) openWithin(ctx context.Context, name string, content Content, from, until int64) (*Object, error) {
	return within(ctx, func() (*Object, error) { return b.open(ctx, name, content, from, until) }, func(late *Object) { _ = late.body.Close() })
}

func (b *Bucket) open(ctx context.Context, name string, content Content, from, until int64) (*Object, error) {
	var options minio.GetObjectOptions
	var err error
	switch {
	case until < content.Size:
		err = options.SetRange(from, until-1)
	case from > 0:
		err = options.SetRange(from, 0)
	}
	if err != nil {
		return nil, err
	}
	body, info, header, err := b.core.GetObject(ctx, b.cfg.Name, name, options)
	if err != nil {
		return nil, err
	}
	if isPart := from > 0 || until < content.Size; isPart && !strings.HasPrefix(header.Get("Content-Range"), fmt.Sprintf("bytes %d-", from)) {
		_ = body.Close()
		return nil, ErrNoParts
	}
	if info.Size < 0 {
		_ = body.Close()
		return nil, &TroubleError{Doing: "reading an object", Words: "the storage doesn't say how long it is"}
	}
	if length := until - from; info.Size != length {
		_ = body.Close()
		return nil, fmt.Errorf("%w: from byte %d to byte %d it has %d bytes, and should have %d", ErrWrong, from, until, info.Size, length)
	}
	return &Object{body: body, left: until - from, written: info.LastModified}, nil
}

// Distrust says that the object of that sum had other bytes. It isn't read again for Config.Refresh, or until it was written anew.
func (b *Bucket) Distrust(sum SHA256) { b.memory.wrong.note(sum, b.cfg.Refresh) }

// IsDistrusted reports whether the object of that sum had other bytes, and wasn't written anew since.
func (b *Bucket) IsDistrusted(sum SHA256) bool { return b.memory.wrong.has(sum) }

// leastProgress is how many bytes must come in the time in which one byte would do: else a storage that gives one now and then could
// hold a download up for ever.
const leastProgress = 16 << 10

// Object is an object's bytes on their way. It is for one reader.
type Object struct {
	body    io.ReadCloser
	left    int64
	written time.Time
	// patience is how long leastProgress bytes may take, or the rest of them, remaining what is left of that, and progress how many came.
	patience, remaining time.Duration
	progress            int64
	alive               func(time.Duration)
	rest                func()
	end                 context.CancelCauseFunc
	failed              func(error) error
	// ended is told once how the body ended, unless it is closed before.
	ended func(error)
}

// Written is when the object was written.
func (o *Object) Written() time.Time { return o.written }

// Read implements io.Reader. Its error is io.EOF only when all has come.
func (o *Object) Read(p []byte) (int, error) {
	begun := time.Now()
	o.alive(o.remaining)
	n, err := o.body.Read(p)
	o.rest()
	o.remaining -= time.Since(begun)
	if o.progress += int64(n); o.progress >= leastProgress {
		o.progress, o.remaining = 0, o.patience
	}
	o.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && o.left == 0:
		o.tell(nil)
		return n, io.EOF
	case errors.Is(err, io.EOF):
		err = &TroubleError{Doing: "reading an object", Words: "the storage ended before its end", Err: io.ErrUnexpectedEOF}
	}
	err = o.failed(err)
	o.tell(err)
	return n, err
}

// tell tells how the body ended.
func (o *Object) tell(err error) {
	if o.ended != nil {
		o.ended(err)
		o.ended = nil
	}
}

// Close ends the reading.
func (o *Object) Close() error {
	o.end(nil)
	return o.body.Close()
}
