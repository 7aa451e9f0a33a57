package cache

import (
	"path/filepath"
	"testing"
)

// CloseAtEnd closes the store at its test's end, and holds every running total against what it is the sum of, before that and
// after: a step of the bookkeeping that is left out or done twice loses room for ever, or takes more than there is, and shows
// in few answers. tell hears of an error of Close; it is t.Log where the test's disk fails.
func (s *Store) CloseAtEnd(t testing.TB, tell func(...any)) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			s.checkSums(t, "before it is closed")
		}
		lost := s.IsLost() // its directory is another's then
		if err := s.Close(); err != nil {
			tell("closing the store:", err)
		}
		if !t.Failed() {
			s.checkSums(t, "closed")
			s.checkRest(t, lost)
		}
	})
}

// CheckSums does so in the midst of a test, while nothing is under way.
func (s *Store) CheckSums(t testing.TB, when string) {
	t.Helper()
	s.checkSums(t, when)
}

// KeepBeginningsFrom has beginnings kept from so many bytes on, so that tests need no large files.
func (s *Store) KeepBeginningsFrom(least int64) { s.beginnings.least = least }

// sums are running totals.
type sums struct {
	Blobs, Open, Pinned, Memory            int64
	Reserved, Unwritten, Beginnings, Taken int64
	Copies                                 addressCopies
	CopiesReserved                         int64
}

// checkSums holds totals against their parts, which is right at any moment at which no fill is just beginning or growing.
func (s *Store) checkSums(t testing.TB, when string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.space
	counted := sums{
		Blobs: p.blobs, Open: p.open, Pinned: s.pins.bytes, Memory: s.memory.bytes(), Reserved: p.reserved, Unwritten: p.unwritten,
		Beginnings: s.beginnings.bytes, Taken: p.beginnings, CopiesReserved: p.copies.reserved, Copies: addressCopies{number: p.copies.number},
	}
	for _, held := range p.copies.addresses {
		counted.Copies.bytes += held.bytes
	}
	if parts := s.sumsLocked(t); counted != parts {
		t.Errorf("%s: the totals are\n%+v, and their parts together\n%+v", when, counted, parts)
	}
	if p.wanted != (claim{}) {
		t.Errorf("%s: nobody waits for room, and %+v is wanted", when, p.wanted)
	}
	if !s.starting.loading && p.estimate != 0 {
		t.Errorf("%s: all is loaded, and %d bytes are estimated", when, p.estimate)
	}
}

// sumsLocked adds up the parts.
func (s *Store) sumsLocked(t testing.TB) (parts sums) {
	t.Helper()
	for _, blob := range s.blobs {
		parts.Blobs += blob.size
		if blob.open > 0 {
			parts.Open += blob.size
		}
	}
	for _, p := range s.pins.ofKeys {
		parts.Pinned += p.bytes
	}
	live := make(map[*segment]int)
	for _, file := range s.memory.files.Values() {
		parts.Memory += memoryOverhead
		live[file.segment] += file.size
	}
	for _, segment := range s.memory.segments {
		parts.Memory += int64(len(segment.data))
		if segment.live != live[segment] {
			t.Errorf("a segment counts %d bytes as held, and its files have %d", segment.live, live[segment])
		}
	}
	for f := range s.fills.running {
		if f.counted {
			parts.Copies.number++
			parts.Copies.bytes += f.reserved
		}
		if f.released {
			continue
		}
		parts.Unwritten += f.reserved - f.onDisk
		if f.isCopyLocked() {
			parts.CopiesReserved += f.reserved
		} else {
			parts.Reserved += f.reserved
		}
	}
	for _, b := range s.beginnings.kept {
		parts.Beginnings += b.onDisk
		parts.Taken += b.onDisk // nobody has taken any
	}
	return parts
}

// checkRest looks at a store that is closed, and whose tests have closed what they read.
func (s *Store) checkRest(t testing.TB, lost bool) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.fills.running) + len(s.beginnings.kept) + len(s.space.copies.running) + len(s.space.copies.addresses); n > 0 {
		t.Errorf("%d fills, copies and beginnings are left", n)
	}
	lingering := map[*holding]int64{&s.space.holding: 0, &s.space.copies.holding: 0}
	parts := make(map[string]struct{})
	for file := range s.leaving.stuck.files {
		if part, ok := file.(*leftPart); ok {
			lingering[part.room] += part.bytes
			parts[part.path] = struct{}{}
		}
	}
	for room, want := range lingering {
		if room.lingering != want {
			t.Errorf("%d bytes linger, and %d of parts that can't be removed", room.lingering, want)
		}
	}
	s.checkEntriesLocked(t)
	s.checkDurabilityLocked(t)
	if !s.starting.loading && !lost {
		s.checkDirectoryLocked(t, parts)
	}
}

// checkEntriesLocked looks at how entries, blobs and what leaves hang together.
func (s *Store) checkEntriesLocked(t testing.TB) {
	t.Helper()
	names := make(map[*blobState]int32)
	linked := 0
	for n := range s.entries.all() {
		if n.isMark() {
			continue
		}
		linked++
		names[n.blob]++
		if s.entries.peek(n.hash) != n {
			t.Error("an entry is in the order of use, and not found")
		}
		if n.blob.entries <= 0 || (s.blobs[n.blob.digest] != n.blob && !n.blob.damaged) {
			t.Errorf("an entry names what isn't there: %+v", n.blob)
		}
	}
	if linked != s.entries.len() {
		t.Errorf("%d entries are in the order of use, %d are found", linked, s.entries.len())
	}
	for _, blob := range s.durability.replaced {
		names[blob]++
	}
	if s.starting.loading {
		return // others name blobs, too
	}
	for digest, blob := range s.blobs {
		_, orphan := s.leaving.orphans[blob]
		_, stuck := s.leaving.stuck.files[blob]
		leaves := blob.entries == 0 || blob.damaged
		if blob.digest != digest || blob.entries != names[blob] || blob.busy != nil || blob.unlinked || (orphan || stuck) != leaves || (orphan && stuck) {
			t.Errorf("%d entries name a blob; orphan: %v, stuck: %v: %+v", names[blob], orphan, stuck, blob)
		}
	}
	for blob := range s.leaving.orphans {
		if s.blobs[blob.digest] != blob {
			t.Errorf("a blob is to be removed and is not there: %+v", blob)
		}
	}
	for h, p := range s.pins.ofKeys {
		var size int64
		if n := s.entries.peek(h); n != nil {
			size = n.blob.size
		}
		if p.bytes != size {
			t.Errorf("a pin keeps %d bytes of %d", p.bytes, size)
		}
	}
	for _, digest := range s.memory.files.Keys() {
		if s.blobs[digest] == nil {
			t.Errorf("%s is in memory and not on the disk", digest)
		}
	}
	if n := len(s.memory.promoting) + len(s.leaving.purges); n > 0 {
		t.Errorf("%d blobs are being read into memory, %d purges run", len(s.memory.promoting), len(s.leaving.purges))
	}
}

// checkDurabilityLocked looks for what is kept of entries that aren't there.
func (s *Store) checkDurabilityLocked(t testing.TB) {
	t.Helper()
	d := &s.durability
	if len(d.recording) > 0 {
		t.Errorf("%d records are being written", len(d.recording))
	}
	for h, record := range d.pending {
		if n := s.entries.peek(h); n == nil || record.Digest != n.blob.digest || record.Key.hash() != h {
			t.Errorf("the record of %s waits, which isn't there", record.Key)
		}
	}
	for h, record := range d.learnt {
		if n := s.entries.peek(h); n == nil || n.serial != record.serial {
			t.Errorf("the record of %s is learnt, which isn't there", record.Key)
		}
	}
	for h := range d.touched {
		if s.entries.peek(h) == nil {
			t.Error("what isn't there was used")
		}
	}
	for _, h := range d.hot.Keys() {
		if s.entries.peek(h) == nil {
			t.Error("memory has the record of what isn't there")
		}
	}
}

// checkDirectoryLocked looks for files that nobody knows of.
func (s *Store) checkDirectoryLocked(t testing.TB, parts map[string]struct{}) {
	t.Helper()
	for _, pattern := range []string{"blobs/??/*", "fills/*" + partSuffix} {
		paths, err := filepath.Glob(filepath.Join(s.dir, pattern))
		if err != nil {
			t.Error(err)
		}
		for _, path := range paths {
			_, left := parts[path]
			digest, err := ParseDigest(filepath.Base(path))
			ours := filepath.Ext(path) == partSuffix || (err == nil && path == blobPath(s.dir, digest))
			if ours && !left && s.blobs[digest] == nil {
				t.Errorf("nobody knows of %s", path)
			}
		}
	}
}
