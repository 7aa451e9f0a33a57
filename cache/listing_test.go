package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// listedKeys are the files of listed entries.
func listedKeys(listed []Listed) (files []string) {
	for _, e := range listed {
		files = append(files, e.Key.File)
	}
	return files
}

// putMany stores files of one byte each, named a, b and so on, in the index.
func (s *Store) putMany(t *testing.T, number int) {
	t.Helper()
	for i := range number {
		s.put(t, testKey(string(rune('a'+i))), []byte{byte(i)})
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestAPageHasAsManyEntriesAsWereAskedForAlsoWhereSomeAreGone: the index still has records of what was dropped.
func TestAPageHasAsManyEntriesAsWereAskedForAlsoWhereSomeAreGone(t *testing.T) {
	for _, test := range []struct {
		gone, new []string
		limit     int
		want      string
	}{
		{nil, nil, 3, "[a b c]"},
		{[]string{"b"}, nil, 3, "[a c d]"},
		{[]string{"b"}, []string{"c2"}, 3, "[a c c2]"},
		{[]string{"b"}, []string{"b2"}, 3, "[a b2 c]"},
		{[]string{"a", "b", "c"}, nil, 3, "[d e f]"},
		{[]string{"c", "e"}, nil, 3, "[a b d]"},
		{[]string{"a", "h"}, []string{"i"}, 10, "[b c d e f g i]"},
		{nil, nil, 8, "[a b c d e f g h]"},
		{nil, nil, 0, "[]"},
	} {
		s := openStore(t, t.TempDir(), Limits{})
		awaitLoaded(t, s)
		s.putMany(t, 8)
		s.stopJanitor() // which would take them out of the index
		for _, file := range test.gone {
			s.mu.Lock()
			s.forgetEntryLocked(s.entries.peek(testKey(file).hash()))
			s.mu.Unlock()
		}
		for _, file := range test.new {
			s.put(t, testKey(file), []byte("new"))
		}
		listed, err := s.Entries(t.Context(), Selector{}, nil, test.limit)
		if got := fmt.Sprint(listedKeys(listed)); err != nil || got != test.want {
			t.Errorf("%d without %v: %s, %v", test.limit, test.gone, got, err)
		}
	}
}

// TestAPageIsReadInOneTransactionAndNotFurther: an admin with a small page reads no more of a large index than that.
func TestAPageIsReadInOneTransactionAndNotFurther(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.putMany(t, 10)
	for _, test := range []struct {
		limit, want int
		more        bool
	}{{1, 1, true}, {3, 3, true}, {10, 10, true}, {11, 10, false}} {
		before := s.transactions(t)
		records, last, err := s.recordsAfter(t.Context(), listing{Selector{}, acceptsAll, test.limit, math.MaxInt}, nil)
		if err != nil || len(records) != test.want || (last != nil) != test.more || (last != nil && *last != records[test.want-1].Key) {
			t.Errorf("of %d, %d are read, up to %v, %v", test.limit, len(records), last, err)
		}
		if n := s.transactions(t) - before; n != 1 {
			t.Errorf("of %d, that takes %d transactions", test.limit, n)
		}
	}
}

// TestWhatIsNotDurableYetIsListedAsItIs, where it is selected and its turn comes.
func TestWhatIsNotDurableYetIsListedAsItIs(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.putMany(t, 4)
	s.stopJanitor()
	other := testKey("b2")
	other.Project = "25"
	s.put(t, other, []byte("other"))
	s.put(t, testKey("b"), []byte("anew"))
	s.put(t, testKey("b3"), []byte("new"))
	after := testKey("b")
	for _, test := range []struct {
		after *Key
		limit int
		want  string
	}{{nil, 10, "[a b b3 c d]"}, {nil, 3, "[a b b3]"}, {&after, 10, "[b3 c d]"}, {&after, 1, "[b3]"}} {
		listed, err := s.Entries(t.Context(), Selector{Project: "24"}, test.after, test.limit)
		if got := fmt.Sprint(listedKeys(listed)); err != nil || got != test.want {
			t.Errorf("%d after %v: %s, %v", test.limit, test.after, got, err)
		}
		for _, e := range listed {
			if e.Key == testKey("b") && e.Size != 4 {
				t.Errorf("what was replaced is listed: %+v", e)
			}
		}
	}
}

// TestEntriesThatAreNotLoadedYetAreListed as the index has them, and what came or went meanwhile as it is.
func TestEntriesThatAreNotLoadedYetAreListed(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	s.putMany(t, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, goOn := openLoading(t, dir)
	s.put(t, testKey("b"), []byte("anew"))
	if _, err := s.Purge(t.Context(), Selector(testKey("c"))); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"during the start", "after it"} {
		listed, err := s.Entries(t.Context(), Selector{}, nil, 10)
		if err != nil || fmt.Sprint(listedKeys(listed)) != "[a b]" || listed[0].Size != 1 || listed[1].Size != 4 {
			t.Errorf("%s: %+v, %v", when, listed, err)
		}
		if when == "during the start" {
			goOn()
		}
	}
}

// TestProjectsAreListedInTheirOrder, as many as are asked for, and read no further.
func TestProjectsAreListedInTheirOrder(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	want := make([]Project, 0, 20)
	for i := range 20 {
		for _, file := range []string{"a", "b"} {
			k := testKey(file)
			k.Project = fmt.Sprintf("%02d", i)
			s.put(t, k, []byte{byte(i)})
		}
		want = append(want, Project{testKey("a").Upstream, fmt.Sprintf("%02d", i)})
		if i == 15 {
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.stopJanitor()
		}
	}
	for _, limit := range []int{0, 1, 5, 19, 20, 21} {
		got, err := s.Projects(t.Context(), limit)
		if err != nil || !slices.Equal(got, want[:min(limit, 20)]) {
			t.Errorf("the first %d are %v, %v", limit, got, err)
		}
	}
	// The four that aren't in the index, and the first five that are.
	seen, err := s.distinct(t.Context(), 5, func(k Key) Selector { return Selector{Upstream: k.Upstream, Project: k.Project} })
	if err != nil || len(seen) != 9 {
		t.Errorf("%d are read, %v", len(seen), err)
	}
}

// TestAKeyThatCannotBeReadHidesNoOther where keys are listed: it is no entry.
func TestAKeyThatCannotBeReadHidesNoOther(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.putMany(t, 2)
	err := s.updateIndex(func(tx *bolt.Tx) error {
		return errors.Join(tx.Bucket(entriesBucket).Put([]byte("a wrong key"), []byte("x")),
			tx.Bucket(entriesBucket).Put(testKey("a2").bytes(), []byte("a wrong record")))
	})
	if err != nil {
		t.Fatal(err)
	}
	if listed, err := s.Entries(t.Context(), Selector{}, nil, 10); err != nil || len(listed) != 2 {
		t.Errorf("listed %v, %v", listedKeys(listed), err)
	}
	if listed, err := s.Entries(t.Context(), Selector{}, nil, 1); err != nil || len(listed) != 1 {
		t.Errorf("of one page: %v, %v", listedKeys(listed), err)
	}
	if projects, err := s.Projects(t.Context(), 10); err != nil || len(projects) != 1 {
		t.Errorf("listed %v, %v", projects, err)
	}
	if upstreams, err := s.Upstreams(t.Context()); err != nil || len(upstreams) != 1 {
		t.Errorf("listed %v, %v", upstreams, err)
	}
	if purged, err := s.Purge(t.Context(), Selector{Project: "24"}); err != nil || purged.Entries != 2 {
		t.Errorf("purged %+v, %v", purged, err)
	}
}

// TestAnIndexWhoseUsesCannotBeReadIsListedAsNoEmptyOne: the admin hears that it is damaged.
func TestAnIndexWhoseUsesCannotBeReadIsListedAsNoEmptyOne(t *testing.T) {
	s, _ := openAt(t, Limits{})
	s.putMany(t, 2)
	s.stopJanitor()
	if err := s.updateIndex(func(tx *bolt.Tx) error { return tx.DeleteBucket(usesBucket) }); err != nil {
		t.Fatal(err)
	}
	if listed, err := s.Entries(t.Context(), Selector{}, nil, 10); !errors.Is(err, errDamagedIndex) || len(listed) != 0 {
		t.Errorf("listed %v, %v", listedKeys(listed), err)
	}
}

// TestKeysOutOfOrderAreDamage: whoever goes through them in steps, each from the last on, would go round for ever.
func TestKeysOutOfOrderAreDamage(t *testing.T) {
	for _, test := range []struct {
		last, key string
		wrong     bool
	}{{"", "a", false}, {"a", "b", false}, {"b", "b", true}, {"b", "a", true}, {"b", "", true}} {
		order := keyOrder{}
		if test.last != "" {
			order.last = []byte(test.last)
		}
		if err := order.meet([]byte(test.key)); errors.Is(err, errDamagedIndex) != test.wrong || (err == nil) == test.wrong {
			t.Errorf("%q after %q: %v", test.key, test.last, err)
		}
		if want := test.key; !test.wrong && string(order.last) != want {
			t.Errorf("the last is %q, not %q", order.last, want)
		}
	}
}

// TestAnIndexThatIsOutOfOrderIsListedAsNoOther: whoever lists it hears of the damage.
func TestAnIndexThatIsOutOfOrderIsListedAsNoOther(t *testing.T) {
	for name, list := range map[string]func(s *Store) error{
		"projects": func(s *Store) error { _, err := s.Projects(t.Context(), 10); return err },
		"entries":  func(s *Store) error { _, err := s.Entries(t.Context(), Selector{}, nil, 10); return err },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir, Limits{})
			s.putMany(t, 2)
			first := []byte("a wrong key, before all others")
			if err := s.updateIndex(func(tx *bolt.Tx) error { return tx.Bucket(entriesBucket).Put(first, []byte("x")) }); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(indexPath(dir))
			if err != nil {
				t.Fatal(err)
			}
			last := bytes.Replace(first, []byte("a"), []byte("z"), 1)
			if err := os.WriteFile(indexPath(dir), bytes.ReplaceAll(data, first, last), 0o600); err != nil {
				t.Fatal(err)
			}
			s, goOn := openLoading(t, dir)
			if err := list(s); !errors.Is(err, errDamagedIndex) {
				t.Errorf("listed with %v", err)
			}
			goOn()
		})
	}
}

// TestAWalkGoesOnWhereItEnded, whatever ended it, and visits nothing twice.
func TestAWalkGoesOnWhereItEnded(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.putMany(t, 6)
	failure := errors.New("no more")
	at := func(file string) []byte { return testKey(file).bytes() }
	none := testKey("a")
	none.Project = "23"
	for _, test := range []struct {
		name          string
		prefix, after []byte
		limit, most   int
		ends          error
		want          string
		last          []byte
		err           error
	}{
		{"to the end", nil, nil, 10, 10, nil, "[a b c d e f]", nil, nil},
		{"just to the end", nil, nil, 6, 10, nil, "[a b c d e f]", at("f"), nil},
		{"from the end", nil, at("f"), 6, 10, nil, "[]", nil, nil},
		{"from the middle", nil, at("b"), 2, 10, nil, "[c d]", at("d"), nil},
		{"from what isn't there", nil, at("b2"), 2, 10, nil, "[c d]", at("d"), nil},
		{"enough", nil, nil, 10, 2, errEnough, "[a b]", at("b"), nil},
		{"no more", nil, nil, 10, 2, failure, "[a b]", nil, failure},
		{"with a prefix", at("c"), nil, 10, 10, nil, "[c]", nil, nil},
		{"with a prefix, from before it", at("c"), at("a"), 10, 10, nil, "[c]", nil, nil},
		{"with a prefix that nothing has", none.bytes(), nil, 10, 10, nil, "[]", nil, nil},
	} {
		files := []string{}
		last, err := s.walkIndex(t.Context(), test.prefix, test.after, test.limit, func(_ *bolt.Tx, key, _ []byte) error {
			k, _ := parseKey(key)
			if files = append(files, k.File); len(files) == test.most {
				return test.ends
			}
			return nil
		})
		if got := fmt.Sprint(files); got != test.want || !slices.Equal(last, test.last) || !errors.Is(err, test.err) {
			t.Errorf("%s: %s up to %q, %v", test.name, got, last, err)
		}
	}
	left := errors.New("the admin has left")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := s.walkIndex(ctx, nil, nil, 10, func(*bolt.Tx, []byte, []byte) error {
		cancel(left)
		return nil
	})
	if !errors.Is(err, left) {
		t.Errorf("nobody waits any more: %v", err)
	}
}

// TestKeysAreHandedOutUntilTheirReceiverFails: a purge that can't remove some goes no further, and says so.
func TestKeysAreHandedOutUntilTheirReceiverFails(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.putMany(t, 3)
	failure := errors.New("not removed")
	calls := 0
	err := s.forEachKeys(t.Context(), Selector{File: "b"}, func(keys []Key) error {
		if calls++; len(keys) != 1 || keys[0] != testKey("b") {
			t.Errorf("handed out %v", keys)
		}
		return failure
	})
	if !errors.Is(err, failure) || calls != 1 {
		t.Errorf("after %d calls: %v", calls, err)
	}
}

// TestTheLaterOfTwoUsesIsTold: the index's, or the one that it doesn't know yet.
func TestTheLaterOfTwoUsesIsTold(t *testing.T) {
	s, clock := openAt(t, Limits{})
	e := s.put(t, testKey("a"), []byte("x"))
	h, stored := e.Key.hash(), e.Stored
	for _, test := range []struct{ index, memory, want time.Duration }{
		{0, 0, 0}, {time.Hour, 0, time.Hour}, {0, time.Hour, time.Hour}, {time.Hour, time.Minute, time.Hour}, {-time.Hour, -time.Minute, 0},
	} {
		uses := map[keyHash]time.Time{h: stored.Add(test.index)}
		s.mu.Lock()
		s.durability.touched[h] = stored.Add(test.memory).UnixNano()
		listed := s.listedLocked(h, e, 7, uses)
		s.mu.Unlock()
		if !listed.LastUsed.Equal(stored.Add(test.want)) || listed.Hits != 7 || !listed.Pinned.IsZero() {
			t.Errorf("%+v", listed)
		}
	}
	until := clock.now().Add(time.Hour)
	if err := s.Pin(t.Context(), e.Key, until); err != nil {
		t.Fatal(err)
	}
	for _, pinned := range []bool{true, false} {
		listed, err := s.Entries(t.Context(), Selector{}, nil, 1)
		if err != nil || len(listed) != 1 || !listed[0].Pinned.IsZero() != pinned {
			t.Errorf("%+v, %v", listed, err)
		}
		clock.pass(2 * time.Hour)
	}
}
