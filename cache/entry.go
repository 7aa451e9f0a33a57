package cache

import "time"

// Identity is how the upstream named a file's content. The store keeps it for its user and never compares it.
type Identity struct {
	// SHA256 is in lower-case hex, empty when the upstream named none.
	SHA256 string
	// Location is the storage redirect's host and path.
	Location string
	// ETag is the strong entity tag, quotes included.
	ETag string
	// LastModified is in whole seconds; zero when absent.
	LastModified time.Time
	// Settled says that LastModified was old enough when seen that no later publish can share it.
	Settled bool
	// Length is in bytes, -1 when unknown.
	Length int64
}

// Entry is what the store knows of a key.
type Entry struct {
	Key    Key
	Digest Digest
	// Size is the file's length in bytes.
	Size     int64
	Identity Identity
	// Disposition is the upstream's Content-Disposition.
	Disposition string
	// Stored is when the entry was committed, or, where the upstream named its content before, when it was asked for that
	// (FillSpec.Confirmed).
	Stored time.Time
	// Confirmed is when the upstream was last asked and named these bytes; zero when it has not been since the start,
	// since a publish or a purge, or since it named others.
	Confirmed time.Time
	// Questioned says that something has happened since then that makes the upstream worth asking (Question): the entry is
	// not to be served unasked as long as the upstream can be asked.
	Questioned bool
	// Owed says that a shared store is still to get these bytes (Fill.Owe), and Shared since when it was known to have them, in
	// whole seconds; zero for never.
	Owed   bool
	Shared time.Time
	// SharedWrongly says that the shared store has other bytes in their place, which are to be written over (Fill.OweInPlaceOfWrong).
	SharedWrongly bool
	// Note is what the store's user has left with the entry (Store.KeepNote), nil for nothing.
	Note any

	// serial tells this commit of the key from others, node is what memory has of it.
	serial uint32
	node   *node
	// used is when it was committed, for the index to know as its first use; only in records of what this process stored. owedAfter is
	// FillSpec's, until it is an entry.
	used      time.Time
	owedAfter time.Duration
}

// FillSpec is what is known of a file before its first byte.
type FillSpec struct {
	// Size is its length in bytes, -1 when unknown.
	Size int64
	// SHA256 is its digest as the upstream named it; zero when it didn't. A fill with another sum is never kept.
	SHA256      Digest
	Identity    Identity
	Disposition string
	// Copy says on whose word the fill takes room; the zero value is the upstream's own.
	Copy CopyOf
	// Confirmed is when the answer was asked for that the bytes come from; zero for a publish's own copy.
	Confirmed time.Time
	// Parts says that parts of the file may come ahead of the bytes in front of them (Fill.Ahead). Its readers are then sent
	// bytes through memory, and not by the kernel, until it is whole, or Fill.EndParts. Of no effect on a file whose length isn't known, and on
	// the copy of an unproven upload.
	Parts bool
	// Keeps, if set, is a moment of the same store: the fill evicts nothing that was used since, and ends with ErrNoSpareRoom
	// where that leaves too little room.
	Keeps *Moment

	// owed, sharedWrongly and shared are Entry's (Fill.Owe, Fill.OweInPlaceOfWrong, Fill.NoteShared), owedAfter how long nobody is given it.
	owed, sharedWrongly bool
	owedAfter           time.Duration
	shared              time.Time
}

func (s *Store) newEntry(k Key, spec FillSpec, digest Digest, size int64) *Entry {
	stored := spec.Confirmed
	if stored.IsZero() {
		stored = s.now()
	}
	return &Entry{
		Key: k, Digest: digest, Size: size, Identity: spec.Identity, Disposition: spec.Disposition, Stored: stored.UTC().Round(0),
		Owed: spec.owed, SharedWrongly: spec.sharedWrongly, Shared: spec.shared, owedAfter: spec.owedAfter,
	}
}
