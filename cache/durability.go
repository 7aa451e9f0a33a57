package cache

import (
	"iter"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxHotRecords bounds the records that are held decoded, so that a hit needs no look into the index. Each takes some 400
// bytes, as much again for a note (Store.KeepNote), and twice that of the process with the room that the garbage collector needs;
// looking one up costs microseconds.
const maxHotRecords = 16 << 10

// durability is what memory has of entries' records, and what of it, and of blobs, isn't durable yet. The janitor takes that
// in batches. Guarded by Store.mu, with which held all methods are called.
type durability struct {
	// hot holds records of some entries.
	hot *simplelru.LRU[keyHash, *Entry]
	// pending are records of all entries that aren't durable yet, recording those that are being made durable.
	pending, recording map[keyHash]*Entry
	// learnt are records of entries of which the upstream has said more since, for the index to be told.
	learnt map[keyHash]*Entry
	// touched are last uses that the index doesn't know yet, in Unix nanoseconds.
	touched map[keyHash]int64
	// fresh are blobs that aren't synced yet.
	fresh []*blobState
	// replaced are blobs that the index still names, once each, for entries that are others now.
	replaced []*blobState
	// waiters wait for what is whole now to be durable.
	waiters []chan error
	// failing says that the index could not be written last time.
	failing bool
}

// batch is what becomes durable together (design, "The store").
type batch struct {
	// fresh are the blobs to sync first, failed those of them whose bytes the disk may not have.
	fresh  []*blobState
	failed []*blobState
	// postponed says why the batch can't become durable now, although nothing is wrong with its files; nil if it can.
	postponed error
	// replaced are blobs that the index doesn't name any more once the batch's records are there.
	replaced []*blobState
	// touched are last uses to note, in Unix nanoseconds, learnt records to write anew.
	touched map[keyHash]int64
	learnt  map[keyHash]*Entry
	// waiters hear when it is done.
	waiters []chan error
}

func newDurability() durability {
	return durability{
		hot:     newLRU[keyHash, *Entry](maxHotRecords),
		pending: make(map[keyHash]*Entry), recording: make(map[keyHash]*Entry),
		learnt: make(map[keyHash]*Entry), touched: make(map[keyHash]int64),
	}
}

// record returns the record that memory has of a key's entry; nil if it has none. Nearly every hit reads it.
func (d *durability) record(h keyHash) *Entry {
	for _, records := range []map[keyHash]*Entry{d.pending, d.learnt, d.recording} {
		if record := records[h]; record != nil {
			return record
		}
	}
	record, _ := d.hot.Get(h)
	return record
}

// isWritten reports whether the index has what there is to have of a key's entry, but for what was learnt of it.
func (d *durability) isWritten(h keyHash) bool { return d.pending[h] == nil && d.recording[h] == nil }

// unrecorded are the records that the index doesn't have yet. An entry can be among them twice.
func (d *durability) unrecorded() iter.Seq[*Entry] {
	return func(visit func(*Entry) bool) {
		for _, records := range []map[keyHash]*Entry{d.recording, d.pending} {
			for _, record := range records {
				if !visit(record) {
					return
				}
			}
		}
	}
}

// waiting is how many records the index doesn't have yet.
func (d *durability) waiting() int { return len(d.pending) + len(d.recording) }

// isBehind reports whether so many wait for an index that can't be written that no more are kept.
func (d *durability) isBehind() bool { return d.failing && d.waiting() >= maxPending }

// add takes the record of an entry that the index doesn't have, and know that of one that it has.
func (d *durability) add(h keyHash, entry *Entry)   { d.pending[h] = entry }
func (d *durability) know(h keyHash, record *Entry) { d.hot.Add(h, record) }

// use takes a last use, sync a blob to sync, hold a blob that the index names until it knows better, and wait who is to
// hear when all of that is durable.
func (d *durability) use(h keyHash, at time.Time) { d.touched[h] = at.UnixNano() }
func (d *durability) sync(blob *blobState)        { d.fresh = append(d.fresh, blob) }
func (d *durability) hold(blob *blobState)        { d.replaced = append(d.replaced, blob) }
func (d *durability) wait(done chan error)        { d.waiters = append(d.waiters, done) }

// learn takes the record of an entry of which more is known now.
func (d *durability) learn(h keyHash, learnt *Entry) {
	if d.pending[h] != nil {
		d.pending[h] = learnt // it isn't in the index yet
		return
	}
	d.learnt[h] = learnt
	d.hot.Add(h, learnt)
}

// forget drops what there is of an entry that is gone.
func (d *durability) forget(h keyHash) {
	d.hot.Remove(h)
	delete(d.pending, h)
	delete(d.recording, h)
	delete(d.learnt, h)
	delete(d.touched, h)
}

// isDue reports whether there is something that is to be durable soon.
func (d *durability) isDue() bool {
	return len(d.pending) > 0 || len(d.replaced) > 0 || d.isFarBehindInUses()
}

func (d *durability) isFarBehindInUses() bool { return len(d.touched)+len(d.learnt) >= maxTouched }

// take takes what is to become durable; nil if there is nothing. What comes later is the next batch's. There is one at a time.
func (d *durability) take(withUses bool) *batch {
	withUses = withUses || len(d.waiters) > 0 || d.isFarBehindInUses()
	if !d.isDue() && len(d.waiters) == 0 && (!withUses || len(d.touched)+len(d.learnt) == 0) {
		return nil
	}
	b := &batch{fresh: d.fresh, replaced: d.replaced, waiters: d.waiters}
	d.recording, d.pending = d.pending, make(map[keyHash]*Entry)
	d.fresh, d.replaced, d.waiters = nil, nil, nil
	if withUses {
		b.touched, d.touched = d.touched, make(map[keyHash]int64)
		b.learnt, d.learnt = d.learnt, make(map[keyHash]*Entry)
	}
	return b
}

// recorded notes that the index has a record of the batch now.
func (d *durability) recorded(entry *Entry) {
	h := entry.Key.hash()
	if d.recording[h] != entry {
		return
	}
	delete(d.recording, h)
	if d.learnt[h] == nil {
		d.hot.Add(h, entry)
	}
}

// end takes in that a batch is over, and returns its records that weren't written. After an error all that isn't in the index
// is the next batch's, but for what is newer by then, or of entries that are gone: isPresent tells of a record, isKnown of a
// key.
func (d *durability) end(b *batch, err error, isPresent func(*Entry) bool, isKnown func(keyHash) bool) (left map[keyHash]*Entry) {
	d.failing = err != nil
	if err != nil {
		d.replaced = append(d.replaced, b.replaced...)
		for h, record := range b.learnt {
			if d.learnt[h] == nil && isPresent(record) {
				d.learnt[h] = record
			}
		}
		for h, entry := range d.recording {
			if d.pending[h] == nil {
				d.pending[h] = entry
			}
		}
		for h, at := range b.touched {
			if _, newer := d.touched[h]; !newer && isKnown(h) {
				d.touched[h] = at
			}
		}
	}
	if b.postponed != nil {
		damaged := func(blob *blobState) bool { return blob.damaged }
		d.fresh = append(d.fresh, slices.DeleteFunc(b.fresh, damaged)...)
	}
	left, d.recording = d.recording, make(map[keyHash]*Entry)
	return left
}
