package cache

import (
	"context"
	"errors"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
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

// TestOnlyWhatIsNewIsLearnt, also of an entry whose record isn't in memory: the name alone under which a file is saved counts, too,
// and what is known already costs no record.
func TestOnlyWhatIsNewIsLearnt(t *testing.T) {
	s, clock := openAt(t, Limits{})
	k := testKey("a")
	fill := s.begin(t, k, FillSpec{Size: 1, Confirmed: clock.now()})
	fill.write(t, []byte("x"))
	entry, err := fill.Commit(s.Generation(k))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.stopJanitor()
	for _, hot := range []bool{true, false} {
		if !hot {
			s.durability.hot.Purge() // the record isn't in memory
		}
		if got, _ := s.Confirm(entry, s.Generation(k), clock.now(), Named{Identity: entry.Identity}); len(s.durability.learnt) != 0 || got.Disposition != "" {
			t.Errorf("nothing new is learnt: %+v", got)
		}
	}
	got, _ := s.Confirm(entry, s.Generation(k), clock.now(), Named{Disposition: "inline"})
	if got.Disposition != "inline" || got.Identity != entry.Identity || len(s.durability.learnt) != 1 || s.lookup(t, k).Disposition != "inline" {
		t.Errorf("a disposition is learnt: %+v", got)
	}
}

// TestARecordOfAnotherKeyWithTheSameHashSaysNothing: it is a miss, and what is learnt is the entry's own.
func TestARecordOfAnotherKeyWithTheSameHashSaysNothing(t *testing.T) {
	s, clock := openAt(t, Limits{})
	e := s.put(t, testKey("a"), []byte("x"))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.stopJanitor()
	s.mu.Lock()
	s.durability.know(e.Key.hash(), &Entry{Key: testKey("b"), Digest: e.Digest, Disposition: "another's", Identity: Identity{ETag: "another's"}})
	s.mu.Unlock()
	if got, err := s.Lookup(e.Key); !errors.Is(err, ErrMiss) || got != (Entry{}) {
		t.Errorf("looked up: %+v, %v", got, err)
	}
	got, worth := s.Confirm(e, s.Generation(e.Key), clock.now(), Named{Identity: Identity{ETag: `"1"`}})
	if worth != Confirmed || got.Identity.ETag != `"1"` || got.Disposition != e.Disposition {
		t.Errorf("confirmed: %+v, %s", got, worth)
	}
}

// TestRecordsAreWrittenAnewOfWhatTheIndexHasAlone: another entry, or one that is gone, doesn't come back by what was learnt.
func TestRecordsAreWrittenAnewOfWhatTheIndexHasAlone(t *testing.T) {
	s, _ := openAt(t, Limits{})
	learnt := make([]*Entry, 0, 5)
	for i, file := range []string{"there", "gone", "replaced", "pending", "lost"} {
		e := s.put(t, testKey(file), []byte{byte(i)})
		e.Identity.ETag = "learnt"
		learnt = append(learnt, &e)
	}
	s.put(t, testKey("replaced"), []byte("new"))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.stopJanitor()
	s.mu.Lock()
	s.dropLocked(s.entries.peek(testKey("gone").hash()))
	s.mu.Unlock()
	pending := s.put(t, testKey("pending"), []byte("new"))
	learnt[3].serial = pending.serial
	err := s.updateIndex(func(tx *bolt.Tx) error {
		if err := tx.Bucket(entriesBucket).Delete(testKey("lost").bytes()); err != nil {
			return err
		}
		return s.rewriteRecords(tx, learnt)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range learnt {
		record, err := s.readIndex(e.Key)
		if err != nil || (record == nil) != (e.Key.File == "lost") || (record != nil && (record.Identity.ETag == "learnt") != (e.Key.File == "there")) {
			t.Errorf("%s: %+v, %v", e.Key.File, record, err)
		}
	}
	if err := s.viewIndex(func(tx *bolt.Tx) error { return s.rewriteRecords(tx, learnt) }); !errors.Is(err, bolterrors.ErrTxNotWritable) {
		t.Errorf("an index that can't be written is rewritten: %v", err)
	}
}

// TestWhatTheIndexSaysOfAKeyIsTakenWhereMemoryStillHasWhatItHad when the index was asked.
func TestWhatTheIndexSaysOfAKeyIsTakenWhereMemoryStillHasWhatItHad(t *testing.T) {
	k := testKey("a")
	h := k.hash()
	for _, test := range []struct {
		name   string
		before func(s *Store, n *node) *node
		record func(e Entry) *Entry
		want   bool
		stays  bool
	}{
		{"what it has", nil, func(e Entry) *Entry { return &e }, true, true},
		{"nothing", nil, func(Entry) *Entry { return nil }, false, false},
		{"another file", nil, func(e Entry) *Entry { e.Digest = numberedDigest(1); return &e }, false, false},
		{"nothing, of what came meanwhile", func(*Store, *node) *node { return nil }, func(Entry) *Entry { return nil }, true, true},
		{
			"another file, of what was replaced meanwhile", func(*Store, *node) *node { return new(node) },
			func(e Entry) *Entry { e.Digest = numberedDigest(1); return &e }, true, true,
		},
		{"what left meanwhile", func(s *Store, n *node) *node { s.dropLocked(n); return n }, func(e Entry) *Entry { return &e }, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _ := openAt(t, Limits{})
			s.stopJanitor()
			e := s.put(t, k, []byte("x"))
			n := e.node
			if test.before != nil {
				s.mu.Lock()
				n = test.before(s, n)
				s.mu.Unlock()
			}
			if got := s.takeFromIndex(h, n, test.record(e)); got != test.want {
				t.Errorf("there is such an entry: %v", got)
			}
			if stays := s.entries.peek(h) != nil; stays != test.stays {
				t.Errorf("memory has an entry: %v", stays)
			}
			if n := len(s.leaving.removals); (n > 0) != (!test.want && test.before == nil) {
				t.Errorf("the index is to drop %d records", n)
			}
		})
	}
}
