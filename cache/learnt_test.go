package cache

import (
	"context"
	"testing"
	"time"
)

// TestWhatTheUpstreamNamesLaterIsKnownFromThenOn has an upload's copy, of which nothing but the sum is known, confirmed.
func TestWhatTheUpstreamNamesLaterIsKnownFromThenOn(t *testing.T) {
	modified := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	named := Named{Identity: Identity{ETag: `"1"`, LastModified: modified, Settled: true, Length: 1000}, Disposition: "attachment"}
	for _, durable := range []string{"before the index knows it", "when the index knows it"} {
		t.Run(durable, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir, Limits{MaxSize: 1 << 30})
			awaitLoaded(t, s)
			k := numberedKey(1)
			entry := s.put(t, k, randomBytes(1000, 1))
			if durable == "when the index knows it" {
				if err := s.Sync(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			before := entry.Identity
			confirmed, worth := s.Confirm(entry, s.Generation(k), s.now(), named)
			check := func(when string, got Entry) {
				t.Helper()
				if !got.Identity.LastModified.Equal(modified) || !got.Identity.Settled || got.Identity.ETag != `"1"` || got.Disposition != "attachment" ||
					got.Identity.SHA256 != before.SHA256 || got.Identity.Length != before.Length {
					t.Errorf("%s: %+v, %q", when, got.Identity, got.Disposition)
				}
			}
			if worth != Confirmed {
				t.Fatal(worth)
			}
			check("confirmed", confirmed)
			check("looked up", s.lookup(t, k))
			if err := s.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			s.durability.hot.Purge()
			check("read from the index", s.lookup(t, k))
			other := Named{Identity: Identity{ETag: `"2"`, LastModified: modified.Add(time.Hour), Location: "elsewhere", Length: 1000}, Disposition: "inline"}
			again, _ := s.Confirm(s.lookup(t, k), s.Generation(k), s.now().Add(time.Second), other)
			check("what was known stays", again)
			if again.Identity.Location != "elsewhere" {
				t.Errorf("what wasn't known is added: %+v", again.Identity)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			reopened := openStore(t, dir, Limits{MaxSize: 1 << 30})
			awaitLoaded(t, reopened)
			if got := reopened.lookup(t, k); !got.Identity.LastModified.Equal(again.Identity.LastModified) || got.Identity.Location != "elsewhere" {
				t.Errorf("after a restart: %+v", got.Identity)
			}
		})
	}
}

// TestWhatWasLearntOfAnEntryThatIsGoneIsForgotten replaces and removes entries between what was learnt and the index.
func TestWhatWasLearntOfAnEntryThatIsGoneIsForgotten(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30})
	awaitLoaded(t, s)
	replaced, purged := numberedKey(1), numberedKey(2)
	named := Named{Identity: Identity{ETag: `"old"`, Length: 1000}}
	for _, k := range []Key{replaced, purged} {
		entry := s.put(t, k, randomBytes(1000, 1))
		if err := s.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, worth := s.Confirm(entry, s.Generation(k), s.now(), named); worth != Confirmed {
			t.Fatal(worth)
		}
	}
	s.put(t, replaced, randomBytes(1000, 2))
	if _, err := s.Purge(context.Background(), Selector(purged)); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.durability.hot.Purge()
	if got := s.lookup(t, replaced); got.Identity.ETag != "" {
		t.Errorf("the new file has the old one's: %+v", got.Identity)
	}
	if _, err := s.Lookup(purged); err == nil {
		t.Error("a purged file is back")
	}
	if len(s.durability.learnt) != 0 {
		t.Errorf("%d records wait", len(s.durability.learnt))
	}
}

// TestWhatIsLearntWhileTheIndexIsToldIsKnownFromThenOn has it come between a batch and its end.
func TestWhatIsLearntWhileTheIndexIsToldIsKnownFromThenOn(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30})
	awaitLoaded(t, s)
	k := numberedKey(1)
	s.stopJanitor() // which could tell the index before us
	entry := s.put(t, k, randomBytes(1000, 1))
	b := s.takeBatch(true)
	modified := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	if _, worth := s.Confirm(entry, s.Generation(k), s.now(), Named{Identity: Identity{LastModified: modified, Length: 1000}}); worth != Confirmed {
		t.Fatal(worth)
	}
	for b != nil {
		s.syncBlobs(b)
		s.recordBatch(b)
		if got := s.lookup(t, k); !got.Identity.LastModified.Equal(modified) {
			t.Errorf("%+v", got.Identity)
		}
		b = s.takeBatch(true)
	}
	if record, err := s.readIndex(k); err != nil || !record.Identity.LastModified.Equal(modified) {
		t.Errorf("the index: %+v, %v", record, err)
	}
}
