package cache

import (
	"errors"
	"os"
)

// IsLost reports whether the store's directory isn't the one any more that was opened: somebody removed what is in it, put
// another in its place, mounted another file system in it, or its own is gone. Such a store keeps nothing. Its owner gives it
// up (Abandon) and opens another. It looks at the disk.
func (s *Store) IsLost() bool { return s.split.Load() || s.isDirectoryLost() || s.isIndexLost() }

// isDirectoryLost reports whether somebody removed all of the store, or its lock. Nothing of it is made again: what has its
// name now, or will have, belongs to whoever made it and holds the lock there.
func (s *Store) isDirectoryLost() bool { return !isStillAt(s.lock, lockPath(s.dir)) }

// isIndexLost reports whether somebody removed index.db. What is written to it then is gone with this process.
func (s *Store) isIndexLost() bool {
	db, err := s.index.current()
	if err != nil || isStillAt(db.file, indexPath(s.dir)) {
		return false // one that is damaged is begun anew by the janitor
	}
	// Unless the janitor has replaced it just now.
	now, _ := s.index.current()
	return now == db
}

// isStillAt reports whether a path still leads to an open file.
func isStillAt(opened *os.File, path string) bool {
	ours, err := opened.Stat()
	if err != nil {
		return false
	}
	found, err := os.Lstat(path)
	return err == nil && os.SameFile(ours, found)
}

// Abandon is Close for a store that IsLost: it writes and removes nothing, since what has the names of its files now is
// another's.
func (s *Store) Abandon() error {
	if !s.end() {
		return nil
	}
	s.letBeginningsGo(false)
	return errors.Join(s.index.close(), s.lock.Close())
}
