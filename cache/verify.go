package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// VerifyProgress tells how far a verification has come.
type VerifyProgress struct {
	// Entries is how many have been looked at, of Total.
	Entries, Total int
	// Bytes is how much has been read.
	Bytes int64
}

// VerifyResult tells what a verification found.
type VerifyResult struct {
	// Blobs is how many files were read, Bytes their size.
	Blobs int
	Bytes int64
	// Damaged is how many of them were wrong, short or gone, and were removed.
	Damaged int
	// Unread is how many of them could not be read for a reason that says nothing about them. They stay.
	Unread int
}

// verifyPiece is how much is read at a time; between two the rate is kept.
const verifyPiece = 1 << 20

// maxUnread is how many files in a row may prove unreadable for a reason that says nothing about them: one must not keep
// the others from being verified, and where none can be opened the rest isn't asked for.
const maxUnread = 8

// Verify waits until the store is Ready, reads all blobs that are in the index, each once, at no more than bytesPerSecond
// (0 for no bound), and removes those that aren't what their names say, or can't be had: the next caller fetches them
// again. progress may be nil; it is called after each piece that was read and must not block. When ctx ends, Verify
// returns its error and what it found so far; when some files stayed unread, the error of the first.
func (s *Store) Verify(ctx context.Context, bytesPerSecond int64, progress func(VerifyProgress)) (VerifyResult, error) {
	select {
	case <-s.Ready():
	case <-s.ctx.Done():
		return VerifyResult{}, ErrClosed
	case <-ctx.Done():
		return VerifyResult{}, context.Cause(ctx)
	}
	s.mu.Lock()
	s.verifying++
	number := s.verifying
	s.mu.Unlock()
	v := &verifyRun{store: s, number: number, pacer: newPacer(bytesPerSecond), buffer: make([]byte, verifyPiece), progress: progress}
	var after []byte
	for {
		digests, last, err := s.digestsAfter(ctx, after)
		if err != nil {
			return v.result, fmt.Errorf("looking for files to verify: %w", err)
		}
		for _, digest := range digests {
			if err := v.verify(ctx, digest); err != nil {
				return v.result, fmt.Errorf("verifying %s: %w", digest, err)
			}
			v.looked++
			v.tell()
		}
		if last == nil && v.unread != nil {
			return v.result, fmt.Errorf("verifying files: %d could not be read, the first: %w", v.result.Unread, v.unread)
		}
		if last == nil {
			if err := s.noteVerified(s.now()); err != nil {
				return v.result, fmt.Errorf("noting that the files are verified: %w", err)
			}
			s.logger.Info("verified the stored files", zap.Int("files", v.result.Blobs), zap.Int64("bytes", v.result.Bytes),
				zap.Int("damaged", v.result.Damaged))
			return v.result, nil
		}
		after = last
	}
}

// LastVerified returns when all files were last verified, also before this process began. While they never were, it is
// when it was first asked for: from then on waiting counts.
func (s *Store) LastVerified() (at time.Time, err error) {
	err = s.viewIndex(func(tx *bolt.Tx) error {
		if nanos := readNumber(tx.Bucket(metaBucket).Get(verifiedName)); nanos > 0 {
			at = time.Unix(0, nanos)
		}
		return nil
	})
	if err != nil || !at.IsZero() {
		return at, err
	}
	at = s.now()
	return at, s.noteVerified(at)
}

func (s *Store) noteVerified(at time.Time) error {
	return s.updateIndex(func(tx *bolt.Tx) error {
		return tx.Bucket(metaBucket).Put(verifiedName, writeNumber(at.UnixNano()))
	})
}

// verifyBatch is how many entries are looked for at a time.
const verifyBatch = 256

// digestsAfter returns the digests of the next entries in the index, and the last key; nil at the end.
func (s *Store) digestsAfter(ctx context.Context, after []byte) (digests []Digest, last []byte, err error) {
	last, err = s.walkIndex(ctx, nil, after, verifyBatch, func(_ *bolt.Tx, key, record []byte) error {
		if digest, _, _, err := checkRecord(key, record); err == nil {
			digests = append(digests, digest)
		}
		return nil
	})
	return digests, last, err
}

// verifyRun is one run of Verify.
type verifyRun struct {
	store  *Store
	number uint32
	pacer  *rate.Limiter
	buffer []byte
	// progress hears how far it has come, looked counts the entries.
	progress func(VerifyProgress)
	looked   int
	result   VerifyResult
	// unread is why the first file stayed unread, inRow how many did since one was read.
	unread error
	inRow  int
}

// verify reads a blob, unless this run has, or it isn't loaded. An error ends the run and says nothing about the blob.
func (v *verifyRun) verify(ctx context.Context, digest Digest) error {
	s := v.store
	s.mu.Lock()
	state := s.blobs[digest]
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	if state == nil || state.busy != nil || state.damaged || state.verified == v.number {
		s.mu.Unlock()
		return nil
	}
	state.verified = v.number
	s.enterBlobLocked(state)
	s.mu.Unlock()
	v.result.Blobs++
	blob, err := s.openFile(state)
	if errors.Is(err, ErrMiss) {
		v.result.Damaged++
		return nil
	}
	if err != nil {
		return v.passOver(digest, err)
	}
	defer blob.Close()
	sum, err := v.sum(ctx, blob)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ErrClosed):
		return err // and nothing is known of the blob
	case isOfFile(err):
		_ = s.diskError("verifying a blob", err)
		s.discard(state, fmt.Sprintf("%s: %v", reasonUnreadable, err))
		v.result.Damaged++
		return nil
	case err != nil:
		return v.passOver(digest, s.diskError("verifying a blob", err))
	}
	v.inRow = 0
	if sum != digest {
		s.counters.checksumFailures.Add(1)
		s.discard(state, reasonChecksum)
		v.result.Damaged++
	}
	return nil
}

// passOver counts a file that can't be read now.
func (v *verifyRun) passOver(digest Digest, err error) error {
	v.store.logger.Warn("a stored file can't be verified now", zap.Stringer("sha256", digest), zap.Error(err))
	v.result.Unread++
	v.inRow++
	if v.unread == nil {
		v.unread = fmt.Errorf("%s: %w", digest, err)
	}
	if v.inRow == maxUnread {
		return err
	}
	return nil
}

func (v *verifyRun) sum(ctx context.Context, blob *Blob) (Digest, error) {
	hash := sha256.New()
	for {
		n, err := blob.file.Read(v.buffer)
		_, _ = hash.Write(v.buffer[:n]) // never fails
		v.result.Bytes += int64(n)
		if errors.Is(err, io.EOF) {
			return Digest(hash.Sum(nil)), nil
		}
		if err == nil {
			err = v.pace(ctx, n)
		}
		if err != nil {
			return Digest{}, err
		}
	}
}

// tell tells how far it has come.
func (v *verifyRun) tell() {
	if v.progress == nil {
		return
	}
	v.store.mu.Lock()
	total := v.store.entries.len()
	v.store.mu.Unlock()
	v.progress(VerifyProgress{Entries: v.looked, Total: max(total, v.looked), Bytes: v.result.Bytes})
}

// newPacer keeps a rate, 0 for none. What a slow disk or a stopped machine kept from being read isn't made up for, but
// for one piece.
func newPacer(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	pacer := rate.NewLimiter(rate.Limit(bytesPerSecond), verifyPiece)
	// It would begin with a piece for nothing.
	pacer.AllowN(time.Now(), verifyPiece)
	return pacer
}

// pace waits until what was just read fits the rate.
func (v *verifyRun) pace(ctx context.Context, n int) error {
	v.tell()
	wait := v.pacer.ReserveN(time.Now(), n).Delay()
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-v.store.ctx.Done():
		return ErrClosed
	}
}
