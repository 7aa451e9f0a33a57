package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestEntriesStandInTheOrderOfTheirUse(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secret
	r := newRecency()
	var want []*node
	without := func(h keyHash) {
		want = slices.DeleteFunc(want, func(n *node) bool { return n.hash == h })
	}
	for range 20_000 {
		h := keyHash{byte(random.IntN(40))} //nolint:gosec // below 256
		n := r.peek(h)
		switch action := random.IntN(3); {
		case action == 0:
			n = &node{hash: h, blob: new(blobState)}
			r.add(n)
			without(h)
			want = append(want, n)
		case n == nil:
		case action == 1:
			r.use(n)
			without(h)
			want = append(want, n)
		default:
			r.remove(n)
			without(h)
		}
		if got := slices.Collect(r.all()); !slices.Equal(got, want) || r.len() != len(want) {
			t.Fatalf("%d entries are there, in another order than that of the %d that should be", r.len(), len(want))
		}
		if oldest := r.oldest(); (oldest == nil) != (len(want) == 0) || (oldest != nil && oldest != want[0]) {
			t.Fatal("the oldest is another one")
		}
	}
}

// TestALookUpIsNoUse: a download that is refused looks the entry up, and must not keep it from eviction.
func TestALookUpIsNoUse(t *testing.T) {
	for name, memory := range map[string]int64{"from the disk": 0, "from memory": 8 << 20} {
		t.Run(name, func(t *testing.T) {
			s, clock := openAt(t, Limits{MaxSize: 1 << 30, Memory: memory})
			lookedAt, served := testKey("looked at"), testKey("served")
			s.put(t, served, randomBytes(100_000, 1))
			s.put(t, lookedAt, randomBytes(100_000, 2))
			clock.pass(time.Minute)
			blob, err := s.OpenBlob(s.lookup(t, served))
			if err != nil {
				t.Fatal(err)
			}
			_ = blob.Close() // it was only opened
			for range 1000 {
				s.lookup(t, lookedAt)
			}
			uses := make(map[Key]time.Time)
			list, err := s.Entries(context.Background(), Selector{}, nil, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, listed := range list {
				uses[listed.Key] = listed.LastUsed
			}
			if !uses[served].Equal(clock.now()) || !uses[lookedAt].Equal(clock.now().Add(-time.Minute)) {
				t.Errorf("last used: %v", uses)
			}
			s.asJanitor(func() {
				s.SetLimits(Limits{MaxSize: 150_000, Memory: memory})
				s.evict()
			})
			if _, err := s.Lookup(served); err != nil {
				t.Errorf("what was served was evicted: %v", err)
			}
			if _, err := s.Lookup(lookedAt); !errors.Is(err, ErrMiss) {
				t.Errorf("what was only looked up is still there: %v", err)
			}
		})
	}
}

// TestWhatIsOpenedAfterItWasReplacedOrRemovedIsNoUseOfAnother uses entries that aren't there any more.
func TestWhatIsOpenedAfterItWasReplacedOrRemovedIsNoUseOfAnother(t *testing.T) {
	s, _ := openAt(t, Limits{})
	k, second := testKey("a"), testKey("b")
	data := randomBytes(1000, 1)
	first := s.put(t, k, data)
	s.put(t, second, data) // keeps the bytes
	s.put(t, k, randomBytes(1000, 2))
	for range 2 {
		blob, err := s.OpenBlob(first)
		if err != nil {
			t.Fatal(err)
		}
		_ = blob.Close() // it was only opened
		if s.lookup(t, k).node.hits != 0 || s.lookup(t, second).node.hits != 0 {
			t.Error("it counts as a use of another")
		}
		first = s.lookup(t, second)
		first.node = new(node) // of an entry that was evicted
	}
}
