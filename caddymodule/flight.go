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

// flight is one fetch of one file for everybody who wants it: from the request to GitLab until the bytes are stored.
// It runs on the state's context, in the name of the caller who leads it, and goes on when that caller leaves. Only what
// is for the leader alone runs on the leader's.
type flight struct {
	key        cache.Key
	generation cache.Generation

	// head is closed when GitLab's answer to the fetch is known. The fields up to err are set before and fixed after.
	head chan struct{}
	// sent is when the fetch was sent; grants and confirmations date from then.
	sent        time.Time
	identity    upstream.Identity
	disposition string
	// fill is the file on its way in; nil if its content was here already, and entry is what the key has now.
	fill *cache.Fill
	// kept is how much of it was here already, from a fetch that broke off.
	kept  int64
	entry cache.Entry
	// err says why there is nothing to follow: errLeaderRefused, errNotStored, or an *upstream.UnreachableError.
	err error
	// answer is what GitLab said to the leader, for the leader alone and for who is alike.
	answer upstream.Answer
	// access is the way on which GitLab was asked: its failure says nothing about others'.
	access access
	// standing is what GitLab was known to think of the leader when the fetch was sent: what a stranger's request meets may be
	// about the stranger alone.
	standing upstream.Standing
	// lags says that the content is what was current before a publish a few seconds ago: it is for those to whom GitLab itself
	// names it, and for nobody else.
	lags bool

	// handover gives the leader a body that can't be stored, which is for nobody else. Who has received it closes it, and then
	// done.
	handover chan *upstream.Download
	done     chan struct{}

	// proven is the SHA-256 that the body must have, since its location has given it before, and judge looks at that of a body
	// of which one is only expected (published_sums.go). Both are of the goroutine that fetches; zero and nil for none.
	proven cache.Digest
	judge  *uploadJudge

	// mu guards all below.
	mu sync.Mutex
	// farBytes is how much was asked of GitLab for ranges far ahead of the fill.
	farBytes int64
	// followers are callers who were allowed this content and still wait for it; the fetch can go on in their name.
	followers map[*exchange]follower
	// turn is what the fetch takes of its leader's turns; nil if nobody counts.
	turn *turn
}

// follower is a caller with the key of the grant by which they follow.
type follower struct {
	caller upstream.Caller
	grant  upstream.GrantKey
}

var (
	errLeaderRefused = errors.New("GitLab refused the caller who led the fetch")
	errNotStored     = errors.New("the file can't be stored")
	errClosing       = errors.New("the edge is closing")
)

// waitHead waits for GitLab's answer to the fetch. False means that ctx ended first.
func (f *flight) waitHead(ctx context.Context) bool {
	select {
	case <-f.head:
		return true
	case <-ctx.Done():
		return false
	}
}

// awaitHead is waitHead for a caller, whose waiting is told.
func (d *download) awaitHead(fl *flight) bool {
	defer d.record.waited(time.Now())
	return fl.waitHead(d.r.Context())
}

func (f *flight) isHeaded() bool {
	select {
	case <-f.head:
		return true
	default:
		return false
	}
}

// hasBroken reports whether the file came to nothing after all: whoever comes now must not follow it to its early end.
func (f *flight) hasBroken() bool { return f.isHeaded() && f.fill != nil && f.fill.Err() != nil }

// join notes a caller who follows, and returns the function to take that back.
func (f *flight) join(x *exchange) (leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == nil {
		f.followers = make(map[*exchange]follower)
	}
	f.followers[x] = follower{x.caller(), x.grantKey()}
	f.turn.release()
	x.h.metrics.followers.Inc()
	return func() {
		x.h.metrics.followers.Dec()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.followers, x)
	}
}

// otherCaller takes a caller in whose name the fetch can go on. Each is tried once.
func (f *flight) otherCaller() (follower, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for x, other := range f.followers {
		delete(f.followers, x)
		return other, true
	}
	return follower{}, false
}

// affords reports whether GitLab is to be asked for a range far ahead of the fill by itself: the first one always, be it
// the rest of a download that was broken off, and further ones while all together are no more than extra bytes. A
// downloader that asks for many segments at once would else cost GitLab a second body.
func (f *flight) affords(length, extra int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.farBytes > 0 && (f.farBytes > extra || length > extra-f.farBytes) {
		return false
	}
	f.farBytes += max(length, 1)
	return true
}

// flights are the running flights, the newest of each key.
type flights struct {
	// mu guards byKey; nothing is waited for under it.
	mu    sync.Mutex
	byKey map[cache.Key]*flight

	outgrown outgrown
}

// running returns the key's flight if it belongs to the generation, hasn't broken, and isn't the one that is ruled out.
func (f *flights) running(key cache.Key, generation cache.Generation, ruledOut *flight) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.runningLocked(key, generation, ruledOut)
}

func (f *flights) runningLocked(key cache.Key, generation cache.Generation, ruledOut *flight) *flight {
	if fl := f.byKey[key]; fl != nil && fl != ruledOut && fl.generation == generation && !fl.hasBroken() {
		return fl
	}
	return nil
}

// begin makes a new flight, unless one is running that the caller hasn't ruled out, or one of a newer generation: a
// publish has come in since the caller looked, and who looks again must find what it began.
func (f *flights) begin(key cache.Key, generation cache.Generation, ruledOut *flight) (fl *flight, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.runningLocked(key, generation, ruledOut) != nil {
		return nil, false
	}
	if newest := f.byKey[key]; newest != nil && generation.Precedes(newest.generation) {
		return nil, false
	}
	if f.byKey == nil {
		f.byKey = make(map[cache.Key]*flight)
	}
	fl = &flight{
		key: key, generation: generation,
		head: make(chan struct{}), handover: make(chan *upstream.Download), done: make(chan struct{}),
	}
	f.byKey[key] = fl
	return fl, true
}

func (f *flights) end(fl *flight) {
	fl.endTurn()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byKey[fl.key] == fl {
		delete(f.byKey, fl.key)
	}
}

// turnAway ends a flight that doesn't begin, and lets those go who wait for its head already.
func (f *flights) turnAway(fl *flight) {
	fl.err = errNotStored
	close(fl.head)
	f.end(fl)
}

// leadNow fetches the file in this caller's name, for everybody. The turn, nil for none, ends with the flight.
func (d *download) leadNow(turn *turn) bool {
	fl, ok := d.state.flights.begin(d.key, d.generation, d.ruledOut)
	if !ok {
		turn.release()
		return false // somebody else was faster; the next attempt looks at their flight
	}
	fl.count(turn)
	// Looked at now, when the last fetch has been noted and no other can begin.
	if resting := d.state.rests.of(d.restKey(), d.state.now()); resting != nil {
		fl.access, fl.err = d.h.access, resting
		close(fl.head)
		d.state.flights.end(fl)
		return d.refuseUnreachable(resting)
	}
	if !d.state.enter() {
		d.state.flights.turnAway(fl)
		return d.forward(outcomeForwarded, fwdBypass) // the edge closes
	}
	d.h.transports.hold()
	// Ends when the body has ended, or with the state's context.
	go d.h.fly(fl, d.state, d.store, d.ref, leader{d.caller(), d.grantKey(), d.askKey(), d.reader(), d.r.Context()})

	if !d.awaitHead(fl) {
		return d.abandon()
	}
	switch fl.answer.Verdict {
	case upstream.Allowed:
	case upstream.Refused, upstream.RateLimited:
		return d.relayRefused(fl.answer.No)
	case upstream.Unreachable:
		if errors.Is(fl.err, errNotStored) {
			return d.forward(outcomeForwarded, fwdBypass) // the edge closes
		}
		return d.refuseUnreachable(fl.answer.Err)
	}
	if fl.err == nil {
		return d.follow(fl, outcomeMiss)
	}
	select {
	case body := <-fl.handover:
		defer close(fl.done)
		defer body.Close()
		if !asksForWhole(d.r.Header) {
			// A part, or a condition: GitLab's to judge of a body that isn't kept.
			_ = body.Close()
			return d.forward(outcomeForwarded, fwdBypass)
		}
		return d.stream(body)
	case <-d.r.Context().Done():
		return d.abandon()
	case <-d.state.ctx.Done():
		// The edge closes, and nobody gives anything any more. Caddy's server still answers who is here.
		return d.forward(outcomeForwarded, fwdBypass)
	}
}

// leader is the caller in whose name a flight begins.
type leader struct {
	caller upstream.Caller
	grant  upstream.GrantKey
	// question is what others are alike in.
	question askKey
	standing upstream.Standing
	// ctx is the caller's own.
	ctx context.Context
}

// reader is what GitLab is known to think of the caller, who is about to lead a fetch.
func (d *download) reader() upstream.Standing {
	if d.isGranted(upstream.UseFresh) || (d.answer != nil && d.answer.Verdict == upstream.Allowed && !d.answer.Unproven) {
		return upstream.Trusted
	}
	return upstream.Stranger
}

// fly runs a flight to its end.
func (h *Handler) fly(fl *flight, state *state, store *cache.Store, ref upstream.Ref, leader leader) {
	defer state.leave()
	defer h.transports.release()
	// Last of all, when the entry is there: no request may find neither flight nor entry.
	defer state.flights.end(fl)

	fl.access, fl.standing = h.access, leader.standing
	begun := time.Now()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(state.ctx))
	untilClosing := context.AfterFunc(state.ctx, func() { cancel(context.Cause(state.ctx)) })
	defer untilClosing()
	// Others who are alike hear this fetch's answer instead of asking for themselves. Where one of them asks already, both do.
	question, mine := state.asks.begin(leader.question)
	body, err := h.fetch(upstream.WithStanding(ctx, leader.standing), fl, state, store, leader.caller, ref)
	h.metrics.fetched(err, time.Since(begun))
	fl.answer = answerOfFetch(body, err)
	h.hear(state, store, leader.grant, fl.key, leader.caller, fl.answer)
	h.noteFetch(state, fl.key, leader, err)
	if mine {
		state.asks.end(leader.question, question, fl.answer)
	}
	if fl.hasFailed(state, body, err) {
		close(fl.head)
		return
	}
	h.noteHead(fl, state, store, body)
	if expected := fl.expectSum(state, body); !expected.IsZero() && !body.HasSum() {
		fl.judge = &uploadJudge{h, state, store, leader, ref, expected}
	}
	// The body is handed to the leader, whose it is alone: it ends with them, and not with the edge, of which it needs nothing
	// more.
	give := func() {
		fl.err = errNotStored
		if !untilClosing() { // too late, and the body is cut
			close(fl.head)
			_ = body.Close()
			return
		}
		context.AfterFunc(leader.ctx, func() { cancel(context.Cause(leader.ctx)) })
		fl.giveLeader(body, leader.ctx, state.ctx)
	}
	if fl.fill == nil && (!body.Storable() || (body.Length < 0 && state.flights.outgrown.has(fl.key, state.now())) ||
		h.beginStoring(fl, store, body, ref) != nil) {
		give()
		return
	}
	defer body.Close()
	if fl.fill == nil {
		close(fl.head) // its bytes were here
		return
	}
	// Both are called by this goroutine, which reads the body.
	grant := leader.grant
	body.OtherCaller = func() (upstream.Caller, bool) {
		other, ok := fl.otherCaller()
		if ok {
			grant = other.grant
		}
		return other.caller, ok
	}
	body.OnRefused = func(caller upstream.Caller, refused *upstream.RefusedError) {
		h.hear(state, store, grant, fl.key, caller, answerOfFetch(nil, refused))
	}
	close(fl.head)
	h.noteBody(state, fl.key, leader.grant, h.pump(ctx, fl, body, ref))
	if errors.Is(fl.fill.Err(), cache.ErrNoRoom) {
		state.flights.outgrown.note(fl.key, state.now())
	}
}

// hasFailed reports whether a fetch came to nothing before its body, and notes why.
func (f *flight) hasFailed(s *state, body *upstream.Download, err error) bool {
	switch {
	case f.answer.Verdict == upstream.Refused, f.answer.Verdict == upstream.RateLimited:
		f.err = fmt.Errorf("%w: %w", errLeaderRefused, err)
	case s.ctx.Err() != nil:
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

// noteHead takes in what GitLab's answer to the fetch says of the file.
func (h *Handler) noteHead(fl *flight, state *state, store *cache.Store, body *upstream.Download) {
	fl.sent, fl.identity, fl.disposition = body.Sent, body.Identity, body.Disposition
	fl.lags = state.formers.has(fl.key, fl.identity, fl.sent)
	if entry, err := store.Lookup(fl.key); err == nil && !fl.lags && upstream.Compare(identityOf(entry), fl.identity) != upstream.Same {
		// Whatever comes of the fetch. This answer itself is none of those that count no more.
		store.Doubt(fl.key, fl.sent.Add(-1), cache.OtherContentNamed)
	}
}

// expectSum notes the SHA-256 that the body must have, where its location has given it before, and returns the one that it
// should have; zero for none.
func (f *flight) expectSum(s *state, body *upstream.Download) (expected cache.Digest) {
	f.proven = cache.Digest{}
	expected, proven := s.publishedSums.of(f.key, f.generation, body.Identity.Location)
	if proven {
		f.proven = expected
		return cache.Digest{}
	}
	return expected
}

// beginStoring makes the key an entry of its bytes, where GitLab has named those and they are here, and else begins to store
// the body: the flight has an entry then, or a fill. After an error it has neither.
func (h *Handler) beginStoring(fl *flight, store *cache.Store, body *upstream.Download, ref upstream.Ref) (err error) {
	spec := fl.specOf(body)
	// The storage's own sums only show damage. That the bytes are here already needs GitLab's word.
	if body.Identity.SHA256 != "" {
		if fl.entry, err = store.Link(fl.key, fl.generation, spec); err == nil {
			return nil
		}
	}
	fill, err := store.Begin(fl.key, fl.generation, spec)
	if err != nil {
		if !errors.Is(err, cache.ErrNoRoom) && !errors.Is(err, cache.ErrSuperseded) && !errors.Is(err, cache.ErrClosed) {
			processFailures.note(clock(), "beginning to store a file failed", ref, err)
			h.logger.Error("beginning to store a file failed; it streams uncached", zap.Stringer("ref", ref), zap.Error(err))
		}
		return err
	}
	fl.fill = fill
	body.Verified = body.SHA256() != "" // by Commit
	return nil
}

// specOf is what is known of a file when the head of its body has come.
func (f *flight) specOf(body *upstream.Download) cache.FillSpec {
	spec := cache.FillSpec{
		Size: body.Length, Identity: cache.Identity(body.Identity), Disposition: body.Disposition, Confirmed: body.Sent,
	}
	spec.SHA256, _ = cache.ParseDigest(body.SHA256()) // zero for none
	if spec.SHA256.IsZero() {
		spec.SHA256 = f.proven
	}
	return spec
}

// giveLeader publishes the flight's end and hands the leader the body that is theirs alone, and waits until they are done with
// it or the edge closes. They may be reading it then, so it is theirs to close. What nobody takes, since the leader has left
// or the edge closes, is closed here.
func (f *flight) giveLeader(body *upstream.Download, leader, closing context.Context) {
	close(f.head)
	select {
	case f.handover <- body:
		select {
		case <-f.done:
		case <-closing.Done():
		}
		return
	case <-leader.Done():
	case <-closing.Done():
	}
	_ = body.Close()
}

// pumpPiece is how much is written to a fill at once.
const pumpPiece = 256 << 10

var pumpBuffers = sync.Pool{New: func() any { return new([pumpPiece]byte) }}

// pump moves the body into the fill, and returns why that came to nothing. Followers aren't in its way: they read from the
// fill at their own pace.
func (h *Handler) pump(ctx context.Context, fl *flight, body *upstream.Download, ref upstream.Ref) error {
	buffer := pumpBuffers.Get().(*[pumpPiece]byte)
	defer pumpBuffers.Put(buffer)
	_, err := io.CopyBuffer(struct{ io.Writer }{fl.fill}, &countedReader{Reader: body, read: h.metrics.received}, buffer[:])
	if errors.Is(err, upstream.ErrChecksum) {
		err = fmt.Errorf("%w: %w", cache.ErrChecksum, err)
	}
	if err == nil && fl.judge != nil {
		err = fl.judge.judge(ctx, fl, fl.fill.Sum())
	}
	if err == nil {
		_, err = fl.fill.Commit(fl.generation)
	}
	kept := fl.endFill(body, err)
	h.metrics.resumes.Add(float64(body.Resumed))
	switch {
	case err == nil:
	case errors.Is(err, cache.ErrFillsEnded):
		h.logger.Info("the edge stops while a file is fetched; it isn't kept, and who downloads it goes on from GitLab, where its rest can be asked for",
			zap.Stringer("ref", ref))
	case errors.Is(err, cache.ErrSuperseded):
		h.logger.Debug("a file was published over while it was fetched; it isn't kept", zap.Stringer("ref", ref))
	case errors.Is(err, cache.ErrNoRoom):
		h.logger.Debug("a file of unknown length doesn't fit; it streams uncached", zap.Stringer("ref", ref))
	case errors.Is(err, cache.ErrDisk):
		processFailures.note(clock(), "storing a file failed", ref, err)
		h.logger.Error("storing a file failed; its downloads go on from GitLab", zap.Stringer("ref", ref), zap.Error(err))
	default:
		processFailures.note(clock(), "fetching a file failed", ref, err)
		h.logger.Error("fetching a file failed; its downloads break off", zap.Stringer("ref", ref), zap.Int64("bytes", fl.fill.Written()),
			zap.Bool("next_goes_on_from_there", kept), zap.Int("resumed", body.Resumed), zap.Error(err))
	}
	return err
}
