package cache

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"sync"
)

const (
	// heldBack is how much of a file's end its readers don't get before length and checksum are known to be right, so
	// that a damaged body is a broken-off answer and never looks whole. It waits in memory: all that is written to the part
	// may be read, to its end.
	heldBack = 64 << 10
	// maxGrowthStep is how much room a fill of unknown length takes at a time, in a large store.
	maxGrowthStep = 4 << 20
	// maxPending bounds the entries that wait for an index that can't be written. Nothing more is kept then.
	maxPending = 64 << 10
)

// Fill is a file on its way into the store. One goroutine writes, and ends with Commit or Abort; any number of readers
// follow, and none is in the writer's way. Others may bring parts of it that lie ahead (ahead.go).
type Fill struct {
	store      *Store
	key        Key
	generation Generation
	spec       FillSpec
	path       string
	file       File

	// hash is the sum so far, and taken is told of what Advance takes in (OnTaken); both are the writer's alone.
	hash  hash.Hash
	taken func(piece []byte) error
	// underWay are the writes of what lies ahead. None begins once the fill has ended.
	underWay sync.WaitGroup
	// reserved is what the fill holds of the store's room and onDisk the part of it that is written; changed by the
	// writer, under Store.mu. released says that they were given back, and that what is still written lingers; closed that
	// the file is closed, and lingers no more.
	reserved, onDisk int64
	released, closed bool
	// room is the part of the store's room that these are of. Of a copy, counted says that it is on the books of copies, and
	// heard when it got its last bytes (copies.heard). All guarded by Store.mu.
	room    *holding
	counted bool
	heard   uint64
	// left is the part, if it should be gone and couldn't be removed; guarded by Store.mu, and so is owes, which says that what
	// is freed with it may take a while to show.
	left *leftPart
	owes bool

	// mu guards all below; it is taken before Store.mu. Nothing is read or written under it.
	mu sync.Mutex
	// written is how much has arrived without a gap. flushed of it is in the part, the rest is in tail; after a successful
	// Commit all of it is in both. claimed is up to where the writer writes just now.
	written, flushed, claimed int64
	tail                      []byte
	// end is the memory of what is held back: tail is its beginning, and what lies ahead has its place behind that. Nil
	// until it is needed.
	end []byte
	// aheads are the parts ahead that aren't taken in yet, in their order in the file. aheadCame is closed when there is something
	// to take in; nil while the writer doesn't wait.
	aheads    []*Ahead
	aheadCame chan struct{}
	// parts says that bytes may come ahead of those in front of them: the part may have holes, and nobody is sent it as it is.
	// partsEnded says that no more will begin.
	parts, partsEnded bool
	// news is of what is flushed.
	news
	// done is closed at the end.
	done chan struct{}
	// committing says that Commit decides how the fill ends.
	committing, ended bool
	// whole says that all bytes may be read; err why there won't be more.
	whole bool
	err   error
	// entry is what became of the fill, and notKept why nothing did although it is whole.
	entry   Entry
	notKept error
	// users are the writer and the readers; the last closes the file. successor goes on in the part of this one, and its users
	// are this one's as well.
	users     int
	successor *Fill
	// blob is what the file became.
	blob *blobState
}

// Begin reserves room for a file and opens it. ErrNoRoom means that it doesn't fit, now or ever: stream it through.
// ErrSuperseded: g is not the key's generation any more. Any other error is trouble with the disk, and means the same
// to the caller as no room.
func (s *Store) Begin(k Key, g Generation, spec FillSpec) (*Fill, error) {
	limits, number, err := s.admit(k, g, spec)
	if err != nil {
		return nil, err
	}
	f := &Fill{
		store: s, key: k, generation: g, spec: spec, path: partPath(s.dir, s.process, number),
		hash: sha256.New(), room: &s.space.holding, done: make(chan struct{}), users: 1,
		parts: spec.Parts && spec.Size >= 0 && !spec.Copy.unproven,
	}
	if err := f.reserveFirst(limits); err != nil {
		if errors.Is(err, ErrNoRoom) && !errors.Is(err, ErrNoSpareRoom) && !spec.Copy.unproven {
			s.counters.noRoom.Add(1)
		}
		return nil, err
	}
	return f, f.open()
}

// admit tells whether a fill may begin, and numbers its part.
func (s *Store) admit(k Key, g Generation, spec FillSpec) (limits Limits, number uint64, err error) {
	s.mu.Lock()
	limits, ended := s.limits, s.fills.ended
	behind := s.durability.isBehind()
	number = s.fills.number()
	s.mu.Unlock()
	switch {
	case ended:
		err = ErrClosed
	case behind, !k.isStorable(), spec.Size > limits.main() && !spec.Copy.unproven, limits.MaxObject > 0 && spec.Size > limits.MaxObject:
		s.counters.noRoom.Add(1)
		err = ErrNoRoom
	case s.generations.of(k) != g:
		err = ErrSuperseded
	}
	return limits, number, err
}

// reserveFirst takes the room that a fill begins with: all that it needs, if that is known and vouched for.
func (f *Fill) reserveFirst(limits Limits) error {
	s := f.store
	if f.spec.Copy.unproven {
		f.room = &s.space.copies.holding
		return s.reserveCopy(f, limits.copyStep(0, 0))
	}
	first := f.spec.Size
	if first < 0 {
		first = limits.growthStep(0)
	}
	f.reserved = first
	return s.reserveFor(f.spec, claim{first, first})
}

func (f *Fill) open() (err error) {
	s := f.store
	err = f.insist(func() (err error) {
		f.file, err = f.create()
		return err
	})
	if err != nil {
		s.mu.Lock()
		s.space.copies.forget(f)
		s.releaseLocked(f.room, f.reserved, f.reserved)
		s.mu.Unlock()
		return s.diskError("creating a fill", err)
	}
	return f.enter()
}

// enter makes the fill one of those that the store's end ends.
func (f *Fill) enter() error {
	s := f.store
	s.mu.Lock()
	entered := s.fills.enter(f)
	if f.counted {
		s.space.copies.running[f] = struct{}{}
	}
	s.mu.Unlock()
	if !entered {
		f.Abort(ErrFillsEnded)
		return ErrClosed
	}
	return nil
}

// create makes the part. A directory of parts that somebody removed is made again.
func (f *Fill) create() (File, error) {
	s := f.store
	file, err := s.fs.Create(f.path)
	if !errors.Is(err, fs.ErrNotExist) || s.isDirectoryLost() {
		return file, err
	}
	if failed := s.fs.MkdirAll(fillsPath(s.dir)); failed != nil {
		return nil, errors.Join(err, fmt.Errorf("making their directory again: %w", failed))
	}
	return s.fs.Create(f.path)
}

// Write appends to the file. ErrTaken says that it has come to a part ahead: the bytes from there on are that one's to bring,
// those before are written, and the fill goes on by Advance. After any other error the fill is over: readers get ErrTooLong,
// or ErrDisk and go on elsewhere.
func (f *Fill) Write(p []byte) (int, error) {
	f.mu.Lock()
	ended, tooLong := f.ended, f.spec.Size >= 0 && f.written+int64(len(p)) > f.spec.Size
	p, met := f.claimLocked(p)
	after := f.written + int64(len(p))
	f.mu.Unlock()
	switch {
	case ended:
		return 0, f.refuse()
	case tooLong:
		f.finish(ending{err: ErrTooLong})
		return 0, ErrTooLong
	case len(p) == 0:
		return 0, met
	}
	if f.spec.Copy.unproven {
		f.hear()
	}
	if after > f.reserved {
		if err := f.grow(after); err != nil {
			f.finish(ending{err: err})
			return 0, err
		}
	}
	_, _ = f.hash.Write(p) // never fails
	if err := f.flush(p, after); err != nil {
		f.finish(ending{err: err})
		return 0, err
	}
	return len(p), met
}

// claimLocked returns the part of p that the writer may write, which nobody else may bring from here on, and ErrTaken if that
// isn't all of it.
func (f *Fill) claimLocked(p []byte) ([]byte, error) {
	f.claimed = f.written + int64(len(p))
	if len(f.aheads) == 0 {
		return p, nil
	}
	free := max(f.aheads[0].from-f.written, 0)
	if int64(len(p)) <= free {
		return p, nil
	}
	f.claimed = f.written + free
	return p[:free], ErrTaken
}

// refuse is why nothing more can be written.
func (f *Fill) refuse() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refuseLocked()
}

func (f *Fill) refuseLocked() error {
	if f.err != nil {
		return f.err
	}
	return errors.New("writing to a fill that is committed")
}

// growthStep is how much room a fill of unknown length takes next that has some already: not so much that small files evict many
// others, nor more than it may ever have.
func (l Limits) growthStep(has int64) int64 {
	step := min(maxGrowthStep, max(l.main()/256, heldBack))
	if l.MaxObject > 0 {
		step = min(step, l.MaxObject-has)
	}
	return step
}

// grow takes more room for a file of unknown length. When there is none its readers go on elsewhere, as they do when
// the disk fails.
func (f *Fill) grow(to int64) error {
	if f.isCopy() {
		return f.growCopy(to)
	}
	f.store.mu.Lock()
	limits := f.store.limits
	f.store.mu.Unlock()
	if limits.MaxObject > 0 && to > limits.MaxObject {
		return fmt.Errorf("%w: %w", ErrDisk, ErrNoRoom)
	}
	step := max(limits.growthStep(f.reserved), to-f.reserved)
	err := f.store.reserveFor(f.spec, claim{step, step})
	if least := to - f.reserved; errors.Is(err, ErrNoRoom) && least < step {
		step = least
		err = f.store.reserveFor(f.spec, claim{step, step})
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	f.store.mu.Lock()
	aborted := f.released
	if aborted {
		f.store.releaseLocked(f.room, step, step)
	} else {
		f.reserved += step
	}
	f.store.mu.Unlock()
	if aborted {
		return f.refuse()
	}
	return nil
}

// flush writes all but the end that is held back, lets the readers have it, and keeps the end.
func (f *Fill) flush(p []byte, after int64) error {
	until := after - heldBack
	if f.spec.Size >= 0 {
		until = min(after, f.spec.Size-heldBack)
	}
	// Only the writer changes these, and readers look at tail only once it is whole.
	room := max(until-f.flushed, 0)
	old := f.tail[:min(room, int64(len(f.tail)))]
	fresh := p[:room-int64(len(old))]
	at := f.flushed
	for _, piece := range [][]byte{old, fresh} {
		if err := f.writePiece(piece, at); err != nil {
			return err
		}
		at += int64(len(piece))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tail == nil && len(p) > len(fresh) {
		f.tail = f.endLocked()[:0]
	}
	f.tail = append(f.tail[:copy(f.tail, f.tail[len(old):])], p[len(fresh):]...)
	f.written = after
	f.flushed += room
	if room > 0 {
		f.come(&f.mu, f.flushed)
	}
	return nil
}

// endLocked returns the memory of what is held back, from its first byte to its last. A fill that goes on in the part of
// another has that one's.
func (f *Fill) endLocked() []byte {
	switch {
	case f.end != nil:
	case f.tail != nil:
		f.end = f.tail[:cap(f.tail)]
	case f.spec.Size >= 0:
		f.end = make([]byte, min(heldBack, f.spec.Size))
	default:
		f.end = make([]byte, heldBack)
	}
	return f.end
}

// writePiece writes to the part at a place, if need be in several goes.
func (f *Fill) writePiece(piece []byte, at int64) error {
	if len(piece) == 0 {
		return nil
	}
	err := f.insist(func() error {
		n, err := f.file.WriteAt(piece, at)
		f.wrote(int64(n))
		piece, at = piece[n:], at+int64(n)
		return err
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrClosed):
		return f.refuse() // aborted meanwhile
	}
	return f.store.diskError("writing a fill", err)
}

// wrote notes that bytes which were reserved now are on the disk.
func (f *Fill) wrote(n int64) {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	f.onDisk += n
	f.store.space.written += n
	switch {
	case f.closed:
	case f.released:
		f.room.lingering += n
	default:
		f.store.space.unwritten -= n
	}
}

// releaseLocked gives the fill's reservation back.
func (f *Fill) releaseLocked() {
	f.store.releaseLocked(f.room, f.reserved, f.reserved-f.onDisk)
	f.released = true
}

// Written is how many bytes have arrived, without a gap.
func (f *Fill) Written() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written
}

// Sum is the SHA-256 of what has arrived. It is for who writes: before Commit, it tells what that will keep.
func (f *Fill) Sum() Digest { return Digest(f.hash.Sum(nil)) }

// Size is the file's length; -1 while it isn't known.
func (f *Fill) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.whole {
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
	}
	return f.entry, f.notKept
}
