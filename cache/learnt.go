package cache

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Named is what an answer of the upstream says of a file's content beside that it is the current one.
type Named struct {
	Identity    Identity
	Disposition string
}

// learnLocked adds to an entry what the upstream has named and the entry lacks, such as the Last-Modified of what was published
// through us. What is known already stays. The index hears of it with the next last uses.
func (s *Store) learnLocked(e *Entry, n *node, named Named) {
	known := *e
	if record := s.durability.record(n.hash); record != nil && record.Key == e.Key {
		known = *record // which may have learnt since e was looked up
	}
	learnt := known
	learnt.fillIn(named)
	e.Identity, e.Disposition = learnt.Identity, learnt.Disposition
	if learnt.Identity == known.Identity && learnt.Disposition == known.Disposition {
		return
	}
	learnt.serial, learnt.node = n.serial, nil
	s.durability.learn(n.hash, &learnt)
}

// fillIn adds what is named and isn't known yet.
func (e *Entry) fillIn(named Named) {
	known, said := &e.Identity, named.Identity
	if known.SHA256 == "" && said.SHA256 == e.Digest.String() {
		known.SHA256 = said.SHA256
	}
	if known.Location == "" {
		known.Location = said.Location
	}
	if known.ETag == "" {
		known.ETag = said.ETag
	}
	switch {
	case known.LastModified.IsZero():
		known.LastModified, known.Settled = said.LastModified, said.Settled
	case known.LastModified.Equal(said.LastModified):
		known.Settled = known.Settled || said.Settled
	}
	if e.Disposition == "" {
		e.Disposition = named.Disposition
	}
}

// rewriteRecords writes records anew that the index has. An entry that was removed or replaced meanwhile is another's matter.
func (s *Store) rewriteRecords(tx *bolt.Tx, learnt []*Entry) error {
	entries := tx.Bucket(entriesBucket)
	for _, record := range learnt {
		key := record.Key.bytes()
		if !s.isPresent(record) || entries.Get(key) == nil {
			continue
		}
		if err := entries.Put(key, encodeRecord(key, record)); err != nil {
			return fmt.Errorf("writing what was learnt of a record: %w", err)
		}
	}
	return nil
}

// isPresent reports whether a record is that of the key's present entry, and the index knows that one.
func (s *Store) isPresent(record *Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isPresentLocked(record)
}

func (s *Store) isPresentLocked(record *Entry) bool {
	h := record.Key.hash()
	n := s.entries.peek(h)
	return n != nil && n.serial == record.serial && s.durability.isWritten(h)
}
