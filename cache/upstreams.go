package cache

import (
	"context"
	"fmt"
	"slices"
)

// maxUpstreams bounds the list of upstreams of which files are stored.
const maxUpstreams = 1000

// Upstreams returns those of which there are entries, in order, the first thousand. Its cost is that of the upstreams, not of
// their entries.
func (s *Store) Upstreams(ctx context.Context) ([]string, error) {
	seen, err := s.distinct(ctx, maxUpstreams, func(k Key) Selector { return Selector{Upstream: k.Upstream} })
	if err != nil {
		return nil, fmt.Errorf("listing upstreams: %w", err)
	}
	known := make([]string, 0, len(seen))
	for part := range seen {
		known = append(known, part.Upstream)
	}
	slices.Sort(known)
	return known, nil
}
