package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestUpstreamsAreListedInOrderAndOnceEach(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	stored := s.put(t, testKey("a"), randomBytes(100, 1))
	want := []string{stored.Key.Upstream}
	for i := range 40 {
		k := Key{fmt.Sprintf("https://gitlab%02d.example.com", i/2), "24", "pkg", "1.0.0", fmt.Sprint(i)}
		if _, err := s.Link(k, s.Generation(k), FillSpec{Size: -1, SHA256: stored.Digest}); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			want = append(want, k.Upstream)
		}
	}
	slices.Sort(want)
	if got, err := s.Upstreams(context.Background()); err != nil || !slices.Equal(got, want) {
		t.Errorf("upstreams are %v, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Upstreams(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("of a store that is closed: %v, %v", got, err)
	}
}
