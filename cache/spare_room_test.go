package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// spareStore is a store without files, in whose books are 100,000 bytes of an entry that wasn't used since a moment, 300,000 of
// one that was, a beginning of 20,000 and 30,000 on their way out. There are 640,000, of which 10,000 are headroom: 180,000 are
// to be had at once.
func spareStore(t *testing.T) (s *Store, free *atomic.Int64, since *Moment) {
	t.Helper()
	free = new(atomic.Int64)
	free.Store(1 << 40)
	clock := new(testClock)
	s = newStore(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 640_000, MinFree: 50_000}, FS: changingFS{FS: OS(), free: free}, Now: clock.now})
	s.starting.end()
	s.addVictim('o', &blobState{digest: Digest{'o'}, size: 100_000})
	since = s.Moment()
	s.addVictim('u', &blobState{digest: Digest{'u'}, size: 300_000})
	s.beginnings.keep(&Beginning{fill: &Fill{store: s, users: 2, room: &s.space.holding}, onDisk: 20_000})
	s.space.beginnings = 20_000
	leaving := &blobState{digest: Digest{'l'}, size: 30_000}
	s.space.blobs += leaving.size
	s.leaving.orphan(leaving)
	return s, free, since
}

// owe notes that bytes were removed that don't show as free yet.
func (s *Store) owe(bytes, free int64) {
	s.space.unfreed = unfreed{bytes: bytes, since: s.now(), level: free + s.space.written}
}

// TestWhetherAFileCanBeSparedRoomIsKnownToTheByte: a warming that hears no goes on with smaller files, and one that hears a wrong
// yes fetches a file in vain.
func TestWhetherAFileCanBeSparedRoomIsKnownToTheByte(t *testing.T) {
	const atOnce, going, unused = 180_000, 50_000, 100_000
	none := func(s *Store, _ *atomic.Int64) { s.entries.remove(s.entries.peek(keyHash{'o'})) }
	for name, test := range map[string]struct {
		size   int64
		before func(s *Store, free *atomic.Int64)
		want   bool
	}{
		"all that isn't used goes":           {atOnce + going + unused, nil, true},
		"and a byte more is lacking":         {atOnce + going + unused + 1, nil, false},
		"nothing is unused":                  {atOnce + going, none, true},
		"and a byte more is lacking then":    {atOnce + going + 1, none, false},
		"larger than max_size":               {640_001, none, true},
		"as large as max_size":               {640_000, none, false},
		"larger than max_object":             {atOnce + going + 2, func(s *Store, f *atomic.Int64) { none(s, f); s.limits.MaxObject = atOnce + going + 1 }, true},
		"as large as max_object":             {atOnce + going + 1, func(s *Store, f *atomic.Int64) { none(s, f); s.limits.MaxObject = atOnce + going + 1 }, false},
		"smaller than max_object":            {atOnce + going + 1, func(s *Store, f *atomic.Int64) { none(s, f); s.limits.MaxObject = 1 << 30 }, false},
		"of unknown length, and there is no": {-1, func(s *Store, f *atomic.Int64) { none(s, f); s.space.reserved = atOnce + going }, false},
		"empty, and there is no":             {0, func(s *Store, f *atomic.Int64) { none(s, f); s.space.reserved = atOnce + going }, true},
		"of unknown length, its first step": {-1, func(s *Store, f *atomic.Int64) {
			none(s, f)
			s.space.reserved = atOnce + going - s.limits.growthStep(0)
		}, true},
		"of unknown length, a byte less": {-1, func(s *Store, f *atomic.Int64) {
			none(s, f)
			s.space.reserved = atOnce + going - s.limits.growthStep(0) + 1
		}, false},
		"what leaves is read":               {atOnce + 20_001, func(s *Store, f *atomic.Int64) { none(s, f); s.blobOf('l').open = 1 }, false},
		"what leaves has no name any more":  {atOnce + 20_001, func(s *Store, f *atomic.Int64) { none(s, f); s.blobOf('l').unlinked = true }, false},
		"the disk lacks what was removed":   {100_000, func(s *Store, f *atomic.Int64) { none(s, f); f.Store(50_000 + 40_000); s.owe(60_000, 90_000) }, true},
		"the disk lacks a byte more":        {160_001, func(s *Store, f *atomic.Int64) { none(s, f); f.Store(50_000); s.owe(110_000, 50_000) }, false},
		"the disk doesn't say what is free": {1 << 19, func(s *Store, f *atomic.Int64) { none(s, f); s.fs = silentFS{s.fs} }, true},
	} {
		s, free, since := spareStore(t)
		if test.before != nil {
			test.before(s, free)
		}
		if can := s.CanSpare(test.size, Digest{1}, since); can != test.want {
			t.Errorf("%s: %v", name, can)
		}
	}
	s, _, since := spareStore(t)
	digest := Digest(sha256.Sum256(nil))
	s.blobs[digest] = &blobState{digest: digest}
	if !s.CanSpare(600_000, digest, since) {
		t.Error("bytes that are here need room")
	}
	s.blobs[digest].damaged = true
	if s.CanSpare(600_000, digest, since) {
		t.Error("bytes that are damaged need none")
	}
}

// silentFS doesn't say how many bytes are free.
type silentFS struct{ FS }

func (silentFS) Free(string) (int64, error) { return 0, syscall.EIO }

// blobOf finds a blob of which the books tell.
func (s *Store) blobOf(id byte) *blobState {
	for blob := range s.leaving.orphans {
		if blob.digest[0] == id {
			return blob
		}
	}
	return s.blobs[Digest{id}]
}

// TestATryForRoomTakesItOrHasAsMuchRemovedAsItLacks, and removes nothing where that is too little.
func TestATryForRoomTakesItOrHasAsMuchRemovedAsItLacks(t *testing.T) {
	const atOnce = 180_000
	noBeginning := func(s *Store) {
		s.beginnings.kept, s.beginnings.bytes, s.space.beginnings = nil, 0, 0
		s.space.reserved = 20_000
	}
	bare := func(s *Store) { noBeginning(s); s.leaving.orphans = make(map[*blobState]struct{}) }
	sized := func(bytes int64) claim { return claim{bytes, bytes} }
	for name, test := range map[string]struct {
		want       claim
		before     func(s *Store, free *atomic.Int64)
		taken      bool
		coming     int64
		err        error
		evicted    int64
		beginnings int
	}{
		"there is room":                     {sized(atOnce), nil, true, 0, nil, 0, 1},
		"of the headroom, too":              {sized(atOnce + 1), nil, false, 0, nil, 0, 0},
		"a beginning is gone":               {sized(atOnce + 1), func(s *Store, _ *atomic.Int64) { noBeginning(s) }, false, 1, nil, 0, 0},
		"what leaves goes first":            {sized(atOnce + 30_001), func(s *Store, _ *atomic.Int64) { noBeginning(s) }, false, 30_000, nil, 0, 0},
		"nothing leaves":                    {sized(atOnce + 1), func(s *Store, _ *atomic.Int64) { bare(s) }, false, 1, nil, 1, 0},
		"just all that isn't used":          {sized(atOnce + 100_000), func(s *Store, _ *atomic.Int64) { bare(s) }, false, 100_000, nil, 1, 0},
		"a byte more":                       {sized(atOnce + 100_001), func(s *Store, _ *atomic.Int64) { bare(s) }, false, 0, ErrNoSpareRoom, 0, 0},
		"the disk has just the room":        {sized(1000), func(_ *Store, f *atomic.Int64) { f.Store(51_000) }, true, 0, nil, 0, 1},
		"the disk lacks what was removed":   {sized(1000), func(s *Store, f *atomic.Int64) { f.Store(50_000); s.owe(1000, 50_000) }, false, 0, ErrNoRoom, 0, 1},
		"the disk lacks more":               {sized(3000), func(s *Store, f *atomic.Int64) { bare(s); f.Store(50_000); s.owe(1000, 50_000) }, false, 2000, nil, 1, 0},
		"the disk doesn't say what is free": {sized(1000), func(s *Store, _ *atomic.Int64) { s.fs = silentFS{s.fs} }, false, 0, ErrDisk, 0, 1},
		"the store is closed":               {sized(1000), func(s *Store, _ *atomic.Int64) { s.closed = true }, false, 0, ErrClosed, 0, 1},
		"it isn't known what is oldest":     {sized(atOnce + 1), func(s *Store, _ *atomic.Int64) { s.starting.loading = true }, false, 0, ErrNoRoom, 0, 1},
		"it isn't, and there is room":       {sized(atOnce), func(s *Store, _ *atomic.Int64) { s.starting.loading = true }, true, 0, nil, 0, 1},
		"the disk removes nothing":          {sized(atOnce + 1), func(s *Store, _ *atomic.Int64) { bare(s); s.leaving.stuck.refusals = maxRefusals }, false, 0, ErrNoRoom, 0, 0},
		"the disk may remove one":           {sized(atOnce + 20_001), func(s *Store, _ *atomic.Int64) { bare(s); s.splitUnused(); s.leaving.stuck.refusals = maxRefusals - 1 }, false, 10_000, nil, 1, 0},
	} {
		s, free, since := spareStore(t)
		if test.before != nil {
			test.before(s, free)
		}
		reserved := s.space.reserved
		taken, coming, err := s.trySpare(test.want, since)
		if taken != test.taken || coming != test.coming || !errors.Is(err, test.err) || (test.err == nil && err != nil) {
			t.Errorf("%s: taken %v, %d bytes are coming, %v", name, taken, coming, err)
		}
		if evicted := s.counters.evictions.Load(); evicted != test.evicted || len(s.beginnings.kept) != test.beginnings {
			t.Errorf("%s: %d are evicted, %d beginnings are left", name, evicted, len(s.beginnings.kept))
		}
		if got := s.space.reserved - reserved; (got == test.want.bytes) != test.taken || (got == 0) == test.taken {
			t.Errorf("%s: %d bytes are taken", name, got)
		}
		if test.err == nil && !test.taken && test.evicted == 0 && coming == 0 && s.space.beginnings != 0 {
			t.Errorf("%s: the beginning takes room still", name)
		}
	}
}

// splitUnused makes ten entries of the one that wasn't used.
func (s *Store) splitUnused() {
	mark, used := s.entries.oldest().newer, s.entries.peek(keyHash{'u'})
	n := s.entries.peek(keyHash{'o'})
	s.entries.remove(n)
	delete(s.blobs, n.blob.digest)
	s.space.blobs -= n.blob.size
	for i := range byte(10) {
		s.addVictim(i, &blobState{digest: Digest{i}, size: 10_000})
	}
	s.entries.use(mark)
	s.entries.use(used)
}

// TestOnlyWhatNobodyNeedsCountsAsUnused: what is read, being put under its name, gone or pinned doesn't, nor is it looked at again
// by the next file; a file of several names goes with all of them.
func TestOnlyWhatNobodyNeedsCountsAsUnused(t *testing.T) {
	for name, test := range map[string]struct {
		bytes  int64
		unused string
	}{
		"a file":              {100, "a"},
		"a file of two names": {101, "abc"},
		"all":                 {300, "abcd"},
		"more than all":       {301, ""},
	} {
		s := newStore(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 20}})
		s.starting.end()
		ofSize := func(id byte) *blobState { return &blobState{digest: Digest{id}, size: 100} }
		read, busy, gone, shared := ofSize('1'), ofSize('2'), ofSize('3'), ofSize('b')
		read.open, busy.busy, gone.unlinked = 1, make(chan struct{}), true
		s.addVictim('1', read)
		s.addVictim('2', busy)
		s.addVictim('3', gone)
		s.addVictim('4', ofSize('4'))
		s.pins.set(keyHash{'4'}, &pin{until: s.now().Add(time.Hour)})
		s.addVictim('a', ofSize('a'))
		s.addVictim('b', shared)
		s.addVictim('c', shared)
		s.addVictim('d', ofSize('d'))
		since := s.Moment()
		nodes, enough := s.unusedLocked(test.bytes, since)
		got := ""
		for _, n := range nodes {
			got += string(n.hash[0])
		}
		if got != test.unused || enough != (test.unused != "") {
			t.Errorf("%s: %q, and that is enough: %v", name, got, enough)
		}
		if oldest := s.entries.oldest().hash[0]; oldest != 'a' {
			t.Errorf("%s: %c is looked at first the next time", name, oldest)
		}
		s.evictLocked(nodes)
		if evicted := s.counters.evictions.Load(); evicted != int64(len(test.unused)) || s.entries.len() != 8-len(test.unused) {
			t.Errorf("%s: %d count as evicted, %d are left", name, evicted, s.entries.len())
		}
	}
}

// TestManyThatAreEvictedLeaveTheIndexInTransactionsThatItTakes, each of them once.
func TestManyThatAreEvictedLeaveTheIndexInTransactionsThatItTakes(t *testing.T) {
	s := newStore(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 20}})
	s.starting.end()
	blob := &blobState{size: 100}
	victims := make([]*node, 0, 2*maxChanges+1)
	for i := range 2*maxChanges + 1 {
		n := &node{hash: numberedKey(i).hash(), blob: blob}
		blob.entries++
		s.entries.add(n)
		victims = append(victims, n)
	}
	s.evictLocked(victims)
	sizes, hashes := "", make(map[keyHash]struct{})
	for _, r := range s.leaving.takeRemovals() {
		sizes += fmt.Sprint(len(r.hashes), " ")
		for _, h := range r.hashes {
			hashes[h] = struct{}{}
		}
	}
	if sizes != fmt.Sprintf("%d %d 1 ", maxChanges, maxChanges) || len(hashes) != len(victims) {
		t.Errorf("they leave %sat a time, and are %d", sizes, len(hashes))
	}
}

// othersTake has others take what a blob's file leaves, once store is set: before the room is free, or who waits could be first.
type othersTake struct {
	FS
	store *Store
	size  int64
}

func (f *othersTake) Remove(path string) error {
	if s := f.store; s != nil {
		s.mu.Lock()
		s.space.reserved += f.size
		s.mu.Unlock()
	}
	return f.FS.Remove(path)
}

// TestWhoseRoomIsTakenByOthersGivesUpAfterEightTries: each time it evicts what it lacks, and others have it.
func TestWhoseRoomIsTakenByOthersGivesUpAfterEightTries(t *testing.T) {
	const files, size = 2 * spareTries, 1000
	others := &othersTake{FS: OS(), size: size}
	s := openOn(t, others, Limits{MaxSize: 1 << 30})
	awaitLoaded(t, s)
	for i := range files {
		s.put(t, numberedKey(i), randomBytes(size, byte(i)))
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	since := s.Moment()
	defer s.EndMoment(since)
	s.asJanitor(func() {
		others.store = s
		s.limits.MaxSize = files * size * headroomShare / (headroomShare - 1)
		ctx, cancel := context.WithCancel(context.Background())
		s.ctx = ctx
		ended := make(chan struct{})
		go func() { // ends with the context
			defer close(ended)
			for {
				select {
				case <-ctx.Done():
					return
				case <-s.wake:
				}
				s.removeAll()
			}
		}()
		err := s.reserveFor(FillSpec{Keeps: since}, claim{1, 1})
		cancel()
		<-ended
		if evicted := s.counters.evictions.Load(); !errors.Is(err, ErrNoSpareRoom) || evicted != spareTries {
			t.Errorf("after %d evictions: %v", evicted, err)
		}
		others.store = nil
		s.space.reserved = 0
		s.limits.MaxSize = 1 << 30
	})
}

// TestWhoWaitsForWhatIsRemovedHearsOfItWhenItIs, waits no longer than its caller can, and does nothing until then.
func TestWhoWaitsForWhatIsRemovedHearsOfItWhenItIs(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(s *Store)
		want      error
		waits     time.Duration
	}{
		"just as much":   {func(s *Store) { s.counters.freedBytes.Add(1000) }, nil, 0},
		"a byte less":    {func(s *Store) { s.counters.freedBytes.Add(999) }, ErrNoRoom, roomTimeout},
		"the end of all": {func(s *Store) { s.cancel() }, ErrClosed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 20}})
				ended, begun := make(chan error, 1), time.Now()
				go func() { ended <- s.awaitFreed(1000) }() // ends when so much is freed, or the time is over
				synctest.Wait()
				s.mu.Lock()
				test.meanwhile(s)
				s.space.announce()
				s.mu.Unlock()
				synctest.Wait() // it turns round if this doesn't return
				if err := <-ended; !errors.Is(err, test.want) || (test.want == nil && err != nil) {
					t.Errorf("it ended with %v", err)
				}
				if took := time.Since(begun); took != test.waits {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// TestAMomentIsGivenBackOnce, and giving it back again harms nothing.
func TestAMomentIsGivenBackOnce(t *testing.T) {
	s := newStore(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 20}})
	since := s.Moment()
	for range 2 {
		s.EndMoment(since)
	}
	s.addVictim('a', &blobState{size: 100})
	if s.entries.oldest().hash != (keyHash{'a'}) || s.entries.oldest().newer != &s.entries.ring {
		t.Error("the moment is there still")
	}
}
