package cache

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
)

// verifiable is a store of durable files, some bytes each.
func verifiable(t *testing.T, fs FS, files, size int) *Store {
	t.Helper()
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	for i := range files {
		s.put(t, numberedKey(i), randomBytes(size, byte(i)))
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAVerificationThatEndsEarlyCountsForNone: whoever asks next when the files were last verified must not hear of it, nor does
// anybody wait for the rest to be read.
func TestAVerificationThatEndsEarlyCountsForNone(t *testing.T) {
	left := errors.New("the admin has left")
	for name, test := range map[string]struct {
		pieces int
		rate   int64
		end    func(s *Store, leave context.CancelCauseFunc)
		want   error
	}{
		"left amid the only file":          {3, 0, func(_ *Store, leave context.CancelCauseFunc) { leave(left) }, left},
		"left at the end of the last file": {1, 0, func(_ *Store, leave context.CancelCauseFunc) { leave(left) }, left},
		"left while it waits":              {3, 1, func(_ *Store, leave context.CancelCauseFunc) { leave(left) }, left},
		"the store ends while it waits":    {3, 1, func(s *Store, _ context.CancelCauseFunc) { s.stopJanitor() }, ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			s := verifiable(t, OS(), 1, test.pieces*verifyPiece)
			before, err := s.LastVerified()
			if err != nil {
				t.Fatal(err)
			}
			ctx, leave := context.WithCancelCause(t.Context())
			defer leave(nil)
			result, err := s.Verify(ctx, test.rate, func(VerifyProgress) { test.end(s, leave) })
			if !errors.Is(err, test.want) || result != (VerifyResult{Blobs: 1, Bytes: verifyPiece}) {
				t.Errorf("%+v, %v", result, err)
			}
			if after, err := s.LastVerified(); err != nil || !after.Equal(before) {
				t.Errorf("last verified %v, and before %v, %v", after, before, err)
			}
			if s.space.open != 0 {
				t.Errorf("%d bytes are being read", s.space.open)
			}
		})
	}
}

// TestAVerificationWaitsForTheStart and for nothing else.
func TestAVerificationWaitsForTheStart(t *testing.T) {
	left := errors.New("the admin has left")
	s := newBareStore(t, OS(), Limits{MaxSize: 1 << 30})
	ctx, leave := context.WithCancelCause(t.Context())
	leave(left)
	if result, err := s.Verify(ctx, 0, nil); !errors.Is(err, left) || result != (VerifyResult{}) {
		t.Errorf("left: %+v, %v", result, err)
	}
	s.cancel()
	if result, err := s.Verify(t.Context(), 0, nil); !errors.Is(err, ErrClosed) || result != (VerifyResult{}) {
		t.Errorf("ended: %+v, %v", result, err)
	}
	s.closed = true
	if err := (&verifyRun{store: s}).verify(t.Context(), numberedDigest(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("closed amid it: %v", err)
	}
}

// TestVerifyingPassesOverWhatIsOnItsWayOut: files that are being removed or proved damaged, and records whose files aren't there.
func TestVerifyingPassesOverWhatIsOnItsWayOut(t *testing.T) {
	const files = 5
	s := verifiable(t, OS(), files, 1000)
	for i, change := range []func(b *blobState){
		func(b *blobState) { delete(s.blobs, b.digest) },
		func(b *blobState) { b.busy = make(chan struct{}) },
		func(b *blobState) { b.damaged = true },
	} {
		s.mu.Lock()
		state := s.entries.peek(numberedKey(i).hash()).blob
		change(state)
		s.mu.Unlock()
		result, err := s.Verify(t.Context(), 0, nil)
		if err != nil || result != (VerifyResult{Blobs: files - 1, Bytes: (files - 1) * 1000}) {
			t.Errorf("change %d: %+v, %v", i, result, err)
		}
		s.mu.Lock()
		s.blobs[state.digest], state.busy, state.damaged = state, nil, false
		s.mu.Unlock()
	}
	if s.space.open != 0 {
		t.Errorf("%d bytes are being read", s.space.open)
	}
}

// TestVerifyingReadsAllBatches of entries, each file once, where some of the first can't be read now; few others in between make
// no row.
func TestVerifyingReadsAllBatches(t *testing.T) {
	const links, others = verifyBatch + 20, 2*maxUnread + 2
	s, refusing, _ := openRefusing(t, others)
	s.linkMany(t, s.put(t, testKey("shared"), randomBytes(2000, 99)), others, links)
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < others; i += 2 {
		refusing.refuse(must(s.Lookup(numberedKey(i))).Digest, syscall.EMFILE)
	}
	var last VerifyProgress
	result, err := s.Verify(t.Context(), 0, func(p VerifyProgress) {
		if p.Total != links+1 || p.Entries < last.Entries || p.Bytes < last.Bytes {
			t.Errorf("after %+v: %+v", last, p)
		}
		last = p
	})
	want := VerifyResult{Blobs: others + 1, Bytes: others/2*1000 + 2000, Unread: others / 2}
	if !errors.Is(err, syscall.EMFILE) || result != want || last != (VerifyProgress{links + 1, links + 1, want.Bytes}) {
		t.Errorf("%+v after %+v, %v", result, last, err)
	}
	refusing.heal()
}

// TestVerifyingEndsWhereNoFileCanBeRead: a system without memory isn't asked for each.
func TestVerifyingEndsWhereNoFileCanBeRead(t *testing.T) {
	s, refusing, _ := openRefusing(t, maxUnread+3)
	for i := range maxUnread + 3 {
		refusing.unread[must(s.Lookup(numberedKey(i))).Digest.String()] = syscall.ENOMEM
	}
	result, err := s.Verify(t.Context(), 0, nil)
	if !errors.Is(err, syscall.ENOMEM) || result != (VerifyResult{Blobs: maxUnread, Unread: maxUnread}) {
		t.Errorf("%+v, %v", result, err)
	}
	refusing.heal()
}

// TestWhatVerifyingFindsIsCounted as trouble of the disk, or as a wrong sum.
func TestWhatVerifyingFindsIsCounted(t *testing.T) {
	s, refusing, _ := openRefusing(t, 3)
	refusing.unread[must(s.Lookup(numberedKey(0))).Digest.String()] = syscall.EIO
	wrong := must(s.Lookup(numberedKey(1))).Digest
	if err := os.WriteFile(blobPath(s.dir, wrong), randomBytes(1000, 99), 0o600); err != nil {
		t.Fatal(err)
	}
	since := s.Stats()
	if result, err := s.Verify(t.Context(), 0, nil); err != nil || result != (VerifyResult{Blobs: 3, Bytes: 2000, Damaged: 2}) {
		t.Errorf("%+v, %v", result, err)
	}
	if stats := s.Stats().Since(since); stats.DiskErrors != 1 || stats.ChecksumFailures != 1 || stats.Damaged != 2 {
		t.Errorf("%+v", stats)
	}
}

// TestAnIndexThatCannotBeUsedIsNotTakenForVerified nor for one that never was.
func TestAnIndexThatCannotBeUsedIsNotTakenForVerified(t *testing.T) {
	fs := &aroundFS{FS: OS()}
	s := verifiable(t, fs, 1, 1000)
	fs.set(func(func() error) error { return syscall.ENOSPC })
	if at, err := s.LastVerified(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("it can't be written: last verified %v, %v", at, err)
	}
	fs.set(nil)
	for name, ask := range map[string]func() error{
		"asked when":     func() error { _, err := s.LastVerified(); return err },
		"asked to do it": func() error { _, err := s.Verify(t.Context(), 0, nil); return err },
	} {
		if err := os.Truncate(indexPath(s.dir), 4096); err != nil {
			t.Fatal(err)
		}
		if err := ask(); !errors.Is(err, errDamagedIndex) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhileFilesWereNeverVerifiedTheFirstQuestionCounts and no later one.
func TestWhileFilesWereNeverVerifiedTheFirstQuestionCounts(t *testing.T) {
	s, clock := openAt(t, Limits{})
	first := clock.now()
	for i := range 3 {
		if at, err := s.LastVerified(); err != nil || !at.Equal(first) {
			t.Errorf("question %d: last verified %v, %v", i, at, err)
		}
		clock.pass(time.Hour)
	}
	if _, err := s.Verify(t.Context(), 0, nil); err != nil {
		t.Fatal(err)
	}
	if at, err := s.LastVerified(); err != nil || !at.Equal(clock.now()) {
		t.Errorf("once they were: last verified %v, %v", at, err)
	}
}
