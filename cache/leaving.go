package cache

import (
	"slices"
	"time"
)

// leaving is what is on its way out: entries out of look-ups, then out of the index, durably, and then their files out of the
// directory. Guarded by Store.mu, with which held all methods are called.
type leaving struct {
	// purges are selections whose entries are being looked for, removals entries that are gone for look-ups and not yet from
	// the index.
	purges   []*purge
	removals []*removal
	// orphans are blobs that no entry names any more, or that are damaged, and whose files are still there.
	orphans map[*blobState]struct{}
	// dangling are digests that the index may still name although their files were removed.
	dangling map[Digest]struct{}
	// stuck are files that the disk didn't remove. No blob is there and among the orphans.
	stuck stuck
}

func newLeaving() leaving {
	return leaving{
		orphans: make(map[*blobState]struct{}), dangling: make(map[Digest]struct{}),
		stuck: stuck{files: make(map[stuckFile]uint64)},
	}
}

// beginPurge makes all entries that are selected, up to a serial, count as gone.
func (l *leaving) beginPurge(sel Selector, serial uint32) *purge {
	running := &purge{selector: sel, serial: serial}
	l.purges = append(l.purges, running)
	return running
}

func (l *leaving) endPurge(over *purge) {
	l.purges = slices.DeleteFunc(l.purges, func(other *purge) bool { return other == over })
}

// isPurged reports whether a running purge is about to remove an entry.
func (l *leaving) isPurged(k Key, serial uint32) bool {
	return slices.ContainsFunc(l.purges, func(p *purge) bool { return serial <= p.serial && p.selector.Matches(k) })
}

// remove has the janitor take entries out of the index that are out of memory.
func (l *leaving) remove(r *removal) {
	if len(r.hashes) > 0 || r.done != nil {
		l.removals = append(l.removals, r)
	}
}

// takeRemovals takes all removals that there are.
func (l *leaving) takeRemovals() []*removal {
	taken := l.removals
	l.removals = nil
	return taken
}

// orphan has the janitor remove the file of a blob that nothing names any more, or that is damaged.
func (l *leaving) orphan(blob *blobState) {
	delete(l.stuck.files, blob)
	l.orphans[blob] = struct{}{}
}

// settle ends that a blob's file is to be removed: an entry names it, or it is gone.
func (l *leaving) settle(blob *blobState) {
	delete(l.stuck.files, blob)
	delete(l.orphans, blob)
}

// addDangling notes that the index may name a digest whose file is gone, and dropDangling that it is well again.
func (l *leaving) addDangling(digest Digest)  { l.dangling[digest] = struct{}{} }
func (l *leaving) dropDangling(digest Digest) { delete(l.dangling, digest) }

func (l *leaving) isDangling(digest Digest) bool {
	_, dangling := l.dangling[digest]
	return dangling
}

// refuse notes that the disk didn't remove the file of a blob. Of one that is stuck already that says nothing new about the
// disk.
func (l *leaving) refuse(blob *blobState, now time.Time) {
	if _, again := l.stuck.files[blob]; !again {
		l.stuck.refusals++
		l.stuck.files[blob] = 0
	}
	l.stuck.tried = now
	delete(l.orphans, blob)
}
