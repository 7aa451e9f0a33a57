package caddymodule

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

const (
	// gitLabParts is of how many parts a file consists at most that GitLab itself sends.
	gitLabParts = 16
	// partWindow is how many parts for each connection may be ahead of what has arrived without a gap.
	partWindow = 2
	// firstLook is how long the first answer alone shows how fast its line is.
	firstLook = 100 * time.Millisecond
)

// assembly brings one file by several connections. The first answer runs on until it meets a part that has arrived, at least its first
// byte; parts are asked for in order, a window ahead, and lie in the fill's file until what is in front of them has come. Whatever goes
// wrong with a part, the file goes on by one connection from where it is, as it would without parts: the first answer's, as long as no
// part has taken its place.
//
// All of it is of the goroutine that fetches, but for what a part's own goroutine is given.
type assembly struct {
	f      *flight
	body   *upstream.Download
	source partSource
	server *partServer
	policy partPolicy
	step   int64

	// next is where the next part would begin; 0 before the first. over says that there won't be more parts.
	next int64
	over bool
	// bodyOpen says that the body itself has a connection, as the server knows.
	bodyOpen bool
	// begun is when the first byte was waited for, at from.
	begun time.Time
	from  int64

	parts []*part
	// ended receives each part once; it has room for all that are under way.
	ended   chan *part
	working sync.WaitGroup

	// mu guards wake, which ends the present wait for what parts bring: parts call it.
	mu   sync.Mutex
	wake context.CancelFunc
}

// part is a part of the file, which one goroutine brings.
type part struct {
	from, until int64
	ahead       *cache.Ahead
	cancel      context.CancelCauseFunc
	// asks is in whose name it is asked for, and begun since when.
	asks  reader
	begun time.Time
	// err is why it ended, and done says that the assembly has taken it in.
	err  error
	done bool
}

// partSource is where parts come from: "from byte N up to byte M of this content".
type partSource interface {
	// Part returns the bytes of the content from one up to another, which aren't asked for before the first Read.
	Part(ctx context.Context, from, until int64) io.ReadCloser
}

// errNoGain says that a further connection brought nothing, errNothingCame that a part didn't either while it was waited for, and
// errPartStopped that nobody waits for a part any more.
var (
	errNoGain      = errors.New("a further connection has made nothing faster")
	errNothingCame = errors.New("nothing of it came in time")
	errPartStopped = errors.New("the fetch is over")
)

// assemblyOf returns how a body is brought by several connections; nil for one connection.
func (f *flight) assemblyOf(body *upstream.Download) *assembly {
	if !f.h.hasParts(body.Length) || !f.fill.MayHaveParts() {
		return nil
	}
	a := &assembly{f: f, body: body, begun: time.Now(), from: f.fill.Written(), ended: make(chan *part, f.h.fetchConnections)}
	switch {
	case f.shared != nil:
		a.source, a.step = sharedParts{f.h.shared, f.shared.content}, f.h.process.storagePart
		a.server, a.policy = f.h.process.partServers.of(f.h.shared.Endpoint()), partsHelp
	case !body.HasParts():
		return nil
	case body.FromStorage():
		a.source, a.step = downloadParts{body}, f.h.process.storagePart
		a.server, a.policy = f.h.process.partServers.of(body.Server()), partsHelp
	default:
		a.source, a.step = downloadParts{body}, max(f.h.process.gitLabPart, (body.Length+gitLabParts-1)/gitLabParts)
		a.server, a.policy = f.h.process.partServers.of(body.Server()), partsMustHelp
	}
	return a
}

// hasParts reports whether files of that size may be brought by several connections.
func (h *Handler) hasParts(size int64) bool {
	return h.fetchConnections > 1 && size >= h.fetchParallelFrom
}

// run brings the file into the fill.
func (a *assembly) run(ctx context.Context, buffer []byte) error {
	a.f.fill.OnTaken(a.takenIn)
	a.bodyOpen = true
	a.f.connections.Store(1)
	a.server.enter(a)
	defer a.server.leave(a)
	partsCtx, cancel := context.WithCancelCause(ctx)
	// Nobody writes to the fill when this returns.
	defer a.await()
	defer cancel(errPartStopped)
	for {
		if err := a.takeEnded(); err != nil {
			return err
		}
		at := a.f.fill.Written()
		advanced, err := a.f.fill.Advance()
		switch {
		case err != nil:
			return err
		case advanced:
			continue
		}
		if at == a.body.Length {
			return nil
		}
		a.parts = slices.DeleteFunc(a.parts, func(p *part) bool { return p.done && p.until <= at }) // is taken in
		a.noteBody(a.body.IsOpen())
		a.spread(partsCtx, at)
		if p := a.partAt(at); p != nil {
			err = a.wait(ctx, p)
		} else {
			a.noteBody(true)
			err = a.readOn(buffer[:min(int64(len(buffer)), a.limit(at)-at)])
		}
		if err != nil {
			return err
		}
	}
}

// takenIn tells the body of bytes of parts that are taken in. Bytes that a connection brought which was given up since are passed over by
// the body, if that is open: it comes to the bytes behind them without asking anew.
func (a *assembly) takenIn(piece []byte) error {
	if p := a.partAt(a.f.fill.Written()); a.body.IsOpen() && p != nil && p.done && errors.Is(p.err, errNoGain) && a.partAt(p.until) == nil {
		return a.body.PassOver(piece)
	}
	return a.body.TakeIn(piece)
}

// noteBody notes whether the body itself has a connection.
func (a *assembly) noteBody(open bool) {
	if open == a.bodyOpen {
		return
	}
	a.bodyOpen = open
	a.server.noteBody(a, open)
	if open {
		a.f.connections.Add(1)
	} else {
		a.f.connections.Add(-1)
	}
}

// readOn moves on by the body itself.
func (a *assembly) readOn(buffer []byte) error {
	n, err := a.body.Read(buffer)
	a.received(int64(n))
	a.f.readsShared.Store(a.body.IsElsewheres())
	if n > 0 {
		if _, err := a.f.fill.Write(buffer[:n]); err != nil {
			return err
		}
	}
	if errors.Is(err, io.EOF) {
		return nil // at the file's end, where run ends
	}
	return err
}

// wait waits for what a part brings that brings the next byte, or for the end of any part. A part of which nothing has come for long
// enough is ended: the first answer's body, which is still open then, goes on in its place.
func (a *assembly) wait(ctx context.Context, p *part) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	if p.ahead.Written() == p.from {
		late := time.AfterFunc(time.Until(p.begun.Add(a.f.h.process.partPatience)), func() {
			if p.ahead.Written() == p.from {
				p.cancel(errNothingCame)
			}
		})
		defer late.Stop()
	}
	a.mu.Lock()
	a.wake = cancel
	a.mu.Unlock()
	if len(a.ended) > 0 { // since the last look, and whoever ends from now on wakes
		return nil
	}
	err := a.f.fill.AwaitAhead(waiting)
	switch {
	case errors.Is(err, cache.ErrGap): // the part has ended, and is just about to tell
		return a.takeIn(<-a.ended)
	case ctx.Err() == nil && waiting.Err() != nil:
		return nil // woken
	}
	return err
}

// partAt returns the part that brings the byte there; nil for none.
func (a *assembly) partAt(at int64) *part {
	for _, p := range a.parts {
		if p.from <= at && at < p.until {
			return p
		}
	}
	return nil
}

// limit is up to where the body itself may bring bytes: the beginning of the first part that lies ahead.
func (a *assembly) limit(at int64) int64 {
	limit := a.body.Length
	for _, p := range a.parts {
		if p.from > at {
			limit = min(limit, p.from)
		}
	}
	return limit
}

// spread begins further parts, as far as that is worth it and allowed.
func (a *assembly) spread(ctx context.Context, at int64) {
	size := a.body.Length
	if a.over || !a.isSlow(at) {
		return
	}
	switch {
	case a.next > at:
	case a.body.IsOpen():
		a.next = (at/a.step + 1) * a.step
	default: // nothing brings the bytes there
		a.next = at
	}
	for a.next < min(size, at+int64(partWindow*a.f.h.fetchConnections)*a.step) {
		if a.connections() >= a.f.h.fetchConnections {
			return
		}
		taken, tried := a.server.take(a, a.f.h.fetchConnectionsTotal)
		if !taken {
			return
		}
		until := min((a.next/a.step+1)*a.step, size)
		p := a.begin(ctx, a.next, until)
		switch {
		case p == nil:
			if tried {
				a.server.unwatched()
			}
			a.server.giveBack(a)
			a.endParts()
			return
		case tried:
			a.server.watch(p)
		}
		a.next = until
	}
}

// isSlow reports whether the line has shown that further connections may be worth it.
func (a *assembly) isSlow(at int64) bool {
	return a.next > 0 || willTakeLong(time.Since(a.begun), at-a.from, a.body.Length-at, a.f.h.process.soonOver)
}

// willTakeLong reports whether what is left of a file takes longer than that, by what has come in some time: what will be here soon is
// left alone.
func willTakeLong(took time.Duration, came, left int64, soonOver time.Duration) bool {
	return took >= firstLook && float64(left)*took.Seconds() > float64(came)*soonOver.Seconds()
}

// connections is how many connections bring the file now.
func (a *assembly) connections() (count int) {
	if a.body.IsOpen() {
		count++
	}
	for _, p := range a.parts {
		if !p.done {
			count++
		}
	}
	return count
}

// begin begins a part; nil where the fill takes none any more.
func (a *assembly) begin(ctx context.Context, from, until int64) *part {
	ahead, err := a.f.fill.Ahead(from, until)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	p := &part{from: from, until: until, ahead: ahead, cancel: cancel, asks: a.f.asks, begun: time.Now()}
	a.parts = append(a.parts, p)
	body := a.source.Part(ctx, from, until)
	a.f.connections.Add(1)
	a.f.h.metrics.partConnections.Inc()
	// Ends with the part, or with ctx.
	a.working.Go(func() {
		err := a.bring(p, body)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		cancel(nil)
		a.f.connections.Add(-1)
		a.f.h.metrics.partConnections.Dec()
		a.tell(p, err)
	})
	return p
}

// bring moves a part into the fill.
func (a *assembly) bring(p *part, body io.ReadCloser) error {
	defer p.ahead.Close()
	defer func() {
		if resumed, ok := body.(*upstream.Download); ok {
			a.f.h.metrics.resumes.Add(float64(resumed.Resumed))
		}
		_ = body.Close()
	}()
	buffer := pumpBuffers.Get().(*[pumpPiece]byte)
	defer pumpBuffers.Put(buffer)
	_, err := io.CopyBuffer(struct{ io.Writer }{p.ahead}, &countedReader{Reader: body, read: a.received}, buffer[:])
	if err == nil && p.ahead.Written() < p.until {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// received counts bytes that came. Parts call it, too.
func (a *assembly) received(n int64) {
	a.f.received(n)
	a.server.received.Add(n)
}

// tell tells the assembly that a part has ended.
func (a *assembly) tell(p *part, err error) {
	p.err = err
	a.ended <- p
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wake != nil {
		a.wake()
	}
}

// await waits until all parts have ended.
func (a *assembly) await() {
	left := 0
	for _, p := range a.parts {
		if !p.done {
			left++
		}
	}
	for range left {
		_ = a.takeIn(<-a.ended) // the assembly is over, whatever it says
	}
	a.working.Wait()
}

// takeEnded takes in the parts that have ended.
func (a *assembly) takeEnded() error {
	for {
		select {
		case p := <-a.ended:
			if err := a.takeIn(p); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// takeIn takes in how a part has ended. What has arrived of it stays; the rest is the body's own.
func (a *assembly) takeIn(p *part) error {
	p.done = true
	p.until = min(p.until, p.ahead.Written())
	a.server.giveBack(a)
	result := partResultOf(p.err)
	a.f.h.metrics.parts[result].Inc()
	if counter := a.f.h.metrics.partFallbacks[result]; counter != nil {
		counter.Inc()
	}
	switch result {
	case partArrived, partNoGain:
		return nil
	case partChanged:
		return p.err
	case partWhole, partLimited:
		a.server.rest(p.err)
	case partFailed:
		refused, ok := errors.AsType[*upstream.RefusedError](p.err)
		switch {
		case !ok:
			a.server.rest(p.err)
		case p.asks.grantKey == a.f.asks.grantKey:
			a.body.HandOver(refused)
		default: // the body is another caller's by now
			a.f.hear(p.asks, answerOfFetch(nil, refused))
		}
	case partStopped:
	}
	a.endParts()
	return nil
}

// endParts has the rest come by one connection.
func (a *assembly) endParts() {
	a.over = true
	a.f.fill.EndParts()
}

// downloadParts are the parts of a download, of GitLab's or its storage's.
type downloadParts struct{ body *upstream.Download }

func (d downloadParts) Part(ctx context.Context, from, until int64) io.ReadCloser {
	return d.body.Part(ctx, from, until)
}
