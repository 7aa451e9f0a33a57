package cache

import (
	"time"
)

// Lookup returns the key's entry, or ErrMiss. It counts as a use.
func (s *Store) Lookup(k Key) (Entry, error) {
	h := k.hash()
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return Entry{}, ErrClosed
		}
		n, known := s.entries.Get(h)
		if known {
			if record := s.recordLocked(h); record != nil {
				defer s.mu.Unlock()
				if record.Key != k {
					return Entry{}, ErrMiss
				}
				s.touched[h] = s.now()
				return s.entryLocked(record, n), nil
			}
		}
		loading := s.loading
		s.mu.Unlock()
		if !known && !loading {
			return Entry{}, ErrMiss
		}
		record, err := s.readIndex(k)
		if err != nil {
			return Entry{}, err
		}
		if !s.learn(h, n, record) {
			return Entry{}, ErrMiss
		}
	}
}

// recordLocked returns the record that memory has of an entry, if any.
func (s *Store) recordLocked(h keyHash) *Entry {
	if record := s.pending[h]; record != nil {
		return record
	}
	record, _ := s.hot.Get(h)
	return record
}

func (s *Store) entryLocked(record *Entry, n *node) Entry {
	entry := *record
	entry.serial = n.serial
	entry.Confirmed = time.Time{}
	if n.isConfirmed && n.generation == s.generations.of(entry.Key) {
		entry.Confirmed = s.started.Add(n.confirmed)
	}
	return entry
}

// learn takes in what the index says of a key while n was what memory had (nil for nothing). False means that there is
// no such entry.
func (s *Store) learn(h keyHash, n *node, record *Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	present, known := s.entries.Peek(h)
	switch {
	case known && present != n:
		return true // committed or learnt meanwhile; look again
	case record == nil && known:
		// The index lost it, or has damaged it.
		s.dropLocked(h, present)
		return false
	case record == nil:
		return false
	case known:
		if record.Digest != present.digest {
			return false
		}
	default:
		if _, removed := s.forgotten[h]; removed || !s.loading {
			return false
		}
		s.addKnownLocked(h, record)
	}
	s.hot.Add(h, record)
	return true
}

// addKnownLocked enters an entry that the index has.
func (s *Store) addKnownLocked(h keyHash, record *Entry) {
	s.serial++
	s.entries.Add(h, &node{digest: record.Digest, serial: s.serial})
	blob := s.blobs[record.Digest]
	if blob == nil {
		// Counted already: the index keeps the sum.
		blob = &blobState{size: record.Size, durable: true}
		s.blobs[record.Digest] = blob
	}
	blob.entries++
}

// dropLocked takes an entry out of memory. Its record and its blob are the janitor's.
func (s *Store) dropLocked(h keyHash, n *node) {
	s.entries.Remove(h)
	s.hot.Remove(h)
	delete(s.pending, h)
	delete(s.touched, h)
	if s.loading {
		s.forgotten[h] = struct{}{}
	}
	if blob := s.blobs[n.digest]; blob != nil {
		blob.entries--
		if blob.entries == 0 {
			s.orphans[n.digest] = struct{}{}
		}
	}
}

// Confirm notes that the upstream, asked at `at` while the key's generation was g, named the entry's content as the
// current one. False means that it doesn't count: the generation has passed, or the entry was replaced.
func (s *Store) Confirm(e Entry, g Generation, at time.Time) (Entry, bool) {
	h := e.Key.hash()
	s.mu.Lock()
	defer s.mu.Unlock()
	n, known := s.entries.Peek(h)
	if !known || n.serial != e.serial || s.generations.of(e.Key) != g {
		return Entry{}, false
	}
	since := at.Sub(s.started)
	if !n.isConfirmed || n.generation != g || since > n.confirmed {
		n.isConfirmed, n.generation, n.confirmed = true, g, since
	}
	e.Confirmed = s.started.Add(n.confirmed)
	return e, true
}

// Unconfirm takes the confirmation back: nobody gets the entry without the upstream's word again.
func (s *Store) Unconfirm(e Entry) {
	h := e.Key.hash()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, known := s.entries.Peek(h); known && n.serial == e.serial {
		n.isConfirmed = false
	}
}

// insertLocked makes k an entry of a blob that is there.
func (s *Store) insertLocked(entry *Entry, blob *blobState, g Generation, confirmed time.Time) Entry {
	h := entry.Key.hash()
	// First, or replacing an entry of the same blob would make it an orphan.
	blob.entries++
	delete(s.orphans, entry.Digest)
	if old, known := s.entries.Peek(h); known {
		s.dropLocked(h, old)
	}
	delete(s.forgotten, h)
	s.serial++
	n := &node{digest: entry.Digest, serial: s.serial}
	if !confirmed.IsZero() {
		n.isConfirmed, n.confirmed, n.generation = true, confirmed.Sub(s.started), g
	}
	s.entries.Add(h, n)
	s.pending[h] = entry
	s.touched[h] = entry.Stored
	signal(s.dirty)
	s.wakeJanitor() // for the room ahead
	return s.entryLocked(entry, n)
}

// Link makes k an entry of a blob that is here already, if the upstream named its SHA-256 up front; ErrMiss if it
// isn't, ErrSuperseded if g is no longer k's generation.
func (s *Store) Link(k Key, g Generation, spec FillSpec) (Entry, error) {
	if spec.SHA256.IsZero() {
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
	entry := s.newEntry(k, spec, spec.SHA256, blob.size)
	return s.insertLocked(entry, blob, g, spec.Confirmed), nil
}

func (s *Store) newEntry(k Key, spec FillSpec, digest Digest, size int64) *Entry {
	return &Entry{
		Key: k, Digest: digest, Size: size, Identity: spec.Identity, Disposition: spec.Disposition, Stored: s.now(),
	}
}

// materialize makes sure that memory knows what the index has of k, so that replacing or removing it finds its blob.
func (s *Store) materialize(k Key) error {
	h := k.hash()
	s.mu.Lock()
	_, known := s.entries.Peek(h)
	loading := s.loading
	s.mu.Unlock()
	if known || !loading {
		return nil
	}
	record, err := s.readIndex(k)
	if err != nil {
		return err
	}
	if record != nil {
		s.learn(h, nil, record)
	}
	return nil
}
