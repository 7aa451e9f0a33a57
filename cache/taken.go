package cache

import (
	"context"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Taken is what an entry takes of the room, and how often it was opened by OpenHit since the store was opened.
type Taken struct {
	Key  Key
	Size int64
	Hits uint32
}

// Taken returns what entries take, in the order of their keys: those of the next `look` records of the index after a key, nil for none,
// and those between them that aren't in the index yet. last is the key from which on there may be more, nil if there are no more. It
// tells less than Entries and costs a fraction, so that all entries can be gone through; it is no use of them.
func (s *Store) Taken(ctx context.Context, after *Key, look int) (taken []Taken, last *Key, err error) {
	// First, or what becomes durable meanwhile would be in neither.
	waiting := s.pendingAfter(Selector{}, after)
	s.mu.Lock()
	loading := s.starting.loading
	s.mu.Unlock()
	taken = make([]Taken, 0, look+len(waiting))
	var from []byte
	if after != nil {
		from = after.bytes()
	}
	from, err = s.walkIndex(ctx, nil, from, look, func(_ *bolt.Tx, raw, data []byte) error {
		key, ok := parseKey(raw)
		one := Taken{Key: key}
		if ok && loading {
			// Memory may not have it yet.
			record, err := decodeRecord(raw, data)
			if err != nil {
				return nil
			}
			one.Size = record.Size
		}
		if ok {
			taken = append(taken, one)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("looking through entries: %w", err)
	}
	if k, ok := parseKey(from); ok {
		last = &k
	}
	for _, record := range waiting {
		if last == nil || record.Key.Compare(*last) <= 0 {
			taken = append(taken, Taken{Key: record.Key, Size: record.Size})
		}
	}
	slices.SortFunc(taken, func(a, b Taken) int { return a.Key.Compare(b.Key) })
	taken = slices.CompactFunc(taken, func(a, b Taken) bool { return a.Key == b.Key })
	return s.presentTaken(taken), last, nil
}

// presentTaken leaves those that still are entries, with what memory knows of them.
func (s *Store) presentTaken(taken []Taken) []Taken {
	hashes := make([]keyHash, 0, len(taken))
	for _, one := range taken {
		hashes = append(hashes, one.Key.hash())
	}
	present := taken[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, one := range taken {
		switch n := s.entries.peek(hashes[i]); {
		case n == nil && !s.starting.mayHave(hashes[i]), n != nil && (n.blob.damaged || s.leaving.isPurged(one.Key, n.serial)):
			continue
		case n != nil:
			one.Size, one.Hits = n.blob.size, n.hits
		}
		present = append(present, one)
	}
	return present
}
