package cache

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
)

// Blob is a stored file, open for one reader. What it takes of the disk counts until it is closed, also when its entry
// is gone by then.
type Blob struct {
	size int64
	// data is the whole file, if it is in memory, and memory its reader.
	data   []byte
	memory bytes.Reader
	// file is the file otherwise, and state the blob it belongs to.
	file  File
	store *Store
	state *blobState
}

func memoryBlob(data []byte) *Blob {
	b := &Blob{size: int64(len(data)), data: data}
	b.memory.Reset(data)
	return b
}

// Size is the file's length in bytes.
func (b *Blob) Size() int64 { return b.size }

// Bytes returns the whole file if it is in memory. It must not be changed.
func (b *Blob) Bytes() ([]byte, bool) { return b.data, b.data != nil }

// File returns the open file itself, for sendfile. Its position is the blob's own, and Close closes it. If it
// can't be copied to its end, call Judge.
func (b *Blob) File() (*os.File, bool) {
	if b.file == nil {
		return nil, false
	}
	return osFileOf(b.file)
}

// Read implements io.Reader.
func (b *Blob) Read(p []byte) (int, error) {
	if b.data != nil {
		return b.memory.Read(p)
	}
	if b.file == nil {
		return 0, os.ErrClosed
	}
	n, err := b.file.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
		b.store.discard(b.state, reasonUnreadable)
	}
	return n, err
}

// Seek implements io.Seeker.
func (b *Blob) Seek(offset int64, whence int) (int64, error) {
	if b.data != nil {
		return b.memory.Seek(offset, whence)
	}
	if b.file == nil {
		return 0, os.ErrClosed
	}
	return b.file.Seek(offset, whence)
}

// Judge is told the error with which copying from File ended, where the file ended early an io.ErrUnexpectedEOF. If it
// is the file's fault, and not the writer's, the file is removed, and the next caller fetches it again.
func (b *Blob) Judge(err error) {
	if b.file != nil && (isMediaError(err) || errors.Is(err, io.ErrUnexpectedEOF)) {
		b.store.discard(b.state, reasonUnreadable)
	}
}

// Close ends the reading.
func (b *Blob) Close() error {
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file = nil
	b.store.leaveBlob(b.state)
	return err
}

// OpenBlob opens an entry's file. ErrMiss means that the entry's file is gone or damaged, and that the entry was dropped
// for it: fetch the file again. Other errors say nothing about the entry.
func (s *Store) OpenBlob(e Entry) (*Blob, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	if data, ok := s.memory.blobs.Get(e.Digest); ok {
		s.mu.Unlock()
		s.counters.memoryHits.Add(1)
		return memoryBlob(data), nil
	}
	state := s.blobs[e.Digest]
	if state == nil || state.busy != nil || state.damaged {
		s.mu.Unlock()
		return nil, ErrMiss
	}
	s.enterBlobLocked(state)
	promote := s.startPromotionLocked(state)
	s.mu.Unlock()

	blob, err := s.openFile(state)
	if err == nil && promote {
		return s.promote(blob)
	}
	if promote {
		s.mu.Lock()
		delete(s.memory.promoting, state.digest)
		s.mu.Unlock()
	}
	return blob, err
}

// openFile opens the file of a blob that was entered, and leaves it on errors.
func (s *Store) openFile(state *blobState) (*Blob, error) {
	file, err := s.fs.Open(blobPath(s.dir, state.digest))
	if err != nil {
		s.leaveBlob(state)
		if errors.Is(err, fs.ErrNotExist) {
			s.discard(state, reasonGone)
			return nil, ErrMiss
		}
		return nil, s.openFailed(state, "opening a blob", err)
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

// openFailed tells a file that the disk can't give back, which is as good as gone, from a system that can't open it now.
func (s *Store) openFailed(state *blobState, doing string, err error) error {
	failure := s.diskError(doing, err)
	if isMediaError(err) {
		s.discard(state, reasonUnreadable)
		return ErrMiss
	}
	return failure
}

func (s *Store) enterBlobLocked(blob *blobState) {
	blob.open++
	if blob.open == 1 && !blob.unlinked {
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
