package upstream

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// breaker keeps a server that is down from costing each caller a time-out. It opens and closes by what the edge itself has
// seen, never by a caller's body or connection:
//
//   - Two failures in a row of the edge's own checks or fetches, whatever the file, or one that is silent for
//     suspiciousSilence, start the probe (probe.go): a request of the edge's own about nothing, without a credential.
//   - The breaker opens if the probe fails too. The probe is believed only where it has been answered once.
//   - While it is open nobody is asked. After each pause the probe is sent again, and one of the edge's own checks or fetches
//     may go, on the edge's own context. Either is enough to close the breaker. Each time that both fail the pause doubles.
//
// Who may do what to it stands in docs/who-may-change-what.md.
type breaker struct {
	name       string
	pause      time.Duration
	onChange   func(server string, up bool)
	background func(run func(context.Context)) bool

	// mu guards all below; nothing is waited for under it.
	mu sync.Mutex
	// probe is how the server is probed, by the client that asked it last; nil before.
	probe func(context.Context) error
	// retired says that the breaker never opens any more, and nothing is probed.
	retired bool
	// failures counts the edge's own requests that failed, since the last one that was answered.
	failures int
	// believed turns true when the probe is answered for the first time; probing is true while one is on its way.
	believed, probing bool
	// suspect says that the probe decides whether the breaker opens.
	suspect bool
	// noProbeBefore spares a server from being probed for each bad file, or for each answer where its probe fails; delayed says that a probe
	// waits for that time.
	noProbeBefore time.Time
	delayed       bool
	// open says that nobody is asked, openSince since when, and untilTry when the next try is due.
	open                bool
	openSince, untilTry time.Time
	// trial says that one of the edge's own requests may go although the breaker is open. It means nothing while it isn't.
	trial bool
	// present is the present pause, closed when the breaker last closed, and ended is closed with it.
	present time.Duration
	// opened is closed while the breaker is open.
	opened chan struct{}
	closed time.Time
	ended  chan struct{}
	// heard is the last answer, to whomever. No breaker goes by it.
	heard Heard
}

// DefaultBreakerPause is how long a server that is down isn't asked, at first.
const DefaultBreakerPause = 5 * time.Second

const (
	// maxBreakerPause is what the pause grows to.
	maxBreakerPause = time.Minute
	// suspiciousFailures in a row start the probe.
	suspiciousFailures = 2
	// suspiciousSilence of one request starts it.
	suspiciousSilence = 3 * time.Second
	// betweenProbes is the least time between two probes of a server that isn't down; with a short pause a fifth of that.
	betweenProbes = time.Second
)

// evidence is what one of the edge's own checks or fetches has shown of the server it was sent to.
type evidence int

const (
	// showsNothing: the caller left, the request was more than the line takes, or an error of the server's that may be about
	// one file alone.
	showsNothing evidence = iota
	// showsLife: an answer below 500.
	showsLife
	// showsTrouble: no answer, or that of something in front of a server that doesn't work.
	showsTrouble
)

// evidenceOf is what the end of a request shows.
func evidenceOf(ctx context.Context, response *http.Response, err error) evidence {
	switch {
	case err == nil:
		return evidenceOfStatus(response.StatusCode)
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errHeaderTimeout):
		return showsNothing // the caller left
	case isTooMuchForTheLine(err):
		return showsNothing
	}
	return showsTrouble
}

// evidenceOfStatus takes 502, 503 and 504 for a server that is down, whatever stands in front of it, and 520 and more
// (content delivery networks). A 500 can be about one file alone; it must not end the others' downloads. What a front says
// of the request's own head, such as that a cookie is too long, it says whether the server behind it lives or not, and
// callers can have it say so as often as they like.
func evidenceOfStatus(status int) evidence {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		return showsNothing
	}
	switch {
	case status < http.StatusInternalServerError:
		return showsLife
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout, status >= 520:
		return showsTrouble
	}
	return showsNothing
}

// ErrNotAsked is the cause of an UnreachableError for which nobody was asked, since the server doesn't answer.
var ErrNotAsked = errors.New("it doesn't answer and isn't asked for some seconds")

// admit asks whether one of the edge's own checks or fetches may be sent. Who gets a yes must call the returned function
// once with what came of it; probe is how the server can be probed. trying says that the request shows whether the server
// is back, so that it is not to be waited for longer than a check.
func (b *breaker) admit(probe func(context.Context) error) (report func(evidence), trying bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probe = probe
	if b.open {
		if !b.trial {
			return nil, false, b.notAskedLocked()
		}
		b.trial, trying = false, true
	}
	// Ends with the report. It fires once at most.
	silence := time.AfterFunc(suspiciousSilence, b.isSilent)
	return func(shown evidence) {
		silence.Stop()
		b.learn(shown)
	}, trying, nil
}

// notAsked returns an error if nobody is asked now. It is for requests that show nothing of the server, whatever becomes of
// them.
func (b *breaker) notAsked() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return nil
	}
	return b.notAskedLocked()
}

// unlessOpen returns the error of a request, or, where that is a limit of the edge's own and the breaker has opened
// meanwhile, that nobody is asked.
func (b *breaker) unlessOpen(err error) error {
	if isOwnLimit(err) {
		if open := b.notAsked(); open != nil {
			return open
		}
	}
	return err
}

func (b *breaker) notAskedLocked() *UnreachableError {
	left := max(time.Until(b.untilTry), 0)
	seconds := int((left + time.Second - 1) / time.Second)
	return &UnreachableError{
		Trouble: TroubleNotAsked, Status: http.StatusServiceUnavailable, RetryAfter: strconv.Itoa(max(seconds, 1)), Err: ErrNotAsked,
	}
}

// learn takes in what one of the edge's own requests has shown.
func (b *breaker) learn(shown evidence) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch shown {
	case showsNothing:
	case showsLife:
		b.failures, b.suspect = 0, false
		b.closeLocked()
		if !b.believed && !time.Now().Before(b.noProbeBefore) {
			b.startProbeLocked()
		}
	case showsTrouble:
		b.failures++
		if b.failures >= suspiciousFailures {
			b.suspectLocked()
		}
	}
}

func (b *breaker) isSilent() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.suspectLocked()
}

func (b *breaker) suspectLocked() {
	if b.open {
		return
	}
	b.suspect = true
	switch wait := time.Until(b.noProbeBefore); {
	case wait <= 0:
		b.startProbeLocked()
	case !b.delayed:
		b.delayed = true
		time.AfterFunc(wait, b.probeAfterAll) // fires once
	}
}

// probeAfterAll sends a probe that was to wait, if it is still wanted.
func (b *breaker) probeAfterAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delayed = false
	if b.suspect {
		b.startProbeLocked()
	}
}

// startProbeLocked sends the probe, one at a time.
func (b *breaker) startProbeLocked() {
	if b.probing || b.retired {
		return
	}
	b.probing = true
	probe := b.probe
	// Ends with the probe's answer, or after probeTimeout.
	if !b.background(func(ctx context.Context) { b.probed(ctx, probe(ctx)) }) {
		b.probing = false // the edge closes
	}
}

// probed takes in what the probe has shown.
func (b *breaker) probed(ctx context.Context, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	b.noProbeBefore = time.Now().Add(min(betweenProbes, b.pause/5))
	switch {
	case err == nil:
		b.believed, b.suspect, b.failures = true, false, 0
	case ctx.Err() != nil, isOwnLimit(err): // the edge closes, or could not send it
	case !b.believed:
		// Perhaps nothing lets it through, ever. It isn't worth more than a request a minute to find out.
		b.suspect, b.noProbeBefore = false, time.Now().Add(maxBreakerPause)
	case b.suspect && !b.retired:
		b.openLocked()
	}
}

func (b *breaker) openLocked() {
	b.suspect = false
	if time.Since(b.closed) > b.present {
		b.present = b.pause
	} else {
		b.present = min(2*b.present, max(maxBreakerPause, b.pause)) // it has opened again at once
	}
	b.open, b.trial, b.ended = true, false, make(chan struct{})
	b.openSince = time.Now()
	b.untilTry = b.openSince.Add(b.present)
	ended, pause := b.ended, b.present
	// Ends when the breaker closes, or with the edge.
	if !b.background(func(ctx context.Context) { b.recover(ctx, ended, pause) }) {
		b.open = false // the edge closes, and nobody would close the breaker
		return
	}
	close(b.opened)
	if b.onChange != nil {
		b.onChange(b.name, false)
	}
}

// down returns a channel that is closed while the breaker is open.
func (b *breaker) down() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

func (b *breaker) closeLocked() {
	if !b.open {
		return
	}
	b.open, b.closed = false, time.Now()
	close(b.ended)
	b.opened = make(chan struct{})
	if b.onChange != nil {
		b.onChange(b.name, true)
	}
}

// recover tries, after each pause, whether the server is back, until the breaker closes.
func (b *breaker) recover(ctx context.Context, ended <-chan struct{}, pause time.Duration) {
	for {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ended:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
		b.mu.Lock()
		b.trial = b.open
		probe := b.probe
		b.mu.Unlock()
		err := probe(ctx)
		b.mu.Lock()
		select {
		case <-ended:
			b.mu.Unlock()
			return
		default:
		}
		if err == nil {
			b.believed, b.failures = true, 0
			b.noProbeBefore = time.Now().Add(min(betweenProbes, b.pause/5))
			b.closeLocked()
			b.mu.Unlock()
			return
		}
		pause = min(2*pause, max(maxBreakerPause, b.pause))
		b.present, b.untilTry = pause, time.Now().Add(pause)
		b.mu.Unlock()
	}
}

// retire closes the breaker for good, and tells nobody that the server is back.
func (b *breaker) retire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retired = true
	if b.open {
		b.open = false
		close(b.ended)
	}
}

func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// openedAt is when the breaker opened; zero while it isn't open.
func (b *breaker) openedAt() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return time.Time{}
	}
	return b.openSince
}
