package cache

import "sync/atomic"

// counters only ever grow.
type counters struct {
	evictions, freedBytes        atomic.Int64
	diskErrors, checksumFailures atomic.Int64
	damaged                      atomic.Int64
	stored, storedBytes          atomic.Int64
	memoryHits                   atomic.Int64
	noRoom, copiesDropped        atomic.Int64
	owedEvicted                  atomic.Int64
}

// Stats are the store's numbers at one moment.
type Stats struct {
	// Entries are the known keys; Blobs the files that they share.
	Entries, Blobs int
	// Bytes is all that counts towards MaxSize; of these, Reserved is for fills and Lingering removed but still open.
	Bytes, Reserved, Lingering int64
	// Copies are fills of unproven uploads, and CopyBytes what they take of the upload room.
	Copies    int
	CopyBytes int64
	// Beginnings are what has arrived of files that broke off, and BeginningBytes their size; they are part of Bytes.
	Beginnings     int
	BeginningBytes int64
	// Pinned is how many of Bytes are of pinned files.
	Pinned int64
	// Owed are the entries whose bytes a shared store is still to get, and OwedBytes the size of their files.
	Owed      int
	OwedBytes int64
	// MaxSize is the limit in force.
	MaxSize int64
	// MemoryBytes is what the memory tier takes, and MemoryBlobs how many files it holds.
	MemoryBytes int64
	MemoryBlobs int
	// Fills are those running.
	Fills int64
	// Pending are entries that aren't durable yet.
	Pending int
	// IndexFailing says that Pending wait for an index that could not be written last time.
	IndexFailing bool
	// Loading says that the start's work isn't over.
	Loading bool
	// FoundBlobs are the files that the start has found so far, and FoundBytes their size.
	FoundBlobs int
	FoundBytes int64

	// These count since the start: entries evicted, bytes of files removed, errors of the disk, bodies and files whose
	// checksum was wrong, files found damaged or gone, files stored, files opened from memory, fills refused for want of
	// room, copies of uploads that gave way to others, and entries evicted although they were owed.
	Evictions, FreedBytes        int64
	DiskErrors, ChecksumFailures int64
	Damaged                      int64
	Stored, StoredBytes          int64
	MemoryHits                   int64
	NoRoom, CopiesDropped        int64
	OwedEvicted                  int64
}

// Stats returns the store's numbers.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	copies := &s.space.copies
	return Stats{
		Entries: s.entries.len(), Blobs: len(s.blobs),
		Bytes: s.space.used() + copies.bytes(), Reserved: s.space.reserved + copies.reserved,
		Lingering: s.space.lingering + copies.lingering, MaxSize: s.limits.MaxSize,
		Copies: copies.number, CopyBytes: copies.bytes(),
		Beginnings: len(s.beginnings.kept), BeginningBytes: s.space.beginnings,
		Pinned: s.pins.bytes, Owed: len(s.owed.files), OwedBytes: s.owed.bytes, MemoryBytes: s.memory.bytes(), MemoryBlobs: s.memory.files.Len(),
		Fills: int64(len(s.fills.running)), Pending: s.durability.waiting(), Loading: s.starting.loading,
		IndexFailing: s.durability.failing && s.durability.waiting() > 0,
		FoundBlobs:   s.starting.foundBlobs, FoundBytes: s.starting.foundBytes,
		Evictions: s.counters.evictions.Load(), FreedBytes: s.counters.freedBytes.Load(),
		DiskErrors: s.counters.diskErrors.Load(), ChecksumFailures: s.counters.checksumFailures.Load(),
		Damaged: s.counters.damaged.Load(), Stored: s.counters.stored.Load(), StoredBytes: s.counters.storedBytes.Load(),
		MemoryHits: s.counters.memoryHits.Load(), NoRoom: s.counters.noRoom.Load(),
		CopiesDropped: s.counters.copiesDropped.Load(), OwedEvicted: s.counters.owedEvicted.Load(),
	}
}

// Since returns what has been counted since earlier numbers of the same store. Numbers that aren't counts are zero.
func (s Stats) Since(earlier Stats) Stats {
	return Stats{
		Evictions: s.Evictions - earlier.Evictions, FreedBytes: s.FreedBytes - earlier.FreedBytes,
		DiskErrors: s.DiskErrors - earlier.DiskErrors, ChecksumFailures: s.ChecksumFailures - earlier.ChecksumFailures,
		Damaged: s.Damaged - earlier.Damaged, Stored: s.Stored - earlier.Stored, StoredBytes: s.StoredBytes - earlier.StoredBytes,
		MemoryHits: s.MemoryHits - earlier.MemoryHits, NoRoom: s.NoRoom - earlier.NoRoom,
		CopiesDropped: s.CopiesDropped - earlier.CopiesDropped, OwedEvicted: s.OwedEvicted - earlier.OwedEvicted,
	}
}

// Plus adds the counts of two stores, or of two times. Numbers that aren't counts are zero.
func (s Stats) Plus(other Stats) Stats {
	return Stats{
		Evictions: s.Evictions + other.Evictions, FreedBytes: s.FreedBytes + other.FreedBytes,
		DiskErrors: s.DiskErrors + other.DiskErrors, ChecksumFailures: s.ChecksumFailures + other.ChecksumFailures,
		Damaged: s.Damaged + other.Damaged, Stored: s.Stored + other.Stored, StoredBytes: s.StoredBytes + other.StoredBytes,
		MemoryHits: s.MemoryHits + other.MemoryHits, NoRoom: s.NoRoom + other.NoRoom,
		CopiesDropped: s.CopiesDropped + other.CopiesDropped, OwedEvicted: s.OwedEvicted + other.OwedEvicted,
	}
}
