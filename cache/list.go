package cache

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Listed is an entry as admins see it.
type Listed struct {
	Entry
	// LastUsed is when it was last opened to be served (else when it was stored), Hits how often it was opened by OpenHit since
	// the store was opened.
	LastUsed time.Time
	Hits     uint32
	// Pinned is until when it is kept from eviction; zero for not at all.
	Pinned time.Time
}

// Entries returns up to limit selected entries in key order, those after the given key if there is one; fewer only if
// there are no more. It is for admins: it reads the index, and is no use of the entries.
func (s *Store) Entries(ctx context.Context, sel Selector, after *Key, limit int) ([]Listed, error) {
	listed := make([]Listed, 0, min(limit, listStep))
	for {
		// What is read may be out of date, so that less is left of it than was read.
		found, last, err := s.entriesAfter(ctx, listing{sel, acceptsAll, limit - len(listed), math.MaxInt}, after)
		if err != nil {
			return nil, fmt.Errorf("listing entries: %w", err)
		}
		listed = append(listed, found...)
		if last == nil || len(listed) >= limit {
			return listed, nil
		}
		after = last
	}
}

// Search is Entries for who looks for few among many: of the selected entries it returns those whose keys are accepted, up to limit,
// and looks at no more than `look` records of the index. last is the key from which on there may be more, nil if there are no more:
// there can be although none was found.
func (s *Store) Search(ctx context.Context, sel Selector, accepts func(Key) bool, after *Key, limit, look int) (found []Listed, last *Key, err error) {
	found, last, err = s.entriesAfter(ctx, listing{sel, accepts, limit, look}, after)
	if err != nil {
		return nil, nil, fmt.Errorf("searching entries: %w", err)
	}
	if len(found) == limit && limit > 0 {
		last = &found[limit-1].Key // some that are on their way into the index may not have had room
	}
	return found, last, nil
}

// listing is one step of going through entries.
type listing struct {
	// sel and accepts say which entries. accepts can take its time: it isn't called under the store's lock.
	sel     Selector
	accepts func(Key) bool
	// limit bounds the records that are taken, look those that are looked at.
	limit, look int
}

func acceptsAll(Key) bool { return true }

// entriesAfter takes one step, from a key on; nil for the beginning. It returns the key of the last record that was read if there may
// be more.
func (s *Store) entriesAfter(ctx context.Context, step listing, after *Key) (listed []Listed, last *Key, err error) {
	// First, or what becomes durable meanwhile would be in neither.
	waiting := s.pendingAfter(step.sel, after)
	records, last, err := s.recordsAfter(ctx, step, after)
	if err != nil {
		return nil, nil, err
	}
	uses, err := s.usesOf(records)
	if err != nil {
		return nil, nil, err
	}
	for _, record := range waiting {
		if step.accepts(record.Key) && (last == nil || record.Key.Compare(*last) <= 0) {
			records = append(records, record)
		}
	}
	slices.SortStableFunc(records, func(a, b *Entry) int { return a.Key.Compare(b.Key) })
	return s.present(records, uses, step.limit), last, nil
}

// pendingAfter returns the records of selected entries that aren't durable yet and come after a key; nil for none.
func (s *Store) pendingAfter(sel Selector, after *Key) (records []*Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for record := range s.durability.unrecorded() {
		if sel.Matches(record.Key) && (after == nil || record.Key.Compare(*after) > 0) {
			records = append(records, record)
		}
	}
	return records
}

// usesOf reads when records were last used, as far as the index knows.
func (s *Store) usesOf(records []*Entry) (uses map[keyHash]time.Time, err error) {
	uses = make(map[keyHash]time.Time, len(records))
	err = s.viewIndex(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(usesBucket)
		for _, record := range records {
			h := record.Key.hash()
			if at, key := decodeUse(bucket.Get(h[:])); key != nil {
				uses[h] = time.Unix(0, at).UTC()
			}
		}
		return nil
	})
	return uses, err
}

// listStep is how many entries are read in one transaction.
const listStep = 4096

// recordsAfter reads records of the index, and returns the key of the last that it looked at if there may be more. What
// matches can be few among many, so that goes in transactions of a bounded length.
func (s *Store) recordsAfter(ctx context.Context, step listing, after *Key) (records []*Entry, last *Key, err error) {
	prefix := step.sel.prefix()
	var from []byte
	if after != nil {
		from = after.bytes()
	}
	for len(records) < step.limit && step.look > 0 {
		from, err = s.walkIndex(ctx, prefix, from, min(listStep, step.look), func(_ *bolt.Tx, key, data []byte) error {
			step.look--
			if k, _ := parseKey(key); !step.sel.Matches(k) || !step.accepts(k) {
				return nil
			}
			if record, err := decodeRecord(key, data); err == nil { // a damaged record, or one with a damaged key, is no entry
				records = append(records, record)
			}
			if len(records) >= step.limit {
				return errEnough
			}
			return nil
		})
		if from == nil { // there are no more, or none can be read
			return records, nil, err
		}
	}
	if k, ok := parseKey(from); ok {
		last = &k
	}
	return records, last, nil
}

// present makes entries of records that still hold, each key once, with what memory knows of them.
func (s *Store) present(records []*Entry, uses map[keyHash]time.Time, limit int) []Listed {
	entries := make([]Listed, 0, min(limit, len(records)))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, record := range records {
		if len(entries) == limit {
			break
		}
		if len(entries) > 0 && entries[len(entries)-1].Key == record.Key {
			continue
		}
		h := record.Key.hash()
		n := s.entries.peek(h)
		switch {
		case n != nil && n.blob.damaged, n != nil && s.leaving.isPurged(record.Key, n.serial):
		case n != nil && n.blob.digest == record.Digest:
			entries = append(entries, s.listedLocked(h, s.entryLocked(record, n), n.hits, uses))
		case n == nil && s.starting.mayHave(h):
			entries = append(entries, s.listedLocked(h, *record, 0, uses))
		}
	}
	return entries
}

func (s *Store) listedLocked(h keyHash, entry Entry, hits uint32, uses map[keyHash]time.Time) Listed {
	listed := Listed{Entry: entry, LastUsed: entry.Stored, Hits: hits}
	for _, at := range []time.Time{uses[h], time.Unix(0, s.durability.touched[h]).UTC()} {
		if at.After(listed.LastUsed) {
			listed.LastUsed = at
		}
	}
	if s.pins.keeps(h, s.now()) {
		listed.Pinned = s.pins.ofKeys[h].until
	}
	return listed
}

// Project is a project of one upstream.
type Project struct{ Upstream, Project string }

// Projects returns up to limit projects of which there are entries, in the order of their keys. Its cost is that of the
// projects, not of their entries.
func (s *Store) Projects(ctx context.Context, limit int) (projects []Project, err error) {
	seen, err := s.distinct(ctx, limit, func(k Key) Selector { return Selector{Upstream: k.Upstream, Project: k.Project} })
	if err != nil {
		return nil, fmt.Errorf("listing projects: %w", err)
	}
	for part := range seen {
		projects = append(projects, Project{part.Upstream, part.Project})
	}
	slices.SortFunc(projects, func(a, b Project) int {
		return cmp.Or(cmp.Compare(a.Upstream, b.Upstream), cmp.Compare(a.Project, b.Project))
	})
	return projects[:min(limit, len(projects))], nil
}

// distinct returns the parts of keys that entries have, each once: those of entries that aren't in the index yet, and the first
// limit of the index, which are all that can be among the first limit. Its cost is that of the parts, not of their entries.
func (s *Store) distinct(ctx context.Context, limit int, partOf func(Key) Selector) (seen map[Selector]struct{}, err error) {
	seen = make(map[Selector]struct{})
	s.mu.Lock()
	for record := range s.durability.unrecorded() {
		seen[partOf(record.Key)] = struct{}{}
	}
	s.mu.Unlock()
	err = s.viewIndex(func(tx *bolt.Tx) error {
		cursor, order := tx.Bucket(entriesBucket).Cursor(), keyOrder{}
		raw, _ := cursor.First()
		for found := 0; raw != nil && found < limit; {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := order.meet(raw); err != nil {
				return err
			}
			k, ok := parseKey(raw)
			if !ok {
				raw, _ = cursor.Next()
				continue
			}
			found++
			part := partOf(k)
			seen[part] = struct{}{}
			// Past all keys that begin with this part's prefix, which ends with a zero byte.
			prefix := part.prefix()
			prefix[len(prefix)-1] = 1
			raw, _ = cursor.Seek(prefix)
		}
		return nil
	})
	return seen, err
}
