package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Blob is a stored file, open for one reader. What it takes of the disk counts until it is closed, also when its entry
// is gone by then.
type Blob struct {
	size int64
	// data is the whole file, if it is in memory, and memory its reader. The bytes lie in segment, or in buffer if they were
	// read from the disk just now.
	data    []byte
	memory  bytes.Reader
	segment *segment
	buffer  *smallBuffer
	// file is the file otherwise, offset its position, and state the blob it belongs to.
	file   File
	offset int64
	store  *Store
	state  *blobState
}

// memoryBlob is a file of the memory tier, whose segment was entered.
func memoryBlob(file *memoryFile) *Blob {
	b := &Blob{size: int64(file.size), data: file.bytes(), segment: file.segment}
	b.memory.Reset(b.data)
	return b
}

// Size is the file's length in bytes.
func (b *Blob) Size() int64 { return b.size }

// Bytes returns the whole file if it is in memory. The bytes must not be changed, and after Close not be read any more: they
// are another file's then, or no memory at all.
func (b *Blob) Bytes() ([]byte, bool) { return b.data, b.data != nil }

// IsFromDisk reports whether the file was read from the disk for this reader, or will be.
func (b *Blob) IsFromDisk() bool { return b.segment == nil }

// Read implements io.Reader. ErrDisk means that the disk couldn't give the file back, to its end: it is removed, and the
// next caller fetches it again. What was read so far is right as far as anybody can tell; the rest must come from
// elsewhere.
func (b *Blob) Read(p []byte) (int, error) {
	if b.data != nil {
		return b.memory.Read(p)
	}
	if b.file == nil {
		return 0, os.ErrClosed
	}
	n, err := b.file.Read(p)
	b.offset += int64(n)
	switch {
	case errors.Is(err, io.EOF) && b.offset < b.size:
		return n, b.lost(io.ErrUnexpectedEOF)
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed):
		return n, err
	}
	return n, b.lost(err)
}

// WriteTo implements io.WriterTo: it copies from the present position to the end. Where w can take a file itself
// (io.ReaderFrom, as the connections of net/http do), the kernel sends it without copying it through memory. Its errors
// are Read's and w's.
func (b *Blob) WriteTo(w io.Writer) (total int64, err error) {
	if b.data != nil {
		return b.memory.WriteTo(w)
	}
	if b.file == nil {
		return 0, os.ErrClosed
	}
	file, isFile := osFileOf(b.file)
	to, direct := w.(io.ReaderFrom)
	if !isFile || !direct {
		return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{b}, make([]byte, copyPiece))
	}
	// Handed on as it is, without a limit: sendfile sees through one io.LimitedReader, and the writer may bring its own.
	total, err = to.ReadFrom(file)
	b.offset += total
	switch {
	case err == nil && b.offset < b.size:
		return total, b.lost(io.ErrUnexpectedEOF)
	case isMediaError(err):
		return total, b.lost(err)
	}
	return total, err
}

// lost gives a file up that can't be read on.
func (b *Blob) lost(err error) error {
	b.store.discard(b.state, reasonUnreadable)
	return b.store.diskError("reading a blob", err)
}

// Seek implements io.Seeker.
func (b *Blob) Seek(offset int64, whence int) (position int64, err error) {
	if b.data != nil {
		return b.memory.Seek(offset, whence)
	}
	if b.file == nil {
		return 0, os.ErrClosed
	}
	position, err = b.file.Seek(offset, whence)
	if err == nil {
		b.offset = position // else it is where it was, and not the file's beginning
	}
	return position, err
}

// Close ends the reading.
func (b *Blob) Close() error {
	if b.data != nil {
		b.data = nil
		if b.segment != nil {
			b.segment.leave()
		}
		b.buffer.release()
	}
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file = nil
	b.store.leaveBlob(b.state)
	return err
}

// Use counts as a use of an entry's file, without opening it and without a hit: somebody wants it to stay.
func (s *Store) Use(e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.useLocked(e, 0)
}

// useLocked notes that an entry is used now: it is evicted after all that were used before. An entry that is another one by
// now, or gone, stays what it is.
func (s *Store) useLocked(e Entry, hits uint32) {
	if e.node == nil || !e.node.isLinked() {
		return
	}
	e.node.hits += hits
	s.entries.use(e.node)
	s.durability.use(e.node.hash, s.now())
}

// OpenBlob opens an entry's file to serve it, and counts as its use. ErrMiss means that there is none to be had now: fetch the file again. It is gone or
// damaged, and the entry was dropped for it; or it is just being removed, or put under its name by somebody who fetched the
// same bytes. Then the entry stays what it is: waiting for that would be waiting for a sync. Other errors say nothing about
// the entry.
func (s *Store) OpenBlob(e Entry) (*Blob, error) { return s.openBlob(e, 0) }

// OpenHit is OpenBlob for who is served from the store, and not with what was fetched for them: it counts as a hit
// (Listed.Hits) too.
func (s *Store) OpenHit(e Entry) (*Blob, error) { return s.openBlob(e, 1) }

func (s *Store) openBlob(e Entry, hits uint32) (*Blob, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	if file := s.memory.get(e.Digest); file != nil {
		blob := memoryBlob(file)
		s.useLocked(e, hits)
		s.mu.Unlock()
		s.counters.memoryHits.Add(1)
		return blob, nil
	}
	state := s.blobs[e.Digest]
	if state == nil || state.busy != nil || state.damaged {
		s.mu.Unlock()
		return nil, ErrMiss
	}
	s.useLocked(e, hits)
	s.enterBlobLocked(state)
	place := s.startPromotionLocked(e, state)
	s.mu.Unlock()

	if place == nil && state.size <= smallFile {
		if buffer := takeSmallBuffer(); buffer != nil {
			return s.readSmall(state, buffer)
		}
	}
	blob, err := s.openFile(state)
	if place == nil {
		return blob, err
	}
	if err != nil {
		s.mu.Lock()
		delete(s.memory.promoting, state.digest)
		s.memory.disown(place)
		s.mu.Unlock()
		place.segment.leave()
		return nil, err
	}
	return s.promote(blob, place)
}

// openFile opens the file of a blob that was entered, and leaves it on errors.
func (s *Store) openFile(state *blobState) (*Blob, error) {
	file, err := s.openNamed(state)
	if err != nil {
		s.leaveBlob(state)
		return nil, err
	}
	blob := &Blob{size: state.size, file: file, store: s, state: state}
	info, err := file.Stat()
	if err != nil {
		_ = blob.Close()
		return nil, s.openFailed(state, "opening a blob", err)
	}
	if info.Size() != state.size {
		_ = blob.Close()
		s.discard(state, reasonLength)
		return nil, ErrMiss
	}
	return blob, nil
}

// openNamed opens the file of a blob. One that is gone, or can't be had, is a miss.
func (s *Store) openNamed(state *blobState) (File, error) {
	file, err := s.fs.Open(blobPath(s.dir, state.digest))
	if errors.Is(err, fs.ErrNotExist) {
		s.discard(state, reasonGone)
		return nil, ErrMiss
	}
	if err != nil {
		return nil, s.openFailed(state, "opening a blob", err)
	}
	return file, nil
}

// openFailed tells a file that can't be had, which is as good as gone, from a system that can't open it now.
func (s *Store) openFailed(state *blobState, doing string, err error) error {
	failure := s.diskError(doing, err)
	if isOfFile(err) {
		s.discard(state, fmt.Sprintf("%s: %v", reasonUnreadable, err))
		return ErrMiss
	}
	return failure
}

func (s *Store) enterBlobLocked(blob *blobState) {
	blob.open++
	if blob.open == 1 {
		s.space.open += blob.size
	}
}

func (s *Store) leaveBlob(blob *blobState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveBlobLocked(blob)
}

// leaveBlobLocked takes a reader off a blob. The last of a removed one gives its bytes back.
func (s *Store) leaveBlobLocked(blob *blobState) {
	blob.open--
	if blob.open > 0 {
		return
	}
	if blob.unlinked {
		s.space.lingering -= blob.size
	} else {
		s.space.open -= blob.size
	}
	s.space.announce()
}
