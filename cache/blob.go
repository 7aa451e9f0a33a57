package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"

	"go.uber.org/zap"
)

// memoryShare is the part of the memory tier that one blob may take at most: an eviction from it never frees less than
// many small files need.
const memoryShare = 64

// Blob is a stored file, open for one reader. What it takes of the disk counts until it is closed, also when its entry
// is gone by then.
type Blob struct {
	// reader is the file, or is made of data when somebody reads: most who have Bytes don't.
	reader io.ReadSeeker
	store  *Store
	state  *blobState
	size   int64
	data   []byte
	file   File
}

// Size is the file's length in bytes.
func (b *Blob) Size() int64 { return b.size }

// Bytes returns the whole file if it is in memory. It must not be changed.
func (b *Blob) Bytes() ([]byte, bool) { return b.data, b.data != nil }

// File returns the open file itself, for sendfile. Its position is the blob's own.
func (b *Blob) File() (*os.File, bool) {
	switch file := b.file.(type) {
	case syncedFile:
		return file.File, true
	case *os.File:
		return file, true
	}
	return nil, false
}

// Read implements io.Reader.
func (b *Blob) Read(p []byte) (int, error) { return b.readSeeker().Read(p) }

// Seek implements io.Seeker.
func (b *Blob) Seek(offset int64, whence int) (int64, error) {
	return b.readSeeker().Seek(offset, whence)
}

func (b *Blob) readSeeker() io.ReadSeeker {
	if b.reader == nil {
		b.reader = bytes.NewReader(b.data)
	}
	return b.reader
}

// Close ends the reading.
func (b *Blob) Close() error {
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file = nil
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.store.closeBlobLocked(b.state)
	return err
}

// closeBlobLocked takes a reader off a blob.
func (s *Store) closeBlobLocked(blob *blobState) {
	blob.open--
	if blob.unlinked && blob.open == 0 {
		s.space.lingering -= blob.size
		s.space.announce()
	}
}

// OpenBlob opens an entry's file. ErrMiss means that the entry is gone, or that its file was found to be gone or damaged
// and the entry was dropped for it: fetch the file again.
func (s *Store) OpenBlob(e Entry) (*Blob, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	if data, ok := s.memory.Get(e.Digest); ok {
		s.mu.Unlock()
		return &Blob{size: int64(len(data)), data: data}, nil
	}
	state := s.blobs[e.Digest]
	if state == nil || state.busy != nil || state.damaged {
		s.mu.Unlock()
		return nil, ErrMiss
	}
	state.open++
	small := s.limits.Memory > 0 && e.Size <= s.limits.Memory/memoryShare
	s.mu.Unlock()

	file, err := s.fs.Open(blobPath(s.dir, e.Digest))
	if err != nil {
		s.mu.Lock()
		s.closeBlobLocked(state)
		s.mu.Unlock()
		if errors.Is(err, fs.ErrNotExist) {
			s.discard(e, "its file is gone")
			return nil, ErrMiss
		}
		return nil, s.diskError("opening a blob", err)
	}
	blob := &Blob{reader: file, store: s, state: state, size: e.Size, file: file}
	if info, err := file.Stat(); err != nil || info.Size() != e.Size {
		_ = blob.Close()
		s.discard(e, "its file has another length")
		return nil, ErrMiss
	}
	if small {
		return s.promote(e, blob)
	}
	return blob, nil
}

// promote reads a small file into the memory tier, and makes sure on the way that it is what its name says.
func (s *Store) promote(e Entry, blob *Blob) (*Blob, error) {
	defer blob.Close()
	data := make([]byte, e.Size)
	if _, err := io.ReadFull(blob.file, data); err != nil {
		s.discard(e, "its file can't be read")
		return nil, ErrMiss
	}
	if sha256.Sum256(data) != e.Digest {
		s.mu.Lock()
		s.counters.checksumFailures++
		s.mu.Unlock()
		s.discard(e, "its checksum is wrong")
		return nil, ErrMiss
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs[e.Digest] == blob.state && !s.memory.Contains(e.Digest) {
		s.memory.Add(e.Digest, data)
		s.space.memory += int64(len(data))
		s.trimMemoryLocked()
	}
	return &Blob{size: e.Size, data: data}, nil
}

func (s *Store) trimMemoryLocked() {
	for s.space.memory > s.limits.Memory {
		_, data, ok := s.memory.RemoveOldest()
		if !ok {
			return
		}
		s.space.memory -= int64(len(data))
	}
}

func (s *Store) forgetMemoryLocked(digest Digest) {
	if data, ok := s.memory.Peek(digest); ok {
		s.memory.Remove(digest)
		s.space.memory -= int64(len(data))
	}
}

// discard removes a blob that isn't what its name says, with all entries that name it: the next caller fetches it.
func (s *Store) discard(e Entry, reason string) {
	s.logger.Error("a stored file is damaged; it is removed and will be fetched again",
		zap.Stringer("key", e.Key), zap.Stringer("sha256", e.Digest), zap.String("reason", reason))
	s.mu.Lock()
	defer s.mu.Unlock()
	if blob := s.blobs[e.Digest]; blob != nil {
		blob.damaged = true
	}
	gone := new(removal)
	for _, h := range s.entries.Keys() {
		if n, ok := s.entries.Peek(h); ok && n.digest == e.Digest {
			s.dropLocked(h, n)
			gone.hashes = append(gone.hashes, h)
		}
	}
	s.forgetMemoryLocked(e.Digest)
	s.removals = append(s.removals, gone)
	s.wakeJanitor()
}
