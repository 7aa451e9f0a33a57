package cache

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// preview is what a purge would find.
type preview struct {
	entries int
	// named counts, of each blob, the entries that would go. There are no more of them than the store has in memory anyway.
	named map[*blobState]int32
}

// PreviewPurge tells what purges of the selectors, one after another, would remove, and removes nothing: the entries, and the bytes of
// files that nothing would name any more. Of these, Held are those that would stay for a while. No two selectors may name the same
// key. unnamed is told of each content that would go, with its size, as PurgeTelling does. What requests do meanwhile may count or not. When
// ctx ends, its cause is returned.
func (s *Store) PreviewPurge(ctx context.Context, selectors []Selector, unnamed func(digest Digest, size int64)) (Purged, error) {
	p := &preview{named: make(map[*blobState]int32)}
	for _, sel := range selectors {
		if err := s.preview(ctx, sel, p); err != nil {
			return Purged{}, err
		}
	}
	purged := Purged{Entries: p.entries}
	for blobs := range slices.Chunk(slices.Collect(maps.Keys(p.named)), maxChanges) {
		for _, blob := range s.tallyPreview(blobs, p, &purged) {
			unnamed(blob.digest, blob.size)
		}
	}
	return purged, nil
}

// preview looks at the selected entries, as a purge would.
func (s *Store) preview(ctx context.Context, sel Selector, p *preview) error {
	if !sel.isKey() {
		return s.forEachSelected(ctx, sel, func(keys []Key) { s.previewKeys(keys, false, p) })
	}
	if err := s.materialize(Key(sel)); err != nil {
		return fmt.Errorf("looking for %s: %w", Key(sel), err)
	}
	s.previewKeys([]Key{Key(sel)}, true, p)
	return nil
}

// previewKeys counts entries as purgeKeys does.
func (s *Store) previewKeys(keys []Key, single bool, p *preview) {
	hashes := make([]keyHash, 0, len(keys))
	for _, k := range keys {
		hashes = append(hashes, k.hash())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range hashes {
		if n := s.entries.peek(h); n != nil {
			p.entries++
			p.named[n.blob]++
		} else if s.starting.mayHave(h) && !single {
			p.entries++
		}
	}
}

// tallyPreview counts the bytes of those blobs that nothing would name any more, and returns them.
func (s *Store) tallyPreview(blobs []*blobState, p *preview, purged *Purged) (unnamed []*blobState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, blob := range blobs {
		switch {
		case blob.unlinked, blob.entries > p.named[blob]:
			continue
		case blob.open > 0, s.starting.loading, s.leaving.stuck.isRefusing():
			purged.Held += blob.size
		default:
			purged.Bytes += blob.size
		}
		unnamed = append(unnamed, blob)
	}
	return unnamed
}

// CountSelected returns how many entries Soften would mark.
func (s *Store) CountSelected(ctx context.Context, sel Selector) (entries int, err error) {
	err = s.forEachSelected(ctx, sel, func(keys []Key) { entries += len(keys) })
	return entries, err
}

// forEachSelected hands the keys of all selected entries to a function, each once: those that aren't in the index yet, and those that
// are.
func (s *Store) forEachSelected(ctx context.Context, sel Selector, do func([]Key)) error {
	pending := s.pendingKeys(sel)
	slices.SortFunc(pending, Key.Compare)
	pending = slices.Compact(pending) // one can be waited for twice
	waiting := make(map[Key]struct{}, len(pending))
	for keys := range slices.Chunk(pending, maxChanges) {
		do(keys)
	}
	for _, k := range pending {
		waiting[k] = struct{}{}
	}
	return s.forEachKeys(ctx, sel, func(keys []Key) error {
		do(slices.DeleteFunc(keys, func(k Key) bool {
			_, done := waiting[k]
			return done
		}))
		return nil
	})
}
