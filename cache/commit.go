package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"
)

// Commit ends the fill: its length and its checksum must be right. The entry is served at once and is durable within
// about a second. g is the generation that must still be the key's: the one given to Begin, or the one in which a
// publish ended.
//
// The copy of an unproven upload must be adopted before; else it ends with ErrUnproven, or with what has ended it already.
// ErrShort and ErrChecksum are the readers' error too. After all others (ErrSuperseded, ErrDisk, ErrClosed) readers
// still end well, and nothing is kept. Of an ended fill it returns the result again. Only who writes the fill may call it.
func (f *Fill) Commit(g Generation) (Entry, error) {
	if f.isCopy() {
		f.Abort(ErrUnproven)
		return f.Result()
	}
	f.mu.Lock()
	written, over := f.written, f.ended
	f.committing = !over
	f.mu.Unlock()
	if over {
		return f.Result()
	}
	if f.spec.Size >= 0 && written != f.spec.Size {
		f.finish(ending{err: ErrShort})
		return Entry{}, ErrShort
	}
	digest := Digest(f.hash.Sum(nil))
	if !f.spec.SHA256.IsZero() && digest != f.spec.SHA256 {
		f.finish(ending{err: ErrChecksum})
		return Entry{}, ErrChecksum
	}
	if f.spec.Identity.Length < 0 {
		f.spec.Identity.Length = written
	}
	entry, blob, err := f.enterEntry(digest, written, g)
	f.finish(ending{entry: entry, blob: blob, notKept: err})
	return entry, err
}

// Owe says that a shared store is to get the file's bytes, once it is committed and some time has passed since (owed.go); after a
// restart at once. Only who writes the fill may call it, before Commit.
func (f *Fill) Owe(after time.Duration) {
	f.spec.owed, f.spec.owedAfter, f.spec.shared = true, after, time.Time{}
}

// OweInPlaceOfWrong is Owe of a file of which the shared store has wrong bytes: whoever is given it writes over them, also after a
// restart, when nobody else knows any more that they are wrong.
func (f *Fill) OweInPlaceOfWrong() {
	f.Owe(0)
	f.spec.sharedWrongly = true
}

// NoteShared says that a shared store has had the file's bytes since that time. Only who writes the fill may call it, before Commit.
func (f *Fill) NoteShared(since time.Time) {
	f.spec.owed, f.spec.sharedWrongly, f.spec.shared = false, false, since.UTC().Truncate(time.Second)
}

// Expect says which sum the whole file must have, where that is known only now. Only who writes the fill may call it, before Commit.
func (f *Fill) Expect(sum Digest) { f.spec.SHA256 = sum }

// enterEntry makes the key an entry of its bytes: of a blob that is there already, or else of the part under its blob
// name. It returns the blob only if that is the part. Whole parts need no sync here: until they are durable, the index
// doesn't name them.
func (f *Fill) enterEntry(digest Digest, size int64, g Generation) (Entry, *blobState, error) {
	s := f.store
	if s.generations.of(f.key) != g {
		return Entry{}, nil, ErrSuperseded
	}
	if err := s.materialize(f.key); err != nil {
		return Entry{}, nil, err
	}
	complete := false // whether the part has all bytes
	for {
		s.mu.Lock()
		blob := s.blobs[digest]
		switch {
		case s.closed:
			s.mu.Unlock()
			return Entry{}, nil, ErrClosed
		case blob != nil && blob.busy != nil:
			// Its name is being given or taken by somebody else; both last no longer than a sync, a rename or an unlink.
			busy := blob.busy
			s.mu.Unlock()
			<-busy
		case blob != nil && !blob.damaged:
			defer s.mu.Unlock()
			if s.generations.of(f.key) != g {
				return Entry{}, nil, ErrSuperseded
			}
			if s.isOutdatedLocked(f.key, g, blob, f.spec.Confirmed) {
				return Entry{}, nil, ErrSuperseded
			}
			s.counters.stored.Add(1)
			return s.insertLocked(s.newEntry(f.key, f.spec, digest, size), blob, g, f.spec.Confirmed), nil, nil
		case complete:
			n := s.beginNamingLocked(digest, size)
			s.mu.Unlock()
			return f.namePart(n, g)
		default:
			s.mu.Unlock()
			// The end that was held back.
			if err := f.writePiece(f.tail, f.flushed); err != nil {
				return Entry{}, nil, err
			}
			complete = true
		}
	}
}

// rename gives the part the name of its blob. A directory of blobs that somebody removed is made again, and named durably
// as at the start.
func (f *Fill) rename(digest Digest) error {
	s := f.store
	err := s.fs.Rename(f.path, blobPath(s.dir, digest))
	if errors.Is(err, syscall.EXDEV) {
		s.split.Store(true)
	}
	if !errors.Is(err, fs.ErrNotExist) || s.isDirectoryLost() {
		return err
	}
	if failed := s.fs.MkdirAll(shardPath(s.dir, digest[0])); failed != nil {
		return errors.Join(err, fmt.Errorf("making its directory again: %w", failed))
	}
	for _, parent := range []string{blobsPath(s.dir), s.dir} {
		if failed := s.fs.SyncDir(parent); failed != nil {
			return errors.Join(err, fmt.Errorf("making its directory again: %w", failed))
		}
	}
	return s.fs.Rename(f.path, blobPath(s.dir, digest))
}

// naming is a part on its way to its blob's name.
type naming struct {
	blob *blobState
	// before is the damaged blob that has the name still; nil for none.
	before *blobState
	// named says that the index may name the bytes already.
	named bool
}

// beginNamingLocked makes a new blob known. While that is busy nobody removes a file of its name.
func (s *Store) beginNamingLocked(digest Digest, size int64) naming {
	n := naming{blob: &blobState{digest: digest, size: size, busy: make(chan struct{})}, before: s.blobs[digest]}
	s.blobs[digest] = n.blob
	n.named = s.leaving.isDangling(digest) || n.before != nil || s.starting.loading
	return n
}

// namePart renames the part to a blob whose naming has begun.
func (f *Fill) namePart(n naming, g Generation) (Entry, *blobState, error) {
	s, blob := f.store, n.blob
	digest, size := blob.digest, blob.size
	var err error
	if n.named {
		// The index would name what a power cut leaves of them.
		err = f.file.Sync()
	}
	if err == nil {
		err = f.insist(func() error { return f.rename(digest) })
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		close(blob.busy)
		blob.busy = nil
	}()
	if err != nil {
		delete(s.blobs, digest) // whatever has that name now, nobody vouches for it
		if n.before != nil {
			s.blobs[digest] = n.before
			s.leaving.orphan(n.before)
		}
		return Entry{}, nil, s.diskError("naming a blob", err)
	}
	if n.before != nil {
		s.unlinkedLocked(n.before) // the rename took its place
	}
	// From here on the file is the blob's, and so are its bytes; the fill's own readers are readers of it.
	s.space.blobs += size
	if s.starting.loading {
		s.space.estimate += size
	}
	s.enterBlobLocked(blob)
	f.releaseLocked()
	s.counters.stored.Add(1)
	s.counters.storedBytes.Add(size)
	// Also if nothing names it now: before it is removed another entry may.
	s.durability.sync(blob)
	if s.generations.of(f.key) != g || s.isOutdatedLocked(f.key, g, blob, f.spec.Confirmed) {
		s.leaving.orphan(blob)
		s.wakeJanitor()
		return Entry{}, blob, ErrSuperseded
	}
	return s.insertLocked(s.newEntry(f.key, f.spec, digest, size), blob, g, f.spec.Confirmed), blob, nil
}

// Link makes k an entry of a blob that is here already, if the upstream named its SHA-256 up front (and its size, if
// that is known); ErrMiss if it isn't, ErrSuperseded if g is no longer k's generation, ErrNoRoom if it couldn't be kept.
func (s *Store) Link(k Key, g Generation, spec FillSpec) (Entry, error) {
	if spec.SHA256.IsZero() || !k.isStorable() {
		return Entry{}, ErrMiss
	}
	if err := s.materialize(k); err != nil {
		return Entry{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Entry{}, ErrClosed
	}
	blob := s.blobs[spec.SHA256]
	if blob == nil || blob.busy != nil || blob.damaged || (spec.Size >= 0 && spec.Size != blob.size) {
		return Entry{}, ErrMiss
	}
	if s.generations.of(k) != g {
		return Entry{}, ErrSuperseded
	}
	if s.durability.isBehind() {
		return Entry{}, ErrNoRoom // counted by Begin, which the caller asks next
	}
	if spec.Identity.Length < 0 {
		spec.Identity.Length = blob.size
	}
	if s.isOutdatedLocked(k, g, blob, spec.Confirmed) {
		return Entry{}, ErrSuperseded
	}
	return s.insertLocked(s.newEntry(k, spec, blob.digest, blob.size), blob, g, spec.Confirmed), nil
}
