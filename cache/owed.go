package cache

import (
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
)

// owedShare is the part of the room for entries that owed files may keep from eviction: one in so many.
const owedShare = 4

// owed are the entries whose bytes a shared store is still to get (Fill.Owe). The mark is on the entry's record, so that a restart
// knows it. What is owed isn't evicted while all of it together is at most a part of the room; then it goes like the rest, since
// nobody waits for a shared store. Guarded by Store.mu, with which held all methods are called.
type owed struct {
	// files are those of the entries. blobs is how many of them have each content; bytes is the sum of the contents' sizes, which take
	// their room once.
	files map[keyHash]*owedFile
	blobs map[Digest]int
	bytes int64
	// queue are those to be given out, the oldest first. Some may be owed no more.
	queue []keyHash
	// arrived receives when there is more to give out. One note is as good as two.
	arrived chan struct{}
}

type owedFile struct {
	digest Digest
	size   int64
	// queued says that it is in the queue. Others are given out, or not to be given out yet.
	queued bool
}

func newOwed() owed {
	return owed{files: make(map[keyHash]*owedFile), blobs: make(map[Digest]int), arrived: make(chan struct{}, 1)}
}

func (o *owed) has(h keyHash) bool { return o.files[h] != nil }

// keeps reports whether a key's entry is kept from eviction by those limits.
func (o *owed) keeps(h keyHash, limits Limits) bool { return o.keepsAny(limits) && o.has(h) }

func (o *owed) keepsAny(limits Limits) bool {
	return limits.KeepsOwed && o.bytes <= limits.main()/owedShare
}

// add marks a key's entry, and reports whether it wasn't marked. It is given out with giveBack.
func (o *owed) add(h keyHash, b *blobState) bool {
	if o.has(h) {
		return false
	}
	o.files[h] = &owedFile{digest: b.digest, size: b.size}
	if o.blobs[b.digest]++; o.blobs[b.digest] == 1 {
		o.bytes += b.size
	}
	return true
}

// giveBack has one given out once more, after all others.
func (o *owed) giveBack(h keyHash) {
	o.putBack(h)
	o.tell()
}

// putBack is giveBack of what nobody is to be told of: they would ask at once.
func (o *owed) putBack(h keyHash) {
	if file := o.files[h]; file != nil && !file.queued {
		file.queued = true
		o.queue = append(o.queue, h)
	}
}

// tell tells who waits for more.
func (o *owed) tell() {
	select {
	case o.arrived <- struct{}{}:
	default:
	}
}

func (o *owed) drop(h keyHash) {
	if file := o.files[h]; file != nil {
		delete(o.files, h)
		if o.blobs[file.digest]--; o.blobs[file.digest] == 0 {
			delete(o.blobs, file.digest)
			o.bytes -= file.size
		}
	}
	if len(o.files) == 0 { // a map doesn't get smaller by itself
		o.files, o.blobs, o.queue = make(map[keyHash]*owedFile), make(map[Digest]int), nil
	}
}

// next takes the oldest one out of the queue.
func (o *owed) next() (h keyHash, ok bool) {
	for len(o.queue) > 0 {
		h, o.queue = o.queue[0], o.queue[1:]
		if file := o.files[h]; file != nil && file.queued {
			file.queued = false
			return h, true
		}
	}
	return keyHash{}, false
}

// oweLocked marks an entry that is new, which is given out when the time has passed.
func (s *Store) oweLocked(n *node, after time.Duration) {
	s.owed.add(n.hash, n.blob)
	if after <= 0 {
		s.owed.giveBack(n.hash)
		return
	}
	serial := n.serial // of another commit of the key there is another word
	time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if now := s.entries.peek(n.hash); now != nil && now.serial == serial {
			s.owed.giveBack(n.hash)
		}
	})
}

// OwedArrived receives when NextOwed has something again.
func (s *Store) OwedArrived() <-chan struct{} { return s.owed.arrived }

// NextOwed gives out an entry whose bytes a shared store is to get; ErrMiss if there is none. Who gets one ends with SettleOwed or
// ReturnOwed. It is given out once until then. It is no use of the file; OpenOwed opens it. Other errors are those of the index; what
// it could not tell of is given out later.
func (s *Store) NextOwed() (Entry, error) {
	for {
		h, entry, err := s.takeOwed()
		if err == nil || !errors.Is(err, errUnrecorded) {
			return entry, err
		}
		entry, err = s.lookupHash(h)
		s.mu.Lock()
		switch {
		case errors.Is(err, ErrMiss):
			s.owed.drop(h) // the index has it no more
		case err != nil:
			s.owed.putBack(h)
		}
		s.mu.Unlock()
		if !errors.Is(err, ErrMiss) {
			return entry, err
		}
	}
}

// errUnrecorded says that memory has no record of an entry, and the index is to be asked.
var errUnrecorded = errors.New("its record isn't in memory")

// takeOwed takes the oldest owed entry that isn't damaged, of which memory may have no record.
func (s *Store) takeOwed() (keyHash, Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return keyHash{}, Entry{}, ErrClosed
	}
	for {
		h, ok := s.owed.next()
		if !ok {
			return keyHash{}, Entry{}, ErrMiss
		}
		n := s.entries.peek(h)
		switch {
		case n == nil:
			s.owed.drop(h)
			continue
		case n.blob.damaged:
			s.forgetEntryLocked(n)
			continue
		}
		if record := s.durability.record(h); record != nil {
			return h, s.entryLocked(record, n), nil
		}
		return h, Entry{}, errUnrecorded
	}
}

// lookupHash is Lookup of a key of which the hash alone is known.
func (s *Store) lookupHash(h keyHash) (Entry, error) {
	var key Key
	var found bool
	err := s.viewIndex(func(tx *bolt.Tx) error {
		_, raw := decodeUse(tx.Bucket(usesBucket).Get(h[:]))
		key, found = parseKey(raw)
		return nil
	})
	if err != nil {
		return Entry{}, err
	}
	if !found || key.hash() != h {
		return Entry{}, ErrMiss
	}
	return s.Lookup(key)
}

// SettleOwed notes that a shared store has an entry's bytes, since that time. The index hears of it with the next last uses; after a
// crash before that the entry is owed again.
func (s *Store) SettleOwed(e Entry, shared time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remarkLocked(e, func(record *Entry) {
		record.Owed, record.SharedWrongly, record.Shared = false, false, shared.UTC().Truncate(time.Second)
	})
}

// ReturnOwed gives an entry back that could not be settled. It is given out again, after all others.
func (s *Store) ReturnOwed(e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := e.Key.hash()
	if n := s.entries.peek(h); n != nil && n.serial == e.serial {
		s.owed.giveBack(h)
	}
}

// remarkLocked writes an entry's record anew, if it is the key's still.
func (s *Store) remarkLocked(e Entry, change func(*Entry)) {
	h := e.Key.hash()
	n := s.entries.peek(h)
	if n == nil || n.serial != e.serial || n.blob.digest != e.Digest {
		return
	}
	record := e
	if known := s.durability.record(h); known != nil && known.Key == e.Key {
		record = *known // which may have learnt since
	}
	change(&record)
	record.serial, record.node, record.Confirmed, record.Questioned = n.serial, nil, time.Time{}, false
	switch {
	case !record.Owed:
		s.owed.drop(h)
	case s.owed.add(h, n.blob):
		s.owed.giveBack(h)
	}
	s.durability.learn(h, &record)
}

// Unshared says which entries a shared store should have, and may not have any more.
type Unshared struct {
	// Least is how large their files are at least.
	Least int64
	// Shared is the time before which they were shared last, if ever; Used the time since which they were used.
	Shared, Used time.Time
}

// OweUnshared goes through the entries of the index after a key (nil for none), up to limit of them, and marks those as owed that
// are selected. It returns the key from which the next call goes on; nil after the last.
func (s *Store) OweUnshared(ctx context.Context, after []byte, limit int, which Unshared) (next []byte, err error) {
	var found []*Entry
	next, err = s.walkIndex(ctx, nil, after, limit, func(tx *bolt.Tx, key, raw []byte) error {
		record, err := decodeRecord(key, raw)
		if err != nil || record.Owed || record.Size < which.Least || !record.Shared.Before(which.Shared) {
			return nil //nolint:nilerr // a damaged record is no entry
		}
		h := hashOf(key)
		if at, _ := decodeUse(tx.Bucket(usesBucket).Get(h[:])); at >= which.Used.UnixNano() {
			found = append(found, record)
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, record := range found {
		n := s.entries.peek(record.Key.hash())
		if n == nil || n.blob.digest != record.Digest || s.owed.has(n.hash) {
			continue
		}
		if known := s.durability.record(n.hash); known != nil && !known.Shared.Before(which.Shared) {
			continue // the index hasn't heard of it yet
		}
		record.serial = n.serial
		s.remarkLocked(*record, func(record *Entry) { record.Owed = true })
	}
	return next, err
}

// loadOwedLocked takes in what the index has marked, when all is loaded. What was stored since the start has marks of its own.
func (s *Store) loadOwedLocked(found []loaded) {
	for _, e := range found {
		if !e.owed {
			continue // nearly all, and requests wait for the lock
		}
		if n := s.entries.peek(e.hash); n != nil && n.serial == 0 && n.blob.digest == e.digest && s.owed.add(e.hash, n.blob) {
			s.owed.giveBack(e.hash)
		}
	}
}

// OpenOwed opens an entry's file for the shared store. It is no use of the file. Errors are those of OpenBlob.
func (s *Store) OpenOwed(e Entry) (*Blob, error) {
	s.mu.Lock()
	state := s.blobs[e.Digest]
	switch {
	case s.closed:
		s.mu.Unlock()
		return nil, ErrClosed
	case state == nil || state.busy != nil || state.damaged:
		s.mu.Unlock()
		return nil, ErrMiss
	}
	s.enterBlobLocked(state)
	s.mu.Unlock()
	return s.openFile(state)
}

// ReportDamaged says that the bytes of a file aren't those of its sum. It is removed, and fetched again when somebody asks. Only for
// who has read all of a blob that OpenOwed opened.
func (b *Blob) ReportDamaged() {
	b.store.counters.checksumFailures.Add(1)
	b.store.discard(b.state, reasonChecksum)
}
