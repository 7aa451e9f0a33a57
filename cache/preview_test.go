package cache

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// TestAPreviewTellsWhatThePurgeRemovesAndRemovesNothing has contents that several keys share, and compares with the purge that
// follows.
func TestAPreviewTellsWhatThePurgeRemovesAndRemovesNothing(t *testing.T) {
	const large = 100_000 // or it would be read at once
	keys := []Key{
		{"u1", "p1", "a", "1", "f"},
		{"u1", "p1", "a", "2", "f"},
		{"u1", "p1", "b", "1", "f"},
		{"u1", "p2", "a", "1", "f"},
		{"u2", "p1", "a", "1", "f"},
	}
	contents := [][]byte{randomBytes(1*large, 1), randomBytes(2*large, 2), randomBytes(1*large, 1), randomBytes(3*large, 3), randomBytes(2*large, 2)}
	for name, test := range map[string]struct {
		selectors    []Selector
		open         int // the key whose file is being read; -1 for none
		entries      int
		bytes, holds int64
	}{
		"one file whose content stays":         {[]Selector{Selector(keys[0])}, -1, 1, 0, 0},
		"one file":                             {[]Selector{Selector(keys[3])}, -1, 1, 3 * large, 0},
		"one file that is being read":          {[]Selector{Selector(keys[3])}, 3, 1, 0, 3 * large},
		"all names of a content":               {[]Selector{{Upstream: "u1", Project: "p1"}}, -1, 3, 1 * large, 0},
		"a content by two selectors":           {[]Selector{{Upstream: "u1", Project: "p1", Package: "a"}, {Upstream: "u2"}}, -1, 3, 2 * large, 0},
		"two contents by two selectors":        {[]Selector{{Upstream: "u1", Project: "p1"}, {Upstream: "u2"}}, -1, 4, 3 * large, 0},
		"everything":                           {[]Selector{{}}, -1, 5, 6 * large, 0},
		"everything while one is being read":   {[]Selector{{}}, 1, 5, 4 * large, 2 * large},
		"nothing":                              {[]Selector{{Upstream: "u3"}}, -1, 0, 0, 0},
		"a file that nobody has, by its name":  {[]Selector{{"u1", "p1", "a", "3", "f"}}, -1, 0, 0, 0},
		"a version of any package, by a field": {[]Selector{{Upstream: "u1", Project: "p1", Version: "1"}}, -1, 2, 1 * large, 0},
	} {
		for where, durable := range map[string]bool{"in the index": true, "on the way there": false} {
			t.Run(name+" "+where, func(t *testing.T) {
				s := openStore(t, t.TempDir(), Limits{})
				awaitLoaded(t, s)
				for i, k := range keys {
					s.put(t, k, contents[i])
				}
				if durable {
					if err := s.Sync(context.Background()); err != nil {
						t.Fatal(err)
					}
				}
				if test.open >= 0 {
					entry, err := s.Lookup(keys[test.open])
					if err != nil {
						t.Fatal(err)
					}
					blob, err := s.OpenBlob(entry)
					if err != nil {
						t.Fatal(err)
					}
					defer blob.Close()
				}
				generation := s.Generation(keys[0])
				var foreseen, told []Digest
				preview, err := s.PreviewPurge(t.Context(), test.selectors, func(d Digest, _ int64) { foreseen = append(foreseen, d) })
				if want := (Purged{test.entries, test.bytes, test.holds}); err != nil || preview != want {
					t.Errorf("foreseen %+v, want %+v; %v", preview, want, err)
				}
				for _, k := range keys {
					if _, err := s.Lookup(k); err != nil || s.Generation(keys[0]) != generation {
						t.Errorf("%s after a preview: %v", k, err)
					}
				}
				var purged Purged
				for _, sel := range test.selectors {
					one, err := s.PurgeTelling(t.Context(), sel, func(d Digest, _ int64) { told = append(told, d) })
					if err != nil {
						t.Fatal(err)
					}
					purged = Purged{purged.Entries + one.Entries, purged.Bytes + one.Bytes, purged.Held + one.Held}
				}
				slices.SortFunc(foreseen, compareDigests)
				slices.SortFunc(told, compareDigests)
				if preview != purged || !slices.Equal(foreseen, told) {
					t.Errorf("foreseen %+v %v, purged %+v %v", preview, foreseen, purged, told)
				}
			})
		}
	}
}

func compareDigests(a, b Digest) int { return slices.Compare(a[:], b[:]) }

func TestAPreviewEndsWithItsContext(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.putMany(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.PreviewPurge(ctx, []Selector{{}}, func(Digest, int64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestWhatIsWrittenIntoTheIndexAnewIsSoftenedOnce has a key that is being recorded when a new index takes the place of a damaged one.
func TestWhatIsWrittenIntoTheIndexAnewIsSoftenedOnce(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.stopJanitor()
	k := testKey("a")
	s.put(t, k, []byte("x"))
	s.mu.Lock()
	s.durability.recording, s.durability.pending = s.durability.pending, s.durability.recording
	s.mu.Unlock()
	s.keepRemembered()
	counted, err := s.CountSelected(t.Context(), Selector{})
	softened, failed := s.Soften(t.Context(), Selector{})
	if counted != 1 || softened != 1 || err != nil || failed != nil {
		t.Errorf("counted %d, softened %d; %v, %v", counted, softened, err, failed)
	}
}
