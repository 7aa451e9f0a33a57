// Package cache keeps files by key: bytes on disk under their SHA-256, an index of their names, the smallest and most
// used in memory. It knows no HTTP and no GitLab. What lies where in its directory is drawn in files.go.
//
// # The way of a file
//
// Begin (fill.go) reserves room (space.go) and opens a part. Readers (reader.go) follow it while it is written, and hear of
// new bytes by announce.go; fills.go has all that are under way. Where several bring a large file, parts of it may arrive before
// the bytes in front of them (ahead.go): they are read there at once, and the fill's writer takes them in, one after another,
// when it comes to them (advance.go). Such a part has holes, so readers copy what may be read of it (copy_buffer.go), and the
// kernel sends it by itself only once it is whole. How a fill ends is in ending.go. Commit (commit.go) checks length and checksum and renames
// the part to its blob: from then on the entry is found (lookup.go) and its bytes are opened (blob.go), small ones from
// memory (memory.go, segment.go), or by one read (small_read.go). Within a second all blobs that became whole meanwhile are synced and then named in the index, a few
// hundred in a transaction (durability.go, durable.go). So the index never names what a power cut could take.
//
// The copy of an upload that the upstream hasn't taken yet is a fill, too, in a room of its own (copies.go): it evicts
// nothing, and becomes the store's when somebody vouches for it.
//
// What has arrived of a file whose body broke off for good, up to the first hole, is kept as its beginning (beginning.go), and the
// next fill of the key goes on in the same part.
//
// Entries leave by eviction, least recently used first (evict.go), by a purge (purge.go), or because their bytes prove wrong
// (damage.go, verify.go): out of memory first, then out of the index, durably, and then the file goes (remove.go);
// leaving.go has what is on its way out. A purge begins new generations and drops beginnings before all that, so that
// nothing comes in behind its back. What the disk doesn't remove stands aside, and is tried again (stuck.go), and what
// doesn't show as free at once isn't removed twice (unfreed.go). The janitor (janitor.go) does all of this behind the requests.
//
// Admins list and search entries (list.go), also those of former upstreams (upstreams.go), see what all of them take (taken.go) and what a
// purge would remove (preview.go), pin some of them against eviction (pins.go,
// pin.go, unpin.go), fill the store without pushing out what is used meanwhile (spare.go), and read numbers (stats.go). What a shared
// store is still to get is marked, and stays for a while (owed.go).
//
// A Store (store.go) knows a file by its Key (key.go), its bytes by their Digest (digest.go), and tells of it as an Entry
// (entry.go), of which a record in the index is made (record.go, walk.go). Paths are in files.go, what is done to the file
// system in fs.go and disk_*.go. Systems for which there are none say so when they are built for (unsupported.go). Errors
// are in errors.go.
//
// A directory that can't be used is refused at the start: one with somebody else's files (occupied.go), one whose blobs and
// fills are on two file systems (one_disk.go), and one that a later version wrote (format.go). An index is looked at before
// bbolt walks it (index_graph.go, bolt_format.go). A directory that is lost while the store runs says so (lost.go), and a
// disk that refuses room while bytes are free has the least recently used make some (refused_room.go).
//
// After a start (load.go, starting.go) look-ups ask the index until all entries are in memory, and files that nothing names are
// removed (sweep.go).
//
// # What events change
//
// What the upstream says, and what callers do, changes what others get through one door each, which takes the reason as a
// value of a type of its own and refuses any other: Raise begins a new generation of a key (generation.go), as Purge does
// for all keys that it selects (purge.go), Question has a file asked about under every spelling of its project
// (question.go), Doubt ends what was confirmed of a key (doubt.go), Confirm confirms an entry (lookup.go) and adds what the
// upstream names of it (learnt.go), and FillSpec.Copy says on whose word a fill takes room. For seconds after a publish an
// answer may be a lagging replica's (lag.go). What these remember (answers.go) is in tables of a fixed size, whose slots
// nobody can foretell (slots.go). A look-up changes nothing; what is opened to be served counts as used.
//
// # What is in memory
//
// Of every entry: a hash of its key, its blob's digest and size, when it was confirmed (node.go), and its place in the
// order of use (recency.go); together less than 300 bytes. Whole records only of the entries used last, and of those that
// aren't durable yet. What was read of the index is given back after a start and after each batch (index.go).
//
// # Rooms
//
// What one lock, Store.mu, guards is grouped in rooms, types whose methods touch only their own fields: starting, recency,
// memoryTier, answers, fills, beginnings, space (with copies and unfreed), pins, durability and leaving (with stuck). Who calls a
// room's method holds the lock. What joins several rooms, the disk or the index is a method of Store: one whose name ends with
// Locked is called, and returns, with the lock held; all others take it themselves.
//
// # Locks
//
// Fill.mu, which guards a fill's parts ahead, too, is taken before Store.mu. Under neither is anything read, written or waited for. index.mu is held
// only to look, and with it or bbolt's own locks Store.mu may be taken, not the other way round.
package cache
