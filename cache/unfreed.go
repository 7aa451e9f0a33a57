package cache

import "time"

// freedWithin is how long removed files may take to show among the file system's free bytes: btrfs commits every 30 s,
// ZFS every 5. Where they never show, because a snapshot or another link holds them, the store gives up for min_free
// what it needs once in that time, and not all that it has.
const freedWithin = 30 * time.Second

// unfreed is what was removed and doesn't show as free yet. Guarded by Store.mu.
type unfreed struct {
	// bytes were removed from since on; 0 while there is nothing.
	bytes int64
	since time.Time
	// level is what was free before, with all that fills had written by then added: what they write in between is no
	// reason to believe that nothing was freed.
	level int64
}

// add notes that bytes were removed that nobody holds open.
func (u *unfreed) add(bytes int64, now time.Time) {
	if u.bytes == 0 {
		u.since = now
	}
	u.bytes += bytes
}

// settle compares with what is free now. Half counts as all: others write to the disk, too, and files take whole blocks.
func (u *unfreed) settle(level int64, now time.Time) {
	if u.bytes == 0 || level-u.level >= u.bytes/2 || now.Sub(u.since) >= freedWithin {
		*u = unfreed{level: level}
	}
}
