package cache

import "errors"

// Abort ends the fill with an error, which readers get after the bytes that are there. ErrChecksum counts as Commit's own:
// whoever writes may know another sum of the file. After Commit or another Abort it does nothing. Unlike Write and Commit it
// may be called by anybody.
func (f *Fill) Abort(err error) {
	if err == nil {
		err = errors.New("the fill was given up")
	}
	f.finish(ending{err: err, aborted: true})
}

// ending is how a fill ends.
type ending struct {
	// err is the readers' error; nil when they may read all.
	err error
	// entry and blob are what became of the file, notKept why nothing did although it is whole.
	entry   Entry
	blob    *blobState
	notKept error
	// left says that what has arrived is kept as the file's beginning.
	left     bool
	progress any
	// aborted says that it wasn't Commit who decided; a fill that is being committed isn't aborted any more.
	aborted bool
}

// finish ends the fill once, and reports whether what has arrived is kept as the file's beginning.
func (f *Fill) finish(end ending) (kept bool) {
	f.mu.Lock()
	if f.ended || (end.aborted && f.committing) {
		f.mu.Unlock()
		return false
	}
	f.ended, f.whole, f.err = true, end.err == nil, end.err
	f.entry, f.notKept, f.blob = end.entry, end.notKept, end.blob
	f.tellAllLocked()
	if end.left {
		f.aheads = nil // before they are cut off: a reader looks again when it has read (FillReader.Read)
	}
	f.mu.Unlock()
	end.left = end.left && f.cutAhead()
	s := f.store
	if errors.Is(end.err, ErrChecksum) {
		s.counters.checksumFailures.Add(1)
	}
	if end.blob == nil && !end.left {
		f.removePart()
	}
	s.mu.Lock()
	delete(s.fills.running, f)
	s.space.copies.forget(f)
	var leaving []*Beginning
	if end.blob == nil {
		f.releaseLocked()
		if end.left {
			kept, leaving = s.keepBeginningLocked(f, end.progress)
		} else {
			f.room.lingering += f.onDisk
		}
	}
	s.mu.Unlock()
	close(f.done)
	if !end.left {
		f.leave()
	}
	dropAll(leaving)
	return kept
}

// cutAhead cuts off what lies ahead in the part of a fill that was left, and reports whether the disk did: only what is without
// gaps can be gone on from. Only who writes the fill comes here.
func (f *Fill) cutAhead() bool {
	f.underWay.Wait() // for the disk; none begins any more
	s := f.store
	s.mu.Lock()
	ahead := f.onDisk - f.flushed
	s.mu.Unlock()
	if ahead == 0 {
		return true
	}
	if err := f.file.Truncate(f.flushed); err != nil {
		_ = s.diskError("cutting a fill", err) // the fill ends for another reason, and what is counted is enough
		return false
	}
	s.mu.Lock()
	f.onDisk -= ahead
	s.space.unwritten += ahead
	s.mu.Unlock()
	return true
}

// join counts a reader; false when the file is closed already.
func (f *Fill) join() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users == 0 || f.err != nil {
		return false
	}
	f.users++
	return true
}

// leave takes the writer or a reader off; the last closes the file, and the disk has its bytes back.
func (f *Fill) leave() {
	f.mu.Lock()
	if next := f.successor; next != nil {
		f.mu.Unlock()
		next.leave()
		return
	}
	f.users--
	last, blob := f.users == 0, f.blob
	f.mu.Unlock()
	if !last {
		return
	}
	_ = f.file.Close() // what had to be written was synced by then, or isn't needed
	if blob != nil {
		f.store.leaveBlob(blob)
		return
	}
	s := f.store
	s.mu.Lock()
	defer s.mu.Unlock()
	f.closed = true
	if _, stuck := s.leaving.stuck.files[f.left]; stuck {
		f.left.bytes = f.onDisk // they linger without it
		return
	}
	f.room.lingering -= f.onDisk
	if f.isCopyLocked() || f.owes {
		s.space.unfreed.add(f.onDisk, s.now())
	}
	s.space.announce()
}
