package cache

import (
	"errors"
	"fmt"
)

const (
	// copyStep is how much room a copy takes at a time: little, since most uploads that nobody vouches for come to nothing.
	copyStep = 256 << 10
	// maxCopies bounds how many copies are on their way in at once, each of which has a file open.
	maxCopies = 64
	// copyShares is into how many parts copies' room and number are divided: one address has one of them at most.
	copyShares = 4
)

// CopyOf says on whose word a fill takes room. The zero value stands for bytes that the upstream has vouched for: a
// download with its 200, or an upload by somebody from whom it lately took one. Their fills may evict entries.
type CopyOf struct {
	unproven bool
	address  string
}

// UnprovenUpload stands for an upload from an address that the upstream hasn't said yes to yet. Its copy lives in
// Limits.UploadRoom until the fill is adopted (Fill.Adopt): it evicts nothing, keeps nobody waiting, and gives way to
// other copies.
func UnprovenUpload(address string) CopyOf { return CopyOf{unproven: true, address: address} }

// errCopyDropped is why a copy ends that gives way.
var errCopyDropped = fmt.Errorf("%w: the copy of an upload gave way to others", ErrNoRoom)

// copies are the fills of unproven uploads, and the room that they hold. Guarded by Store.mu.
type copies struct {
	holding
	// number is how many there are, and addresses what each address has of them; also those whose part isn't open yet.
	number    int
	addresses map[string]*addressCopies
	// running are those that can be dropped.
	running map[*Fill]struct{}
	// heard counts the pieces that came to them, so that it is known which came last.
	heard uint64
}

// addressCopies is what the copies of one address hold.
type addressCopies struct {
	number int
	bytes  int64
}

func newCopies() copies {
	return copies{addresses: make(map[string]*addressCopies), running: make(map[*Fill]struct{})}
}

// bytes is the room that copies take, and files that were copies and are still open, or can't be removed.
func (c *copies) bytes() int64 { return c.reserved + c.lingering }

// of returns what an address holds.
func (c *copies) of(address string) addressCopies {
	if held := c.addresses[address]; held != nil {
		return *held
	}
	return addressCopies{}
}

// hold notes that a copy takes n more bytes.
func (c *copies) hold(f *Fill, n int64) {
	held := c.addresses[f.spec.Copy.address]
	if held == nil {
		held = new(addressCopies)
		c.addresses[f.spec.Copy.address] = held
	}
	if !f.counted {
		f.counted = true
		c.number++
		held.number++
	}
	held.bytes += n
	c.reserved += n
	f.reserved += n
}

// forget takes a copy off the books that has ended, or is about to, or was vouched for. What it holds of the room stays
// its own until that is given back.
func (c *copies) forget(f *Fill) {
	if !f.counted {
		return
	}
	f.counted = false
	delete(c.running, f)
	c.number--
	held := c.addresses[f.spec.Copy.address]
	held.number--
	held.bytes -= f.reserved
	if held.number == 0 {
		delete(c.addresses, f.spec.Copy.address)
	}
}

// quietest returns the copy that has gone longest without a byte, of those that may; nil if there is none.
func (c *copies) quietest(may func(*Fill) bool) *Fill {
	var quietest *Fill
	for f := range c.running { // maxCopies at most
		if may(f) && (quietest == nil || f.heard < quietest.heard) {
			quietest = f
		}
	}
	return quietest
}

// isCopyLocked reports whether the fill is an unproven upload's still.
func (f *Fill) isCopyLocked() bool { return f.room == &f.store.space.copies.holding }

func (f *Fill) isCopy() bool {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	return f.isCopyLocked()
}

// hear notes that bytes have come to a copy.
func (f *Fill) hear() {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	c := &f.store.space.copies
	c.heard++
	f.heard = c.heard
}

// copyStep is how much room a copy takes next that has some already, and least how much it needs.
func (l Limits) copyStep(has, least int64) int64 {
	step := min(copyStep, l.UploadRoom/copyShares-has)
	if l.MaxObject > 0 {
		step = min(step, l.MaxObject-has)
	}
	return max(least, step)
}

// growCopy takes room for a copy up to that many bytes.
func (f *Fill) growCopy(to int64) error {
	s := f.store
	s.mu.Lock()
	limits := s.limits
	s.mu.Unlock()
	if limits.MaxObject > 0 && to > limits.MaxObject {
		return ErrNoRoom
	}
	err := s.reserveCopy(f, limits.copyStep(f.reserved, to-f.reserved))
	if errors.Is(err, errFillEnded) {
		<-f.done // by whoever has ended it, or is about to
		return f.refuse()
	}
	return err
}

// errFillEnded says that a copy that asks for room was ended meanwhile.
var errFillEnded = errors.New("the fill has ended")

// reserveCopy takes n bytes of the copies' room, after dropping others if need be; ErrNoRoom if they can't be had. It
// waits for nothing but the removal of those.
func (s *Store) reserveCopy(f *Fill, n int64) error {
	seen, err := s.sampleFree()
	if err != nil {
		return err
	}
	for {
		s.mu.Lock()
		quietest, err := s.tryReserveCopyLocked(f, n, s.freeLocked(seen))
		s.mu.Unlock()
		if quietest == nil {
			return err
		}
		quietest.drop()
	}
}

// tryReserveCopyLocked takes n bytes of the copies' room, or returns the copy that has to go before.
func (s *Store) tryReserveCopyLocked(f *Fill, n, free int64) (quietest *Fill, err error) {
	c, limits, begins := &s.space.copies, s.limits, !f.counted
	share, held := limits.UploadRoom/copyShares, c.of(f.spec.Copy.address)
	may := func(other *Fill) bool { return other != f }
	switch {
	case s.closed:
		return nil, ErrClosed
	case f.released, begins && f.reserved > 0:
		return nil, errFillEnded
	case n <= 0, plus(n, f.reserved) > share, s.space.short(n, free, limits) > 0,
		plus(n, s.space.used()+c.bytes()) > limits.MaxSize: // the rest was allowed more, until a moment ago
		return nil, fmt.Errorf("%w for %d bytes of an upload", ErrNoRoom, n)
	case held.bytes+n > share, begins && held.number >= maxCopies/copyShares:
		may = func(other *Fill) bool { return other != f && other.spec.Copy.address == f.spec.Copy.address }
	case c.bytes()+n > limits.UploadRoom, begins && c.number >= maxCopies:
	default:
		c.hold(f, n)
		s.space.unwritten += n
		return nil, nil
	}
	if quietest = c.quietest(may); quietest == nil {
		return nil, fmt.Errorf("%w for %d bytes of an upload", ErrNoRoom, n)
	}
	c.forget(quietest)
	return quietest, nil
}

// drop ends a copy that was taken off the books, and returns when its part is removed.
func (f *Fill) drop() {
	f.store.counters.copiesDropped.Add(1)
	f.Abort(errCopyDropped)
	<-f.done
}

// dropCopiesForDisk drops copies while the file system has less free than fills wait for, or than is to stay free, and
// reports whether it did: entries aren't evicted because of what copies take of it.
func (s *Store) dropCopiesForDisk(seen sample) (dropped bool) {
	s.mu.Lock()
	var given []*Fill
	short := s.space.short(s.space.wanted.fresh, s.freeLocked(seen), s.limits) - s.space.unfreed.bytes
	for short > 0 {
		quietest := s.space.copies.quietest(func(*Fill) bool { return true })
		if quietest == nil {
			break
		}
		s.space.copies.forget(quietest)
		given = append(given, quietest)
		short -= quietest.reserved
	}
	s.mu.Unlock()
	for _, f := range given {
		f.drop()
	}
	return len(given) > 0
}

// takeExcessCopiesLocked takes copies off the books that other limits have no room for. The caller drops them.
func (s *Store) takeExcessCopiesLocked() (taken []*Fill) {
	c := &s.space.copies
	for excess := c.bytes() - s.limits.UploadRoom; excess > 0; {
		quietest := c.quietest(func(*Fill) bool { return true })
		if quietest == nil {
			break
		}
		c.forget(quietest)
		taken = append(taken, quietest)
		excess -= quietest.reserved
	}
	return taken
}

// Adopt makes the bytes of an unproven upload's copy the store's own, now that the upstream has vouched for them by its
// 2xx: entries are evicted for them, for which Adopt waits as Begin does. After ErrNoRoom or another error the fill is
// over and nothing is kept. Of any other fill Adopt does nothing.
//
// Only who writes the fill may call it, between two calls of Write or after the last. A copy that wasn't adopted can't be
// committed (ErrUnproven).
func (f *Fill) Adopt() error {
	s, written := f.store, f.Written()
	s.mu.Lock()
	if !f.isCopyLocked() {
		s.mu.Unlock()
		return nil
	}
	ended := !f.counted
	s.space.copies.forget(f) // and nobody drops it from here on
	s.mu.Unlock()
	if ended {
		<-f.done // by whoever has ended it, or is about to
		return f.refuse()
	}
	// The file system has them already.
	if err := s.reserve(claim{bytes: written}); err != nil {
		if errors.Is(err, ErrNoRoom) {
			s.counters.noRoom.Add(1)
		}
		f.Abort(err)
		return err
	}
	s.mu.Lock()
	if f.released {
		s.releaseLocked(&s.space.holding, written, 0)
		s.mu.Unlock()
		return f.refuse()
	}
	s.space.copies.reserved -= f.reserved
	s.space.unwritten -= f.reserved - written
	f.room, f.reserved = &s.space.holding, written
	s.mu.Unlock()
	return nil
}
