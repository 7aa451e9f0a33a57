package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// errEnough ends a walk before its limit.
var errEnough = errors.New("enough entries were visited")

// walkIndex visits the entries of the index that begin with a prefix and come after a key (nil for none), up to limit of
// them, in one transaction: longer ones would keep others waiting. It returns the last key that was visited, from which
// the next step goes on; nil if there are no more. visit ends the walk with errEnough; other errors of it are returned. The
// slices that it gets are its own only during the call.
func (s *Store) walkIndex(ctx context.Context, prefix, after []byte, limit int, visit func(tx *bolt.Tx, key, record []byte) error) (last []byte, err error) {
	err = s.viewIndex(func(tx *bolt.Tx) error {
		cursor, order := tx.Bucket(entriesBucket).Cursor(), keyOrder{slices.Clone(after)}
		key, record := cursor.Seek(laterOf(prefix, after))
		if bytes.Equal(key, after) {
			key, record = cursor.Next()
		}
		for range limit {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if key == nil || !bytes.HasPrefix(key, prefix) {
				return nil
			}
			if err := order.meet(key); err != nil {
				return err
			}
			switch err := visit(tx, key, record); {
			case errors.Is(err, errEnough):
				last = order.last
				return nil
			case err != nil:
				return err
			}
			key, record = cursor.Next()
		}
		last = order.last
		return nil
	})
	return last, err
}

// laterOf returns the one that sorts after the other.
func laterOf(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}

// keyOrder makes sure that keys are met in their order. In a damaged file they can stand in any, and whoever goes through
// them in steps, each from the last key on, would go round for ever.
type keyOrder struct {
	// last is the key that was met last, or from which on keys are looked for; nil for none.
	last []byte
}

// meet notes a key; an error says that it doesn't come after the last.
func (o *keyOrder) meet(key []byte) error {
	if bytes.Compare(key, o.last) <= 0 {
		return fmt.Errorf("%w: its keys are out of order", errDamagedIndex)
	}
	o.last = append(o.last[:0], key...)
	return nil
}

// forEachKeys hands the keys of the selected entries in the index to a function, as many at a time as a purge may remove in
// one transaction.
func (s *Store) forEachKeys(ctx context.Context, sel Selector, do func([]Key) error) error {
	prefix := sel.prefix()
	for after, more := []byte(nil), true; more; {
		var keys []Key
		last, err := s.walkIndex(ctx, prefix, after, maxChanges, func(_ *bolt.Tx, raw, _ []byte) error {
			if k, ok := parseKey(raw); ok && sel.Matches(k) {
				keys = append(keys, k)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("looking for entries: %w", err)
		}
		if err := do(keys); err != nil {
			return err
		}
		after, more = last, last != nil
	}
	return nil
}
