package cache

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// maxStuck is how many files of each kind, blobs and parts, are tried in vain before the others are left for the next time.
	maxStuck = 8
	// maxRefusals is how many files in a row may prove impossible to remove before none is evicted any more: a disk that
	// removes nothing would have the store emptied and gain nothing. Fewer may be files that somebody else made immutable,
	// and must not keep the others.
	maxRefusals = 16
)

// stuckFile is a *blobState or a *leftPart whose file should be gone and that the disk didn't remove.
type stuckFile interface {
	// removeAgain tries once more, and reports whether it did: not what is being given its name by somebody else.
	removeAgain(s *Store) (tried bool, err error)
}

// stuck is what the disk didn't remove. It isn't tried again with each eviction, but with the janitor's tick, and a bit
// sooner while nothing can be removed. Guarded by Store.mu, with which held all methods are called.
type stuck struct {
	// Each has the round in which it was tried last.
	files map[stuckFile]uint64
	round uint64
	// refusals counts the blobs that couldn't be removed since one was removed last, each once.
	refusals int
	// tried is when files couldn't be removed last.
	tried time.Time
	// told says that the log has heard of it since the last tick.
	told bool
}

// relent notes that the disk has removed the file of a blob.
func (st *stuck) relent() { st.refusals = 0 }

// isRefusing reports whether the disk removes nothing, as far as can be told.
func (st *stuck) isRefusing() bool { return st.refusals >= maxRefusals }

// mostVictims bounds the entries that are evicted at a time: no more than are tried in vain.
func (st *stuck) mostVictims() int {
	if st.refusals > 0 {
		return maxRefusals - st.refusals
	}
	return maxChanges
}

// retry tries again to remove what couldn't be. Then one file more may show whether the disk still refuses: if it
// removes any, it isn't all that are stuck.
func (s *Store) retry() {
	s.mu.Lock()
	s.leaving.stuck.told = false
	s.mu.Unlock()
	s.removeStuck()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving.stuck.refusals = min(s.leaving.stuck.refusals, maxRefusals-1)
}

// retryRefused tries again while the disk refuses and fills may be waiting for it, now and then.
func (s *Store) retryRefused() {
	s.mu.Lock()
	due := s.leaving.stuck.isRefusing() && s.now().Sub(s.leaving.stuck.tried) >= troublePause
	s.mu.Unlock()
	if due {
		s.removeStuck()
	}
}

// beginRound gives the files in the order in which they are tried: first those that have waited longest.
func (st *stuck) beginRound(now time.Time) []stuckFile {
	st.round++
	st.tried = now
	return slices.SortedFunc(maps.Keys(st.files), func(a, b stuckFile) int { return cmp.Compare(st.files[a], st.files[b]) })
}

// noteTried has a file wait for its turn behind the others, if it is still there.
func (st *stuck) noteTried(file stuckFile) {
	if _, stuck := st.files[file]; stuck {
		st.files[file] = st.round
	}
}

// removeStuck tries again to remove files that couldn't be. When several of a kind fail it leaves the others of that kind for the
// next round, in which they come first: no file keeps others for longer than a round through all of them, and blobs that
// somebody made immutable keep no part, whose bytes take room.
func (s *Store) removeStuck() {
	s.mu.Lock()
	files := s.leaving.stuck.beginRound(s.now())
	s.mu.Unlock()
	var failedBlobs, failedParts int
	var why error
	for _, file := range files {
		failed := &failedParts
		if _, isBlob := file.(*blobState); isBlob {
			failed = &failedBlobs
		}
		if *failed == maxStuck {
			continue
		}
		if tried, err := file.removeAgain(s); tried && err != nil {
			*failed, why = *failed+1, err
		}
		s.mu.Lock()
		s.leaving.stuck.noteTried(file)
		s.mu.Unlock()
	}
	if why != nil {
		s.tellStuck(why)
	}
}

// tellStuck tells the log, once between two ticks, that files can't be removed.
func (s *Store) tellStuck(why error) {
	s.mu.Lock()
	files, told := len(s.leaving.stuck.files), s.leaving.stuck.told
	s.leaving.stuck.told = true
	s.mu.Unlock()
	if !told {
		s.logger.Error("files can't be removed; they count, and are tried again", zap.Int("files", files), zap.Error(why))
	}
}

func (b *blobState) removeAgain(s *Store) (tried bool, err error) {
	s.mu.Lock()
	_, stuck := s.leaving.stuck.files[b]
	tried = stuck && s.claimLocked(b)
	s.mu.Unlock()
	if tried {
		err = s.unlink(b)
	}
	return tried, err
}

// leftPart is the part of a fill that ended without becoming a blob.
type leftPart struct {
	path string
	// bytes is what it lingers with once nobody has it open, in a part of the room. Guarded by Store.mu.
	bytes int64
	room  *holding
}

// removePart removes the part of a fill that ended without becoming a blob; its readers go on with the open file. One
// that can't be removed lingers until the janitor has removed it: it takes room for as long as it is there.
func (f *Fill) removePart() {
	s := f.store
	err := s.fs.Remove(f.path)
	if err == nil {
		return
	}
	_ = s.diskError("removing a fill", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.left = &leftPart{path: f.path, room: f.room}
	s.leaving.stuck.files[f.left] = 0
}

func (p *leftPart) removeAgain(s *Store) (tried bool, err error) {
	if err := s.fs.Remove(p.path); err != nil {
		return true, s.diskError("removing a fill", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leaving.stuck.files, p)
	p.room.lingering -= p.bytes
	s.space.announce()
	return true, nil
}
