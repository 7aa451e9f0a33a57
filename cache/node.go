package cache

import (
	"math"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// node is an entry as memory has it. There may be a million of them: what is added here is multiplied by that.
type node struct {
	// older and newer are its neighbours in recency, and hash its key's.
	older, newer *node
	hash         keyHash
	blob         *blobState
	// serial tells this commit of the key from others; 0 if an earlier process made it. 32 bits are enough for four
	// billion files in the life of a process.
	serial uint32
	// hits is how often the file was opened by OpenHit, since the start.
	hits uint32
	// confirmed is when the upstream confirmed the entry, counted from Store.started, while the key's generation was
	// this one; unconfirmed if it hasn't been, or the key was raised since.
	confirmed  time.Duration
	generation Generation
}

// unconfirmed stands for a confirmation that there isn't.
const unconfirmed = time.Duration(math.MinInt64)

// blobState is a blob as memory has it. There may be a million of them, too.
type blobState struct {
	digest  Digest
	size    int64
	entries int32 // that name it
	open    int32 // readers
	// busy is set while the file is being put under its name or removed, and closed when that is over.
	busy chan struct{}
	// verified is the number of the last verification that came to the file.
	verified uint32
	// damaged says that the file was found not to be what its name says, and must not be used again. Entries that name
	// it are misses.
	damaged bool
	// unlinked says that the file is gone from the directory and lives for its readers alone.
	unlinked bool
	// found says that the start has found the file in the index.
	found bool
	// checked says that the file's bytes were what its name says, when they were read whole since the start.
	checked bool
}

func newLRU[K comparable, V any](most int) *simplelru.LRU[K, V] {
	lru, err := simplelru.NewLRU[K, V](most, nil)
	if err != nil {
		panic(err) // only for a size that isn't positive
	}
	return lru
}

// blobLocked returns the blob of a digest, and makes one of a file that the index has if there is none.
func (s *Store) blobLocked(digest Digest, size int64) *blobState {
	blob := s.blobs[digest]
	if blob == nil {
		blob = &blobState{digest: digest, size: size}
		s.blobs[digest] = blob
		s.space.blobs += size
	}
	return blob
}

// addKnownLocked enters an entry that the index has.
func (s *Store) addKnownLocked(h keyHash, record *Entry) {
	blob := s.blobLocked(record.Digest, record.Size)
	blob.entries++
	s.entries.add(&node{hash: h, blob: blob, confirmed: unconfirmed})
	s.leaveToEntriesLocked()
}

// isOutdatedLocked reports whether the key has other content that is newer than this: the upstream named it later, as the
// fetch of an older file can end after that of a newer one; or it came after a publish and this is what was current
// before, from a replica of the upstream that lags.
func (s *Store) isOutdatedLocked(k Key, g Generation, blob *blobState, confirmed time.Time) bool {
	h := k.hash()
	n := s.entries.peek(h)
	if n == nil || n.blob == blob || confirmed.IsZero() {
		return false
	}
	since := confirmed.Sub(s.started)
	if s.answers.lags(formerBlob{h, blob.digest}, since) && !s.answers.lags(formerBlob{h, n.blob.digest}, since) {
		return true
	}
	return n.generation == g && since < n.confirmed
}

// insertLocked makes entry.Key an entry of a blob that is there.
func (s *Store) insertLocked(entry *Entry, blob *blobState, g Generation, confirmed time.Time) Entry {
	h := entry.Key.hash()
	// First, or replacing an entry of the same blob would make it an orphan.
	blob.entries++
	s.leaving.settle(blob)
	if old := s.entries.peek(h); old != nil {
		if s.durability.pending[h] == nil {
			// The index names the old blob until the new record is there, so its file stays that long.
			old.blob.entries++
			s.durability.hold(old.blob)
		}
		if s.durability.recording[h] != nil {
			// The record that is being written is left out now, and what that would have replaced must not stay: its file
			// goes when the batch is over.
			s.leaving.remove(&removal{hashes: []keyHash{h}})
		}
		s.dropLocked(old)
	}
	s.serial++
	n := &node{hash: h, blob: blob, serial: s.serial, confirmed: unconfirmed, generation: g}
	// A question doesn't take the confirmation away, no more than from what was stored before it: the entry is asked about
	// before its next use (Entry.Questioned). Else a publisher elsewhere could keep files without an offline life.
	if since := confirmed.Sub(s.started); !confirmed.IsZero() && !s.answers.isDoubted(entry.Key, since) &&
		!s.answers.lags(formerBlob{h, blob.digest}, since) {
		n.confirmed = since
	}
	s.entries.add(n)
	s.leaveToEntriesLocked()
	s.pins.fill(h, blob.size, s.mostPinnedLocked())
	if entry.Owed {
		s.oweLocked(n, entry.owedAfter)
	}
	entry.used = s.now()
	s.durability.add(h, entry)
	s.wakeJanitor()
	return s.entryLocked(entry, n)
}

// dropLocked takes an entry out of memory. Its record and its file are the janitor's.
func (s *Store) dropLocked(n *node) {
	h := n.hash
	s.entries.remove(n)
	s.durability.forget(h)
	s.pins.empty(h)
	s.owed.drop(h)
	s.starting.forget(h)
	s.releaseBlobLocked(n.blob)
}

// releaseBlobLocked takes an entry off a blob.
func (s *Store) releaseBlobLocked(blob *blobState) {
	blob.entries--
	if blob.entries == 0 && !blob.unlinked {
		s.leaving.orphan(blob)
	}
}

func (s *Store) entryLocked(record *Entry, n *node) Entry {
	entry := *record
	entry.serial, entry.node, entry.used = n.serial, n, time.Time{}
	entry.Confirmed, entry.Questioned = time.Time{}, false
	if generation := s.generations.of(entry.Key); n.confirmed != unconfirmed && n.generation.purge == generation.purge {
		entry.Confirmed = s.started.Add(n.confirmed)
		// A raise of this very key takes the confirmation away (raiseLocked). That of another one in the same slot costs a question
		// and no offline life, or whoever publishes enough names elsewhere would end everybody's.
		entry.Questioned = n.generation != generation || s.answers.isQuestioned(entry.Key, n.confirmed)
	}
	return entry
}
