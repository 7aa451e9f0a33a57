package cache

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
)

// A miss is no failure: ErrMiss means that the store works and doesn't have it.
var (
	// ErrMiss: there is no such entry or blob.
	ErrMiss = errors.New("not in the store")
	// ErrLocked: another process holds the directory.
	ErrLocked = errors.New("the directory is held by another process")
	// ErrNewerFormat: a later version of the edge wrote the directory. Nothing in it is changed.
	ErrNewerFormat = errors.New("a later version wrote the directory")
	// ErrNoRoom: the file doesn't fit into the store's limits now.
	ErrNoRoom = errors.New("no room in the store")
	// ErrNoSpareRoom: it would fit only in place of what was used since the moment that is to be kept (FillSpec.Keeps). It is
	// an ErrNoRoom, too.
	ErrNoSpareRoom = fmt.Errorf("%w without evicting what is used", ErrNoRoom)
	// ErrUnproven: the fill is the copy of an upload, and nobody has vouched for that (Fill.Adopt).
	ErrUnproven = errors.New("nobody has vouched for the upload")
	// ErrSuperseded: a publish or a purge came in between; what was begun before it isn't kept.
	ErrSuperseded = errors.New("superseded by a publish or a purge")
	// ErrShort: the body ended before its length.
	ErrShort = errors.New("the body is shorter than announced")
	// ErrTooLong: the body goes on past its length.
	ErrTooLong = errors.New("the body is longer than announced")
	// ErrChecksum: the body's SHA-256, or another sum, isn't the one that was named.
	ErrChecksum = errors.New("the body's checksum is wrong")
	// ErrTaken: these bytes of a fill's file have arrived, or are somebody else's to bring.
	ErrTaken = errors.New("these bytes are somebody else's to bring")
	// ErrGap: nobody brings the bytes that a fill needs next.
	ErrGap = errors.New("nobody brings the next bytes")
	// ErrInOrder: the fill takes its bytes in their order only.
	ErrInOrder = errors.New("the fill takes its bytes in their order")
	// ErrDisk: the disk failed under a fill, or has no room for it. What was read so far is right; the rest must come
	// from elsewhere.
	ErrDisk = errors.New("the disk failed")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("the store is closed")
	// ErrFillsEnded: the store closes, and has ended a fill. It is an ErrDisk, since what was read so far is right and the
	// rest can come from elsewhere.
	ErrFillsEnded error = fillsEndedError{}
)

type fillsEndedError struct{}

func (fillsEndedError) Error() string { return ErrClosed.Error() }

func (fillsEndedError) Is(target error) bool { return target == ErrClosed || target == ErrDisk }

// diskError counts trouble with the disk and makes it an ErrDisk.
func (s *Store) diskError(doing string, err error) error {
	s.counters.diskErrors.Add(1)
	if isFull(err) {
		s.setFull(true)
	}
	return fmt.Errorf("%w: %s: %w", ErrDisk, doing, err)
}

// setFull notes whether the file system has room for files, and tells who wants to know when that changes.
func (s *Store) setFull(full bool) {
	if s.full.Swap(full) != full && s.onFull != nil {
		s.onFull(full)
	}
}

// isShortage reports whether the process lacks what it needs to look at a file at all.
func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// isOfFile reports whether an error of opening or reading a file is that file's own and stays: the disk can't give it
// back, or it isn't ours, or no file. Other errors, such as too many open files, say nothing about it.
func isOfFile(err error) bool {
	for _, own := range []error{syscall.EACCES, syscall.EPERM, syscall.ELOOP, syscall.ENOTDIR} {
		if errors.Is(err, own) {
			return true
		}
	}
	return isMediaError(err)
}

// isMediaError reports whether the disk could not give back what it holds. Sending a file can fail by its receiver, of
// which other errors may be.
func isMediaError(err error) bool {
	return slices.ContainsFunc(mediaErrors, func(media error) bool { return errors.Is(err, media) })
}
