package cache

import (
	"fmt"
	"time"
)

// Lookup returns the key's entry, or ErrMiss. It is no use of the file: nobody has been allowed it yet. OpenBlob is.
func (s *Store) Lookup(k Key) (Entry, error) {
	h := k.hash()
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return Entry{}, ErrClosed
		}
		n := s.entries.peek(h)
		if n != nil {
			if n.blob.damaged || s.leaving.isPurged(k, n.serial) {
				s.forgetEntryLocked(n)
				s.mu.Unlock()
				return Entry{}, ErrMiss
			}
			// Nearly every hit ends here: durability's records are also those that memory holds of what was used last.
			if record := s.durability.record(h); record != nil {
				entry, err := Entry{}, ErrMiss // of another key, with the same hash
				if record.Key == k {
					entry, err = s.entryLocked(record, n), nil
				}
				s.mu.Unlock()
				return entry, err
			}
		}
		ask := n != nil || s.starting.loading
		s.mu.Unlock()
		if !ask {
			return Entry{}, ErrMiss
		}
		record, err := s.readIndex(k)
		if err != nil {
			return Entry{}, err
		}
		if !s.takeFromIndex(h, n, record) {
			return Entry{}, ErrMiss
		}
	}
}

// KeepNote leaves something with an entry that its user wants to make only once, and finds in Entry.Note at later look-ups. It is kept
// in memory while the entry is among those used last. It may be found beside a later state of the same entry, or the entry that replaced it: whoever
// uses it looks whether it fits.
func (s *Store) KeepNote(e Entry, note any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if record := s.durability.record(e.Key.hash()); record != nil && record.Key == e.Key {
		record.Note = note
	}
}

// takeFromIndex takes in what the index says of a key while n was what memory had (nil for nothing). False means that there is
// no such entry.
func (s *Store) takeFromIndex(h keyHash, n *node, record *Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	present := s.entries.peek(h)
	switch {
	case present != nil && present != n:
		return true // committed or learnt meanwhile; look again
	case present != nil && (record == nil || record.Digest != present.blob.digest):
		// The index lost it, or has damaged it.
		s.forgetEntryLocked(present)
		return false
	case present != nil:
	case record == nil:
		return false
	default:
		if !s.starting.mayHave(h) {
			return false
		}
		s.addKnownLocked(h, record)
	}
	s.durability.know(h, record)
	return true
}

// forgetEntryLocked drops an entry that proved useless, here and, later, in the index.
func (s *Store) forgetEntryLocked(n *node) {
	s.dropLocked(n)
	s.leaving.remove(&removal{hashes: []keyHash{n.hash}})
	s.wakeJanitor()
}

// materialize makes sure that memory knows what the index has of k, so that replacing or removing it finds its blob.
func (s *Store) materialize(k Key) error {
	h := k.hash()
	s.mu.Lock()
	known := s.entries.peek(h) != nil
	loading := s.starting.loading
	s.mu.Unlock()
	if known || !loading {
		return nil
	}
	record, err := s.readIndex(k)
	if err != nil {
		return err
	}
	if record != nil {
		s.takeFromIndex(h, nil, record)
	}
	return nil
}

// Confirmation says what an answer of the upstream was worth that named an entry's content as the current one.
type Confirmation uint8

const (
	// Superseded: it doesn't count. The generation has passed, the entry was replaced, or a later answer or event says
	// otherwise. Look the key up again.
	Superseded Confirmation = iota
	// Lagging: it counts for the caller whose credential asked, and for nobody else. The content is what was current before
	// a publish a few seconds ago, and a replica of the upstream may not have heard of that (lag.go).
	Lagging
	// Confirmed: the entry is confirmed, for everybody who may have the file.
	Confirmed
)

// String names the worth of the answer.
func (c Confirmation) String() string {
	switch c {
	case Superseded:
		return "superseded"
	case Lagging:
		return "lagging"
	case Confirmed:
		return "confirmed"
	}
	return fmt.Sprintf("confirmation %d", uint8(c))
}

// Confirm notes that the upstream, asked at `at` while the key's generation was g, named the entry's content as the
// current one. It returns the entry as it is now, or, if that is Superseded, none. It never makes a confirmation older. Where the
// entry is confirmed, it has from then on what the answer named beyond what was known of it.
func (s *Store) Confirm(e Entry, g Generation, at time.Time, named Named) (Entry, Confirmation) {
	h := e.Key.hash()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.entries.peek(h)
	if n == nil || n.serial != e.serial || n.blob.damaged || s.generations.of(e.Key) != g || s.leaving.isPurged(e.Key, n.serial) {
		return Entry{}, Superseded
	}
	since := at.Sub(s.started)
	if s.answers.isOverruled(e.Key, since) {
		return Entry{}, Superseded
	}
	if s.answers.lags(formerBlob{h, n.blob.digest}, since) {
		return s.entryLocked(&e, n), Lagging
	}
	if n.generation != g || since > n.confirmed {
		n.generation, n.confirmed = g, since
	}
	s.learnLocked(&e, n, named)
	return s.entryLocked(&e, n), Confirmed
}
