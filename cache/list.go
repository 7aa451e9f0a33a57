package cache

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Entries returns up to limit selected entries in key order, those after the given key if there is one. It is for
// admins: it reads the index, and is no use of the entries.
func (s *Store) Entries(ctx context.Context, sel Selector, after *Key, limit int) ([]Entry, error) {
	records, err := s.recordsAfter(ctx, sel, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing entries: %w", err)
	}
	s.mu.Lock()
	for _, waiting := range []map[keyHash]*Entry{s.recording, s.pending} {
		for _, record := range waiting {
			if sel.matches(record.Key) && (after == nil || record.Key.compare(*after) > 0) {
				records = append(records, record)
			}
		}
	}
	s.mu.Unlock()
	slices.SortStableFunc(records, func(a, b *Entry) int { return a.Key.compare(b.Key) })
	return s.present(records, limit), nil
}

// recordsAfter reads up to limit records of the index.
func (s *Store) recordsAfter(ctx context.Context, sel Selector, after *Key, limit int) (records []*Entry, err error) {
	prefix := sel.prefix()
	start := prefix
	if after != nil {
		start = laterOf(prefix, append(after.bytes(), 0))
	}
	err = s.viewIndex(func(tx *bolt.Tx) error {
		cursor := tx.Bucket(entriesBucket).Cursor()
		for raw, data := cursor.Seek(start); raw != nil && bytes.HasPrefix(raw, prefix) && len(records) < limit; raw, data = cursor.Next() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if record, err := decodeRecord(data); err == nil && sel.matches(record.Key) {
				records = append(records, record)
			}
		}
		return nil
	})
	return records, err
}

// present makes entries of records that still hold, each key once, with what memory knows of them.
func (s *Store) present(records []*Entry, limit int) []Entry {
	entries := make([]Entry, 0, min(limit, len(records)))
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
		n, known := s.entries.Peek(h)
		_, forgotten := s.forgotten[h]
		switch {
		case known && n.blob.damaged, known && s.isPurgedLocked(record.Key, n.serial):
		case known && n.blob.digest == record.Digest:
			entries = append(entries, s.entryLocked(record, n))
		case !known && s.loading && !forgotten:
			entries = append(entries, *record)
		}
	}
	return entries
}
