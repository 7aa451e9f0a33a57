package cache

import (
	"bytes"
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Purged tells what a purge removed.
type Purged struct {
	Entries int
	Bytes   int64
}

// Purge removes the selected entries: at once for look-ups, and durably when it returns. Running downloads aren't
// disturbed, and what was begun before it isn't kept. For a whole key its cost doesn't depend on the store's size.
func (s *Store) Purge(ctx context.Context, sel Selector) (Purged, error) {
	if sel.Upstream != "" && sel.Project != "" && sel.Package != "" && sel.Version != "" && sel.File != "" {
		key := Key(sel)
		s.generations.raise(key)
		if err := s.materialize(key); err != nil {
			return Purged{}, err
		}
		return s.purgeKeys(ctx, []Key{key})
	}
	s.generations.all.Add(1)
	keys, err := s.keys(ctx, sel)
	if err != nil {
		return Purged{}, err
	}
	return s.purgeKeys(ctx, keys)
}

// keys returns the selected keys, those that aren't durable yet included.
func (s *Store) keys(ctx context.Context, sel Selector) ([]Key, error) {
	var keys []Key
	prefix := sel.prefix()
	err := s.viewIndex(func(tx *bolt.Tx) error {
		cursor := tx.Bucket(entriesBucket).Cursor()
		for raw, _ := cursor.Seek(prefix); raw != nil && bytes.HasPrefix(raw, prefix); raw, _ = cursor.Next() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if k, ok := parseKey(raw); ok && sel.matches(k) {
				keys = append(keys, k)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing entries: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, entry := range s.pending {
		if sel.matches(entry.Key) {
			keys = append(keys, entry.Key)
		}
	}
	return keys, nil
}

// purgeKeys removes entries and waits until that is durable.
func (s *Store) purgeKeys(ctx context.Context, keys []Key) (Purged, error) {
	var purged Purged
	gone := &removal{done: make(chan error, 1)}
	for _, k := range keys {
		h := k.hash()
		gone.keys = append(gone.keys, k.bytes())
		gone.hashes = append(gone.hashes, h)
		s.mu.Lock()
		if n, known := s.entries.Peek(h); known {
			if blob := s.blobs[n.digest]; blob != nil && blob.entries == 1 {
				purged.Bytes += blob.size
			}
			s.dropLocked(h, n)
			purged.Entries++
		} else if s.loading {
			s.forgotten[h] = struct{}{}
			purged.Entries++
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return purged, ErrClosed
	}
	s.removals = append(s.removals, gone)
	s.mu.Unlock()
	s.wakeJanitor()
	select {
	case err := <-gone.done:
		return purged, err
	case <-s.ctx.Done():
		return purged, ErrClosed
	case <-ctx.Done():
		return purged, context.Cause(ctx)
	}
}

// Entries returns up to limit selected entries in key order, those after the given key if there is one. It is for
// admins: it reads the index.
func (s *Store) Entries(ctx context.Context, sel Selector, after *Key, limit int) ([]Entry, error) {
	var entries []Entry
	prefix := sel.prefix()
	start := prefix
	if after != nil {
		start = append(after.bytes(), 0)
	}
	err := s.viewIndex(func(tx *bolt.Tx) error {
		cursor := tx.Bucket(entriesBucket).Cursor()
		for raw, data := cursor.Seek(start); raw != nil && bytes.HasPrefix(raw, prefix) && len(entries) < limit; raw, data = cursor.Next() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			record, err := decodeRecord(data)
			if err == nil && sel.matches(record.Key) {
				entries = append(entries, *record)
			}
		}
		return nil
	})
	return entries, err
}
