package cache

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// heldBack is how much of a file's end its readers don't get before length and checksum are known to be right, so that
// a damaged body is a broken-off answer and never looks whole.
const heldBack = 64 << 10

// growthStep is how much room a fill of unknown length takes at a time.
const growthStep = 4 << 20

// Fill is a file on its way into the store. One goroutine writes, and ends with Commit or Abort; any number of readers
// follow, and none is in the writer's way.
type Fill struct {
	store      *Store
	key        Key
	generation Generation
	spec       FillSpec
	path       string
	hash       hash.Hash

	// mu guards all below; it is taken before Store.mu. Nothing is read or written under it.
	mu      sync.Mutex
	file    File
	written int64
	// grown is closed and replaced when there is more to read; done is closed at the end.
	grown chan struct{}
	done  chan struct{}
	ended bool
	// whole says that all bytes may be read; err why there won't be more.
	whole bool
	err   error
	entry Entry
	// users are the writer and the readers; the last closes the file.
	users int
	// reserved is what the fill holds of the store's room, unwritten the part of it not on disk.
	reserved int64
	// blob is what the file became; linger what it still takes of the disk when it became nothing.
	blob   *blobState
	linger int64
}

// Begin reserves room for a file and opens it. ErrNoRoom means that it doesn't fit, now or ever: stream it through.
// Any other error is trouble with the disk, and means the same to the caller.
func (s *Store) Begin(k Key, g Generation, spec FillSpec) (*Fill, error) {
	s.mu.Lock()
	limits, closed := s.limits, s.closed
	s.parts++
	number := s.parts
	s.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if limits.MaxObject > 0 && spec.Size > limits.MaxObject {
		return nil, ErrNoRoom
	}
	if s.generations.of(k) != g {
		return nil, ErrSuperseded
	}
	first := spec.Size
	if first < 0 {
		first = min(growthStep, limits.MaxSize)
	}
	if err := s.reserve(first); err != nil {
		return nil, err
	}
	f := &Fill{
		store: s, key: k, generation: g, spec: spec, path: partPath(s.dir, number), hash: sha256.New(),
		grown: make(chan struct{}), done: make(chan struct{}), users: 1, reserved: first,
	}
	file, err := s.fs.Create(f.path)
	if err != nil {
		s.mu.Lock()
		s.releaseLocked(first, first)
		s.mu.Unlock()
		return nil, s.diskError("creating a fill", err)
	}
	f.file = file
	s.mu.Lock()
	s.counters.fills++
	s.mu.Unlock()
	return f, nil
}

// diskError counts trouble with the disk and makes it an ErrDisk.
func (s *Store) diskError(doing string, err error) error {
	s.mu.Lock()
	s.counters.diskErrors++
	s.mu.Unlock()
	return fmt.Errorf("%w: %s: %w", ErrDisk, doing, err)
}

// Write appends to the file. After an error the fill is over: readers get ErrDisk and go on elsewhere, or ErrTooLong.
func (f *Fill) Write(p []byte) (int, error) {
	f.mu.Lock()
	written, reserved, ended := f.written, f.reserved, f.ended
	f.mu.Unlock()
	if ended {
		return 0, f.Err()
	}
	after := written + int64(len(p))
	if f.spec.Size >= 0 && after > f.spec.Size {
		f.finish(false, ErrTooLong)
		return 0, ErrTooLong
	}
	if after > reserved {
		if err := f.grow(after); err != nil {
			f.finish(false, err)
			return 0, err
		}
	}
	n, err := f.file.Write(p)
	f.store.mu.Lock()
	f.store.space.unwritten -= int64(n)
	f.store.mu.Unlock()
	if err != nil {
		err = f.store.diskError("writing a fill", err)
		f.mu.Lock()
		f.written += int64(n)
		f.mu.Unlock()
		f.finish(false, err)
		return n, err
	}
	_, _ = f.hash.Write(p)
	f.mu.Lock()
	f.written = after
	close(f.grown)
	f.grown = make(chan struct{})
	f.mu.Unlock()
	return n, nil
}

// grow takes more room for a file of unknown length. When there is none its readers go on elsewhere, as they do when
// the disk fails.
func (f *Fill) grow(to int64) error {
	f.store.mu.Lock()
	limit := f.store.limits.MaxObject
	f.store.mu.Unlock()
	if limit > 0 && to > limit {
		return fmt.Errorf("%w: %w", ErrDisk, ErrNoRoom)
	}
	step := max(growthStep, to-f.reserved)
	if err := f.store.reserve(step); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	f.mu.Lock()
	f.reserved += step
	f.mu.Unlock()
	return nil
}

// Written is how many bytes have arrived.
func (f *Fill) Written() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written
}

// Size is the file's length; -1 while it isn't known.
func (f *Fill) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spec.Size < 0 && f.whole {
		return f.written
	}
	return f.spec.Size
}

// Done is closed when the fill has ended.
func (f *Fill) Done() <-chan struct{} { return f.done }

// Err says why the fill has ended without being whole; nil before that, and for a whole one.
func (f *Fill) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Result returns what a fill that has ended has become: its entry, or why there is none. Before that it is ErrMiss.
func (f *Fill) Result() (Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.ended:
		return Entry{}, ErrMiss
	case f.err != nil:
		return Entry{}, f.err
	case f.entry.Stored.IsZero():
		return Entry{}, ErrMiss
	}
	return f.entry, nil
}

// Commit ends the fill: its length and its checksum must be right. The entry is served at once and is durable within
// about a second. g is the generation that must still be the key's: the one given to Begin, or the one in which a
// publish ended.
//
// ErrShort and ErrChecksum are the readers' error too. After ErrSuperseded, and ErrDisk from here on, readers still end
// well, and nothing is kept.
func (f *Fill) Commit(g Generation) (Entry, error) {
	f.mu.Lock()
	written, ended := f.written, f.ended
	f.mu.Unlock()
	if ended {
		return f.Result()
	}
	if f.spec.Size >= 0 && written != f.spec.Size {
		f.finish(false, ErrShort)
		return Entry{}, ErrShort
	}
	digest := Digest(f.hash.Sum(nil))
	if !f.spec.SHA256.IsZero() && digest != f.spec.SHA256 {
		f.store.mu.Lock()
		f.store.counters.checksumFailures++
		f.store.mu.Unlock()
		f.finish(false, ErrChecksum)
		return Entry{}, ErrChecksum
	}
	if f.spec.Identity.Length < 0 {
		f.spec.Identity.Length = written
	}
	entry, err := f.publish(digest, written, g)
	f.mu.Lock()
	f.entry = entry
	f.mu.Unlock()
	f.finish(true, nil)
	return entry, err
}

// publish puts the file under its blob name and enters it.
func (f *Fill) publish(digest Digest, size int64, g Generation) (Entry, error) {
	s := f.store
	if s.generations.of(f.key) != g {
		return Entry{}, ErrSuperseded
	}
	if err := s.materialize(f.key); err != nil {
		return Entry{}, err
	}
	for {
		s.mu.Lock()
		blob := s.blobs[digest]
		if blob != nil && blob.busy != nil {
			// Its name is being given or taken by somebody else; both last no longer than a rename.
			busy := blob.busy
			s.mu.Unlock()
			<-busy
			continue
		}
		if s.closed {
			s.mu.Unlock()
			return Entry{}, ErrClosed
		}
		if blob == nil || blob.damaged {
			return f.publishNewLocked(digest, size, g)
		}
		defer s.mu.Unlock()
		if s.generations.of(f.key) != g {
			return Entry{}, ErrSuperseded
		}
		return s.insertLocked(s.newEntry(f.key, f.spec, digest, size), blob, g, f.spec.Confirmed), nil
	}
}

// publishNewLocked renames the part to a blob that isn't there yet. It is called with Store.mu held and returns
// without it.
func (f *Fill) publishNewLocked(digest Digest, size int64, g Generation) (Entry, error) {
	s := f.store
	if damaged := s.blobs[digest]; damaged != nil {
		s.unlinkedLocked(digest, damaged) // the rename overwrites it
	}
	blob := &blobState{size: size, busy: make(chan struct{})}
	s.blobs[digest] = blob
	s.mu.Unlock()
	err := s.fs.Rename(f.path, blobPath(s.dir, digest))

	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		close(blob.busy)
		blob.busy = nil
	}()
	if err != nil {
		delete(s.blobs, digest)
		s.counters.diskErrors++
		return Entry{}, fmt.Errorf("%w: naming a blob: %w", ErrDisk, err)
	}
	// From here on the file is the blob's, and so are its bytes; our own readers are readers of it.
	f.blob = blob
	blob.open = 1
	s.space.blobs += size
	s.releaseLocked(f.reserved, f.reserved-size)
	f.reserved = 0
	if s.generations.of(f.key) != g {
		s.orphans[digest] = struct{}{}
		s.wakeJanitor()
		return Entry{}, ErrSuperseded
	}
	return s.insertLocked(s.newEntry(f.key, f.spec, digest, size), blob, g, f.spec.Confirmed), nil
}

// Abort ends the fill with an error, which readers get after the bytes that are there. After Commit or another Abort it
// does nothing.
func (f *Fill) Abort(err error) {
	if err == nil {
		err = errors.New("the fill was given up")
	}
	f.finish(false, err)
}

// finish ends the fill once.
func (f *Fill) finish(whole bool, err error) {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return
	}
	f.ended, f.whole, f.err = true, whole, err
	close(f.done)
	close(f.grown)
	f.mu.Unlock()
	s := f.store
	if f.blob == nil {
		// Gone from the directory; its readers go on with the open file.
		if err := s.fs.Remove(f.path); err != nil {
			_ = s.diskError("removing a fill", err)
		}
	}
	s.mu.Lock()
	s.counters.fills--
	if f.blob == nil {
		f.linger = f.written
		s.space.lingering += f.linger
		s.releaseLocked(f.reserved, f.reserved-f.written)
	}
	s.mu.Unlock()
	f.leave()
}

// join counts a reader; false when the file is closed already.
func (f *Fill) join() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users == 0 {
		return false
	}
	f.users++
	return true
}

// leave takes the writer or a reader off; the last closes the file, and the disk has its bytes back.
func (f *Fill) leave() {
	f.mu.Lock()
	f.users--
	last := f.users == 0
	f.mu.Unlock()
	if !last {
		return
	}
	_ = f.file.Close()
	s := f.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.blob != nil {
		s.closeBlobLocked(f.blob)
		return
	}
	s.space.lingering -= f.linger
	s.space.announce()
}
