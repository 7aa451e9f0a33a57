package cache

import (
	"cmp"
	"io"
	"math"
	"os"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// memoryShare is the part of the memory tier that one file may take at most: an eviction from it never costs more
	// than many small files need.
	memoryShare = 64
	// memoryLargest is the size up to which a file is faster from memory. Larger ones the kernel sends from its own cache
	// without copying them: at 1 MiB, 1.15 times as much a second as from here (bench/run, hits1m; design, "Serving bytes").
	memoryLargest = 256 << 10
	// memoryOverhead is what a file in memory costs on Go's heap, beside its bytes: some 200 of its place here, some 400 of its
	// record and as much of a note (maxHotRecords), and as much again that the garbage collector lets grow beside them.
	memoryOverhead = 2 << 10
	// entryMemory is what each entry of the store costs on Go's heap, with what the garbage collector lets grow beside it: measured with
	// 100,000 of them (bench/run, memory). It is taken off the tier, down to a half of that, so that `memory` says what the edge takes.
	entryMemory = 1 << 10
	// maxPromotions bounds how many files are read into memory at a time; others are served from the disk meanwhile.
	// Together they take a fourth of the tier's size at most, or a half of what entries leave of it.
	maxPromotions = memoryShare / 4
	// enteringShare is how many files find no room for each one for which others have to leave. Of more files than memory holds,
	// read at random, each would else push out another that is as likely to be read next, at each read.
	enteringShare = 8
	// segmentShare is the part of the memory tier that one segment takes, and segmentLargest the most that it takes in bytes.
	segmentShare   = 16
	segmentLargest = 1 << 20
)

// memoryTier holds small files in segments. What was used least recently goes first, and with it what lies in the same segment
// and wasn't used since it came there: so the room for new files is one piece, whatever sizes the former had. Guarded by
// Store.mu.
type memoryTier struct {
	files *simplelru.LRU[Digest, *memoryFile]
	// segments are those that files lie in, the longest filled first, and open the one of them that new files are put into; nil
	// for none.
	segments []*segment
	open     *segment
	// mapped is how many bytes all segments take, with those that are retired and still read.
	mapped *atomic.Int64
	// forEntries is how many of the tier's bytes are left to what the store knows of its entries.
	forEntries int64
	// clock counts the uses.
	clock uint64
	// promoting are those on their way in: a herd must not read the same file many times.
	promoting map[Digest]struct{}
	// turnedAway counts those that have found no room since the last one for which others had to leave.
	turnedAway int
}

// memoryFile is where a file lies in memory. It moves only while nobody reads from its segment.
type memoryFile struct {
	segment    *segment
	from, size int
	// placed and used are the tier's clock when the file was moved to this place, and at its last use; 0 for never.
	placed, used uint64
}

func (f *memoryFile) bytes() []byte { return f.segment.data[f.from : f.from+f.size : f.from+f.size] }

func newMemoryTier() memoryTier {
	return memoryTier{
		files: newLRU[Digest, *memoryFile](math.MaxInt), mapped: new(atomic.Int64), promoting: make(map[Digest]struct{}),
	}
}

// bytes is what the tier takes, with what is on its way in.
func (m *memoryTier) bytes() int64 { return m.mapped.Load() + m.overhead() }

// overhead is what all files cost beside their bytes.
func (m *memoryTier) overhead() int64 { return int64(m.files.Len()+len(m.promoting)) * memoryOverhead }

// hasRoom reports whether limit allows one file more, and as many bytes for a segment that it needs.
func (m *memoryTier) hasRoom(segment int, limit int64) bool {
	return m.bytes()+m.forEntries+memoryOverhead+int64(segment) <= limit
}

// largestInMemory is the size of the largest file that a tier of that many bytes takes.
func largestInMemory(limit int64) int64 { return min(limit/memoryShare, memoryLargest) }

// segmentSize is how large the segments of a tier of that many bytes are, in whole pages.
func segmentSize(limit int64) int {
	page := int64(os.Getpagesize())
	return int(max(min(limit/segmentShare, segmentLargest)/page, 1) * page)
}

// get returns a file for one reader, who must leave its segment; nil if it isn't here.
func (m *memoryTier) get(digest Digest) *memoryFile {
	file, ok := m.files.Get(digest)
	if !ok {
		return nil
	}
	m.clock++
	file.used = m.clock
	file.segment.enter()
	return file
}

// admits reports whether a file may come in: memory isn't full yet, or it is the turn of one for which others leave.
func (m *memoryTier) admits(limit int64) bool {
	if m.hasRoom(segmentSize(limit), limit) {
		return true
	}
	m.turnedAway++
	if m.turnedAway < enteringShare {
		return false
	}
	m.turnedAway = 0
	return true
}

// reserve returns a place for a file of at most half a segment, for its one writer, who must publish or disown it, and leave its
// segment. Nil says that there is none within limit: all segments are being read from, or the system has no memory.
func (m *memoryTier) reserve(size int, limit int64) *memoryFile {
	if m.open == nil || len(m.open.data)-m.open.filled < size || !m.hasRoom(0, limit) {
		full := m.open
		m.open = nil
		if full != nil {
			m.dropIfEmpty(full)
		}
		m.open = m.nextSegment(limit)
	}
	if m.open == nil {
		return nil
	}
	file := &memoryFile{segment: m.open, from: m.open.filled, size: size}
	m.open.filled += size
	m.open.live += size
	m.open.enter()
	return file
}

// publish makes a file that was written to its place one of the tier's. Its writer goes on as its reader.
func (m *memoryTier) publish(digest Digest, file *memoryFile) {
	if file.segment.retired.Load() {
		return // the limit is lower now; the writer alone reads it
	}
	m.remove(digest)
	m.files.Add(digest, file)
	file.segment.files = append(file.segment.files, digest)
}

// disown leaves a place to its writer alone.
func (m *memoryTier) disown(file *memoryFile) {
	file.segment.live -= file.size
	m.dropIfEmpty(file.segment)
}

func (m *memoryTier) remove(digest Digest) {
	if file, ok := m.files.Peek(digest); ok {
		m.files.Remove(digest)
		m.disown(file)
	}
}

// dropIfEmpty gives a segment back that holds nothing any more.
func (m *memoryTier) dropIfEmpty(emptied *segment) {
	if emptied.live == 0 && emptied != m.open {
		m.drop(emptied)
	}
}

// nextSegment returns a segment with room: a new one while the limit allows, else one that others have to leave. Nil for none.
func (m *memoryTier) nextSegment(limit int64) *segment {
	size := segmentSize(limit)
	for {
		if m.hasRoom(size, limit) {
			fresh, err := newSegment(size, m.mapped)
			if err != nil {
				return nil
			}
			m.segments = append(m.segments, fresh)
			return fresh
		}
		victim := m.victim()
		switch {
		case victim == nil:
			return nil
		case len(victim.data) == size && m.hasRoom(0, limit):
			m.compact(victim)
			return victim
		}
		m.drop(victim) // many tiny files were in it, or it has the size of a former limit
	}
}

// victim is the segment of the file that was used least recently, or, if that is being read from, the one of the others that was
// filled first. Nil for none.
func (m *memoryTier) victim() *segment {
	isFree := func(s *segment) bool { return s.readers.Load() == 0 }
	if _, oldest, ok := m.files.GetOldest(); ok && isFree(oldest.segment) {
		return oldest.segment
	}
	if at := slices.IndexFunc(m.segments, isFree); at >= 0 {
		return m.segments[at]
	}
	return nil
}

// compact makes room in a segment that nobody reads from. Of the files that were used since they came there, the last used stay,
// up to half of the segment; all others go.
func (m *memoryTier) compact(victim *segment) {
	var kept []*memoryFile
	digests := make(map[*memoryFile]Digest)
	for _, digest := range victim.files {
		file, ok := m.files.Peek(digest)
		_, again := digests[file] // it went, and came back to the same segment
		switch {
		case !ok || file.segment != victim || again:
		case file.used > file.placed:
			kept = append(kept, file)
			digests[file] = digest
		default:
			m.files.Remove(digest)
		}
	}
	slices.SortFunc(kept, func(a, b *memoryFile) int { return cmp.Compare(b.used, a.used) })
	room := len(victim.data) / 2
	stays := 0
	for stays < len(kept) && kept[stays].size <= room {
		room -= kept[stays].size
		stays++
	}
	for _, file := range kept[stays:] {
		m.files.Remove(digests[file])
	}
	kept = kept[:stays]
	// Each moves towards the beginning, over what has gone or was moved before.
	slices.SortFunc(kept, func(a, b *memoryFile) int { return cmp.Compare(a.from, b.from) })
	victim.files, victim.filled = victim.files[:0], 0
	for _, file := range kept {
		copy(victim.data[victim.filled:], file.bytes())
		file.from, file.placed = victim.filled, m.clock
		victim.filled += file.size
		victim.files = append(victim.files, digests[file])
	}
	victim.live = victim.filled
	at := slices.Index(m.segments, victim)
	m.segments = append(slices.Delete(m.segments, at, at+1), victim)
}

// drop lets go of all that is in a segment, and gives its memory back when nobody reads from it any more.
func (m *memoryTier) drop(s *segment) {
	at := slices.Index(m.segments, s)
	if at < 0 {
		return
	}
	m.segments = slices.Delete(m.segments, at, at+1)
	for _, digest := range s.files {
		if file, ok := m.files.Peek(digest); ok && file.segment == s {
			m.files.Remove(digest)
		}
	}
	if s == m.open {
		m.open = nil
	}
	s.retire()
}

// trim lets go of what was used least recently, until the tier takes no more than limit bytes when its readers have left.
func (m *memoryTier) trim(limit int64) {
	takes := func() (total int64) {
		for _, s := range m.segments {
			total += int64(len(s.data))
		}
		return total + m.overhead() + m.forEntries
	}
	for len(m.segments) > 0 && takes() > limit {
		victim := m.segments[0]
		if _, oldest, ok := m.files.GetOldest(); ok {
			victim = oldest.segment
		}
		m.drop(victim)
	}
}

// leaveToEntriesLocked leaves the entries their part of the tier. It follows each that comes, so that a segment at most has to go at a time.
func (s *Store) leaveToEntriesLocked() {
	m := &s.memory
	m.forEntries = min(s.limits.Memory/2, int64(s.entries.len())*entryMemory)
	if m.bytes()+m.forEntries <= s.limits.Memory {
		return
	}
	if victim := m.victim(); victim != nil {
		m.drop(victim)
	}
}

// startPromotionLocked returns the place that the caller, who was counted already, is to read a file into; nil if it isn't to.
// Files enter at their second use: what is read once takes no room from others. The first use of a file that came in the life of
// this process is what brought it. Where others have to leave, one of enteringShare enters.
func (s *Store) startPromotionLocked(e Entry, blob *blobState) *memoryFile {
	if e.node == nil || e.node.hits == 0 || (e.node.hits == 1 && e.node.serial == 0) {
		return nil
	}
	if blob.size == 0 || blob.size > largestInMemory(s.limits.Memory) || len(s.memory.promoting) >= maxPromotions {
		return nil
	}
	if _, begun := s.memory.promoting[blob.digest]; begun {
		return nil
	}
	if !s.memory.admits(s.limits.Memory) {
		return nil
	}
	place := s.memory.reserve(int(blob.size), s.limits.Memory)
	if place != nil {
		s.memory.promoting[blob.digest] = struct{}{}
	}
	return place
}

// promote reads a small file into its place in memory, and makes sure on the way that it is what its name says. What it
// returns takes the place of blob.
func (s *Store) promote(blob *Blob, place *memoryFile) (*Blob, error) {
	defer blob.Close()
	reason := reasonUnreadable
	if _, err := io.ReadFull(blob.file, place.bytes()); err == nil {
		reason = s.compare(blob.state, place.bytes())
	}
	s.mu.Lock()
	state := blob.state
	delete(s.memory.promoting, state.digest)
	switch {
	case reason != "":
		s.memory.disown(place)
	case s.blobs[state.digest] == state && state.busy == nil && !state.damaged:
		s.memory.publish(state.digest, place)
	default: // it is leaving; this reader alone has it
		s.memory.disown(place)
	}
	s.mu.Unlock()
	if reason != "" {
		place.segment.leave()
		s.discard(state, reason)
		return nil, ErrMiss
	}
	return memoryBlob(place), nil
}
