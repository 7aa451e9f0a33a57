package cache

import (
	"slices"

	"go.uber.org/zap"
)

const (
	// leastBeginning is how much must have arrived of a file for its beginning to be kept.
	leastBeginning = 1 << 20
	// maxBeginnings bounds those that are kept, each of which has a file open.
	maxBeginnings = 64
)

// Beginning is what has arrived of a file whose body broke off for good (Fill.Leave): the next fill of its key can go on from
// there. It counts towards MaxSize, leaves before any entry does, and is gone after a restart. Nobody reads it but through
// that fill.
//
// Who has taken one (Store.TakeBeginning) is the only one who has it, and ends with Store.Continue, PutBack or Drop.
type Beginning struct {
	// fill is the one that broke off: its part, the end that it held back, and its sum so far. The writer's use of it is the
	// beginning's.
	fill *Fill
	// size is how much has arrived, and onDisk the part of it that is in the part: what it holds of the room.
	size, onDisk int64
	// progress is Leave's.
	progress any
}

// Progress is what was given to Leave.
func (b *Beginning) Progress() any { return b.progress }

// beginnings are those that nobody has taken, the oldest first. Guarded by Store.mu.
type beginnings struct {
	// least is how much must have arrived for one to be kept; fixed.
	least int64
	kept  []*Beginning
	// bytes is what all of them hold of the room.
	bytes int64
}

// take takes the oldest one that is selected; nil if there is none.
func (l *beginnings) take(selected func(*Beginning) bool) *Beginning {
	at := slices.IndexFunc(l.kept, selected)
	if at < 0 {
		return nil
	}
	b := l.kept[at]
	l.kept = slices.Delete(l.kept, at, at+1)
	l.bytes -= b.onDisk
	return b
}

// takeAll takes all that are selected.
func (l *beginnings) takeAll(selected func(*Beginning) bool) (taken []*Beginning) {
	for b := l.take(selected); b != nil; b = l.take(selected) {
		taken = append(taken, b)
	}
	return taken
}

func (l *beginnings) keep(b *Beginning) {
	l.kept = append(l.kept, b)
	l.bytes += b.onDisk
}

// putBack keeps one as the oldest.
func (l *beginnings) putBack(b *Beginning) {
	l.kept = slices.Insert(l.kept, 0, b)
	l.bytes += b.onDisk
}

func (l *beginnings) has(k Key) bool {
	return slices.ContainsFunc(l.kept, func(b *Beginning) bool { return b.fill.key == k })
}

func anyBeginning(*Beginning) bool { return true }

// Leave ends the fill as Abort does, and keeps what has arrived as the beginning of its file, if that is worth it; it reports
// whether it did. progress is what its user needs to ask for the rest; the store keeps it, and doesn't look at it.
//
// Only who writes the fill may call it, where the body broke off and all that came of it was right. Of a fill that has ended it
// keeps nothing, nor of one of which all has come: the end must be compared before it may be read. What lies ahead, and isn't
// taken in (Advance), is cut off; Leave waits for those who write there just now.
func (f *Fill) Leave(why error, progress any) (kept bool) {
	written := f.Written()
	if f.isCopy() || written < f.store.beginnings.least || written == f.spec.Size {
		f.Abort(why)
		return false
	}
	return f.finish(ending{err: why, aborted: true, left: true, progress: progress})
}

// keepBeginningLocked keeps the part of a fill that has ended, and reports whether it did. It returns those that leave for it,
// which are dropped then: an older one of the same key, one too many, or this one itself where nobody could go on from it.
func (s *Store) keepBeginningLocked(f *Fill, progress any) (kept bool, leaving []*Beginning) {
	b := &Beginning{fill: f, size: f.written, onDisk: f.onDisk, progress: progress}
	s.space.beginnings += b.onDisk
	if s.fills.ended || s.generations.of(f.key) != f.generation {
		return false, []*Beginning{b}
	}
	leaving = s.beginnings.takeAll(func(older *Beginning) bool { return older.fill.key == f.key })
	s.beginnings.keep(b)
	if len(s.beginnings.kept) > maxBeginnings {
		leaving = append(leaving, s.beginnings.take(anyBeginning))
	}
	return true, leaving
}

// TakeBeginning takes what has arrived of the key's file in this generation; nil if there is nothing.
func (s *Store) TakeBeginning(k Key, g Generation) *Beginning {
	s.mu.Lock()
	b := s.beginnings.take(func(b *Beginning) bool { return b.fill.key == k })
	s.mu.Unlock()
	if b != nil && b.fill.generation != g {
		b.Drop() // what was published or purged since is begun anew
		return nil
	}
	return b
}

// PutBack leaves the beginning to the next who takes it, unless there is a newer one by now, or no room for it.
func (b *Beginning) PutBack() {
	s := b.fill.store
	s.mu.Lock()
	if s.fills.ended || s.beginnings.has(b.fill.key) || len(s.beginnings.kept) >= maxBeginnings ||
		s.generations.of(b.fill.key) != b.fill.generation {
		s.mu.Unlock()
		b.Drop()
		return
	}
	s.beginnings.putBack(b)
	s.mu.Unlock()
}

// Drop removes the beginning.
func (b *Beginning) Drop() {
	f := b.fill
	f.removePart()
	b.letGo(true)
}

// letGo ends the beginning's use of its part. owes says that what is freed with it may take a while to show.
func (b *Beginning) letGo(owes bool) {
	f := b.fill
	f.store.mu.Lock()
	f.store.space.beginnings -= b.onDisk
	f.room.lingering += b.onDisk
	f.owes = owes
	f.store.mu.Unlock()
	f.leave()
}

// Continue begins a fill with what has arrived already. Its first Write takes the byte after the beginning's last. spec is
// that of the whole file, which the caller knows to be the same. Errors are those of Begin; the beginning is over in any case.
func (s *Store) Continue(b *Beginning, g Generation, spec FillSpec) (*Fill, error) {
	limits, _, err := s.admit(b.fill.key, g, spec)
	rest := spec.Size - b.onDisk // the end that was held back has to be written, too
	if spec.Size < 0 {
		rest = max(limits.growthStep(b.onDisk), b.size-b.onDisk)
	}
	if err == nil && spec.Size >= 0 && spec.Size < b.size {
		err = ErrTooLong
	}
	if err == nil {
		err = s.reserveFor(spec, claim{rest, rest})
	}
	if err != nil {
		b.Drop()
		return nil, err
	}
	before := b.fill
	f := &Fill{
		store: s, key: before.key, generation: g, spec: spec, path: before.path, file: before.file,
		hash: before.hash, room: &s.space.holding, done: make(chan struct{}),
		written: b.size, flushed: before.flushed, tail: before.tail, reserved: b.onDisk + rest, onDisk: b.onDisk,
		parts: spec.Parts && spec.Size >= 0 && (before.spec.Size < 0 || before.spec.Size == spec.Size),
	}
	s.mu.Lock()
	s.space.beginnings -= b.onDisk
	s.space.reserved += b.onDisk
	s.mu.Unlock()
	f.takeOver(before)
	if err := f.enter(); err != nil {
		return nil, err
	}
	if err := f.settleEnd(); err != nil {
		return nil, err
	}
	return f, nil
}

// settleEnd writes what an earlier fill held back for want of the length, so that what lies ahead has its place in memory, too.
func (f *Fill) settleEnd() error {
	if !f.parts {
		return nil // the next Write does
	}
	err := f.flush(nil, f.written)
	if err != nil {
		f.finish(ending{err: err})
	}
	return err
}

// takeOver makes the readers of a fill that broke off readers of the one that goes on in its part: the last of all closes it.
// Those who may be just sending the part as it is, to its end, must not come into a hole of it.
func (f *Fill) takeOver(before *Fill) {
	before.mu.Lock()
	defer before.mu.Unlock()
	f.parts = f.parts && (before.parts || before.users == 1)
	f.users, before.users = before.users, 0
	before.successor = f
}

// dropBeginnings drops what makes room before any entry is evicted, and reports whether there was anything.
func (s *Store) dropBeginnings(seen sample) bool {
	s.mu.Lock()
	excess, _ := s.excessLocked(s.freeLocked(seen))
	var leaving []*Beginning
	for excess > 0 {
		b := s.beginnings.take(anyBeginning)
		if b == nil {
			break
		}
		leaving = append(leaving, b)
		excess -= b.onDisk
	}
	s.mu.Unlock()
	if len(leaving) == 0 {
		return false
	}
	s.logger.Debug("dropping beginnings of files for want of room", zap.Int("files", len(leaving)))
	dropAll(leaving)
	return true
}

// dropOutdatedBeginnings drops those that nobody can go on from, since their file was published or purged.
func (s *Store) dropOutdatedBeginnings() {
	s.mu.Lock()
	leaving := s.beginnings.takeAll(func(b *Beginning) bool { return s.generations.of(b.fill.key) != b.fill.generation })
	s.mu.Unlock()
	dropAll(leaving)
}

// purgeBeginnings drops those of the selected keys.
func (s *Store) purgeBeginnings(sel Selector) {
	s.mu.Lock()
	leaving := s.beginnings.takeAll(func(b *Beginning) bool { return sel.Matches(b.fill.key) })
	s.mu.Unlock()
	dropAll(leaving)
}

func dropAll(leaving []*Beginning) {
	for _, b := range leaving {
		b.Drop()
	}
}

// letBeginningsGo closes the files of all beginnings; those of a store that is closed are removed as well.
func (s *Store) letBeginningsGo(removed bool) {
	s.mu.Lock()
	leaving := s.beginnings.takeAll(anyBeginning)
	s.mu.Unlock()
	for _, b := range leaving {
		if removed {
			b.Drop()
		} else {
			b.letGo(false)
		}
	}
}
