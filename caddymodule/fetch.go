package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// run fetches a flight's file: GitLab is asked, its answer decides whom the body is for, and the body is stored or given away.
// Three contexts have a part in that:
//
//	the leader's   ends when that caller leaves. A fetch that others may follow doesn't notice
//	the state's    ends when the edge gives the directory up
//	the fetch's    ends with the state's; once the body is the leader's alone, with the leader's instead, since the edge
//	               has no part in it any more
//
//	            ask ──────► decide ──► store ─────────────► over
//	state's     ends the fetch ·······························
//	                          └──────► give to the leader ─► over
//	leader's                           ends the fetch ········
func (f *flight) run() {
	defer f.state.leave()
	defer f.h.transports.release()
	// Last of all, when the entry is there: no request may find neither flight nor entry.
	defer f.state.flights.end(f)

	ctx, cancel := context.WithCancelCause(context.WithoutCancel(f.state.ctx))
	untilClosing := context.AfterFunc(f.state.ctx, func() { cancel(context.Cause(f.state.ctx)) })
	defer untilClosing()
	body := f.ask(ctx)
	if body == nil {
		close(f.head)
		return
	}
	use := f.decide(ctx, body)
	if use == bodyForLeader && body.CameFromElsewhere() {
		// Nobody keeps it, so that nobody would hear of wrong bytes: the leader gets GitLab's.
		_ = body.Close()
		f.shared, f.leader.named = nil, nil
		f.readsShared.Store(false)
		if body = f.ask(ctx); body == nil {
			close(f.head)
			return
		}
		use = f.decide(ctx, body)
	}
	switch use {
	case bodyUnneeded:
		close(f.head)
		_ = body.Close()
	case bodyForAll:
		defer body.Close()
		f.keep(ctx, body)
	case bodyForLeader:
		f.err = errNotStored
		if !untilClosing() { // too late, and the body is cut
			close(f.head)
			_ = body.Close()
			return
		}
		context.AfterFunc(f.leader.ctx, func() { cancel(context.Cause(f.leader.ctx)) })
		f.giveLeader(body)
	}
}

// ask asks GitLab for the file, in the leader's name, and takes in what it says of the leader. Nil means that no body comes, and
// err says why.
func (f *flight) ask(ctx context.Context) *upstream.Download {
	if body := f.takeNamed(ctx); body != nil {
		return body
	}
	begun := time.Now()
	// Others who are alike hear this fetch's answer instead of asking for themselves. Where one of them asks already, both do.
	one, mine := f.state.asks.begin(f.leader.askKey)
	body, err := f.fetch(upstream.WithStanding(ctx, f.leader.standing))
	f.h.metrics.fetched(err, time.Since(begun))
	f.answer = answerOfFetch(body, err)
	f.hear(f.leader.reader, f.answer)
	f.noteFetch(err)
	if mine {
		f.state.asks.end(f.leader.askKey, one, f.answer)
	}
	if f.endIfFailed(body, err) {
		return nil
	}
	return body
}

// fetch asks GitLab for the flight's file, in the leader's name: for all of it, or for what is missing where a beginning is kept.
// GitLab's answer is the leader's either way: it must be a yes, and name the very content of what is kept.
func (f *flight) fetch(ctx context.Context) (*upstream.Download, error) {
	if kept := f.takeBeginning(); kept != nil {
		return f.fetchRemainder(ctx, kept)
	}
	return f.h.client.Fetch(ctx, f.leader.caller, f.ref)
}

// hear takes in what GitLab has said to one of those in whose name the file is fetched.
func (f *flight) hear(who reader, answer upstream.Answer) {
	f.h.hear(f.state, f.store, f.key, who, answer)
}

// endIfFailed ends a flight whose fetch came to nothing before its body: it notes why, and aborts the fill of a remainder. It
// reports whether that was so.
func (f *flight) endIfFailed(body *upstream.Download, err error) bool {
	switch {
	case f.answer.Verdict == upstream.Refused, f.answer.Verdict == upstream.RateLimited:
		f.err = fmt.Errorf("%w: %w", errLeaderRefused, err)
	case f.state.ctx.Err() != nil:
		if err == nil {
			_ = body.Close()
		}
		if f.fill != nil {
			f.fill.Abort(errClosing)
		}
		f.err, f.answer = errNotStored, unanswered(upstream.TroubleEdge, errClosing)
	case err != nil:
		f.err = err
	default:
		return false
	}
	return true
}

// bodyUse is what becomes of a body.
type bodyUse int

const (
	// bodyForLeader: it can't be stored, and is for the leader alone.
	bodyForLeader bodyUse = iota
	// bodyForAll: it is stored, and whoever may read it follows.
	bodyForAll
	// bodyUnneeded: its bytes were here.
	bodyUnneeded
)

// decide takes in what the head of the body says of the file, and decides what becomes of the body.
func (f *flight) decide(ctx context.Context, body *upstream.Download) bodyUse {
	f.noteHead(body)
	f.expectSum(body)
	switch {
	case f.fill != nil: // it goes on from what is kept
		return bodyForAll
	case !body.Storable(), body.Length < 0 && f.state.flights.outgrown.has(f.key, f.state.now()), f.beginStoring(body) != nil:
		return bodyForLeader
	case f.fill == nil:
		return bodyUnneeded
	}
	if !body.CameFromElsewhere() {
		f.takeFromShared(ctx, body)
	}
	return bodyForAll
}

// noteHead takes in what GitLab's answer to the fetch says of the file.
func (f *flight) noteHead(body *upstream.Download) {
	f.sent, f.identity, f.disposition = body.Sent, body.Identity, body.Disposition
	f.lags = f.state.formers.has(f.key, f.identity, f.sent)
	if entry, err := f.store.Lookup(f.key); err == nil && !f.lags && upstream.Compare(identityOf(entry), f.identity) != upstream.Same {
		// Whatever comes of the fetch. This answer itself is none of those that count no more.
		f.store.Doubt(f.key, f.sent.Add(-1), cache.OtherContentNamed)
	}
}

// expectSum notes the SHA-256 that the body must have, where its location has given it before, or else the one that it should
// have.
func (f *flight) expectSum(body *upstream.Download) {
	f.proven, f.expected = cache.Digest{}, cache.Digest{}
	digest, proven := f.state.publishedSums.of(f.key, f.generation, body.Identity.Location)
	switch {
	case proven:
		f.proven = digest
	case !body.HasSum():
		f.expected = digest
	}
}

// beginStoring makes the key an entry of its bytes, where GitLab has named those and they are here, and else begins to store
// the body: the flight has an entry then, or a fill. After an error it has neither.
func (f *flight) beginStoring(body *upstream.Download) (err error) {
	spec := f.specOf(body)
	// The storage's own sums only show damage. That the bytes are here already needs GitLab's word.
	if body.Identity.SHA256 != "" {
		if f.entry, err = f.store.Link(f.key, f.generation, spec); err == nil {
			return nil
		}
	}
	fill, err := f.store.Begin(f.key, f.generation, spec)
	if err != nil {
		f.unstorable = err
		if f.state.isTooLarge(body.Length) {
			f.state.flights.outgrown.note(f.key, f.state.now())
		}
		if !errors.Is(err, cache.ErrNoRoom) && !errors.Is(err, cache.ErrSuperseded) && !errors.Is(err, cache.ErrClosed) {
			f.h.tellTrouble(trouble{what: "a file can't be stored", consequence: "it streams uncached", ref: f.ref, err: err})
		}
		return err
	}
	f.fill = fill
	body.Verified = body.SHA256() != "" // by Commit
	return nil
}

// specOf is what is known of a file when the head of its body has come.
func (f *flight) specOf(body *upstream.Download) cache.FillSpec {
	spec := cache.FillSpec{
		Size: body.Length, Identity: cache.Identity(body.Identity), Disposition: body.Disposition, Confirmed: body.Sent,
		Keeps: f.leader.keeps, Parts: f.h.hasParts(body.Length),
	}
	spec.SHA256, _ = cache.ParseDigest(body.SHA256()) // zero for none
	if spec.SHA256.IsZero() {
		spec.SHA256 = f.proven
	}
	return spec
}

// keep stores a body while whoever may read it follows. Before the first byte it lets those go on who wait for the flight's head;
// where GitLab refuses the leader later on, it goes on in the name of a follower. At the end it notes how the body ended.
func (f *flight) keep(ctx context.Context, body *upstream.Download) {
	// Both are called by this goroutine, which reads the body.
	f.asks = f.leader.reader
	body.OtherCaller = func() (upstream.Caller, bool) {
		other, ok := f.otherCaller()
		if ok {
			f.asks = other
		}
		return other.caller, ok
	}
	body.OnRefused = func(caller upstream.Caller, refused *upstream.RefusedError) {
		f.hear(reader{caller, f.asks.grantKey}, answerOfFetch(nil, refused))
	}
	close(f.head)
	f.noteBody(f.pump(ctx, body))
	if err := f.fill.Err(); errors.Is(err, cache.ErrNoRoom) && !errors.Is(err, cache.ErrNoSpareRoom) {
		f.state.flights.outgrown.note(f.key, f.state.now())
	}
}

// pumpPiece is how much is written to a fill at once.
const pumpPiece = 256 << 10

var pumpBuffers = sync.Pool{New: func() any { return new([pumpPiece]byte) }}

// pump moves the body into the fill, compares its sum, and commits the fill; or else it ends the fill, keeps what has arrived as
// the file's beginning where that is worth it, tells why, and returns it. Followers aren't in its way: they read from the fill at
// their own pace.
func (f *flight) pump(ctx context.Context, body *upstream.Download) error {
	buffer := pumpBuffers.Get().(*[pumpPiece]byte)
	defer pumpBuffers.Put(buffer)
	err := f.move(ctx, body, buffer[:])
	if errors.Is(err, upstream.ErrChecksum) {
		err = fmt.Errorf("%w: %w", cache.ErrChecksum, err)
	}
	if err == nil && !f.expected.IsZero() {
		err = f.compareWithUpload(ctx, f.fill.Sum())
	}
	if err == nil {
		err = f.compareShared(body)
	}
	compared := err == nil
	if compared {
		f.noteShared(body)
		_, err = f.fill.Commit(f.generation)
	}
	if errors.Is(err, cache.ErrChecksum) {
		f.noteWrong(body, f.fill.Sum(), err)
	}
	if !compared && body.CameFromElsewhere() {
		f.breakUncompared()
	}
	kept := f.endFill(body, err)
	f.h.metrics.resumes.Add(float64(body.Resumed))
	switch {
	case err == nil:
	case errors.Is(err, cache.ErrFillsEnded):
		f.h.logger.Info("the edge stops while a file is fetched; it isn't kept, and who downloads it goes on from GitLab, where its rest can be asked for",
			zap.Stringer("ref", f.ref))
	case errors.Is(err, cache.ErrSuperseded):
		f.h.logger.Debug("a file was published over while it was fetched; it isn't kept", zap.Stringer("ref", f.ref))
	case errors.Is(err, cache.ErrNoRoom):
		f.h.logger.Debug("a file of unknown length doesn't fit; it streams uncached", zap.Stringer("ref", f.ref))
	case errors.Is(err, cache.ErrDisk):
		f.h.tellTrouble(trouble{what: "a file can't be stored to its end", consequence: "its downloads go on from GitLab", ref: f.ref, err: err})
	default:
		f.h.tellTrouble(trouble{what: "a fetch broke off for good", consequence: "its downloads break off", ref: f.ref, err: err, further: []zap.Field{
			zap.Int64("bytes", f.fill.Written()), zap.Bool("next_goes_on_from_there", kept), zap.Int("resumed", body.Resumed),
		}})
	}
	return err
}

// move moves the body into the fill: by several connections where that may be worth it.
func (f *flight) move(ctx context.Context, body *upstream.Download, buffer []byte) error {
	if a := f.assemblyOf(body); a != nil {
		return a.run(ctx, buffer)
	}
	f.fill.EndParts() // so that the kernel sends what has come
	_, err := io.CopyBuffer(struct{ io.Writer }{f.fill}, &countedReader{Reader: body, read: func(n int64) {
		f.received(n)
		f.readsShared.Store(body.IsElsewheres())
	}}, buffer)
	return err
}

// received counts bytes of the body.
func (f *flight) received(n int64) {
	f.h.metrics.received(n)
	if f.leader.keeps != nil && n > 0 {
		f.h.metrics.warmedBytes.Add(float64(n))
	}
}

// giveLeader publishes the flight's end and hands the leader the body that is theirs alone, and waits until they are done with
// it or the edge closes. They may be reading it then, so it is theirs to close. What nobody takes, since the leader has left
// or the edge closes, is closed here.
func (f *flight) giveLeader(body *upstream.Download) {
	leader, closing := f.leader.ctx, f.state.ctx
	close(f.head)
	select {
	case f.handover <- body:
		select {
		case <-f.taken:
		case <-closing.Done():
		}
		return
	case <-leader.Done():
	case <-closing.Done():
	}
	_ = body.Close()
}
