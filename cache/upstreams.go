package cache

import (
	"context"
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// maxUpstreams bounds the list of upstreams of which files are stored.
const maxUpstreams = 1000

// Upstreams returns those of which there are entries, in order, the first thousand. Its cost is that of the upstreams, not of
// their entries.
func (s *Store) Upstreams(ctx context.Context) ([]string, error) {
	seen := make(map[string]struct{})
	s.mu.Lock()
	for record := range s.durability.unrecorded() {
		seen[record.Key.Upstream] = struct{}{}
	}
	s.mu.Unlock()
	err := s.viewIndex(func(tx *bolt.Tx) error {
		cursor, order := tx.Bucket(entriesBucket).Cursor(), keyOrder{}
		raw, _ := cursor.First()
		for range maxUpstreams {
			if raw == nil {
				return nil
			}
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
			seen[k.Upstream] = struct{}{}
			// Past all keys that begin with this upstream's prefix, which ends with a zero byte.
			prefix := Selector{Upstream: k.Upstream}.prefix()
			prefix[len(prefix)-1] = 1
			raw, _ = cursor.Seek(prefix)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing upstreams: %w", err)
	}
	return slices.Sorted(maps.Keys(seen)), nil
}
