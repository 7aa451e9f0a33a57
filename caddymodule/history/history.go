package history

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// Span is a time until now that a history is read over, in steps of one length.
type Span struct {
	// step is in seconds.
	step  int64
	steps int
	// ring is the number of the ring that has the steps.
	ring int
}

// The spans. A week and a quarter are the same ring's.
var (
	// Hour has 60 steps of a minute.
	Hour = Span{60, 60, 0}
	// Day has 288 steps of five minutes.
	Day = Span{300, 288, 1}
	// Week has 168 steps of an hour, Quarter 2,160 of them: ninety days.
	Week    = Span{3600, 7 * 24, 2}
	Quarter = Span{3600, 90 * 24, 2}
)

// Step is how long each step is.
func (s Span) Step() time.Duration { return time.Duration(s.step) * time.Second }

// Point is what was counted in one step, which began at Time (UTC). Known is false where nothing is known of it.
type Point struct {
	Time  time.Time
	Known bool
	Counts
}

// Config says what a history is made with.
type Config struct {
	// Bounds are those of the histogram of Counts.FirstByte. A file with others is of another format.
	Bounds Bounds
	// Before are the totals that are counted already. What comes to them belongs to the history.
	Before Counts
	// Logger is told of files that are set aside. It must not be nil.
	Logger *zap.Logger
	// Now is the clock, nil for the system's.
	Now func() time.Time
	// Disk is where the file lies, nil for the operating system's.
	Disk Disk
}

// History is an edge's history. It is in memory, and in a file from the first KeepIn on. One goroutine at a time may call Record, KeepIn
// and Release; anybody may call the others at any time.
type History struct {
	config Config

	// file is nil while none is written to, and path is its own. They are the keeper's alone, and so is total: the totals at the
	// last Record.
	file  File
	path  string
	total Counts

	// mu guards all below. The disk is never waited for under it.
	mu    sync.Mutex
	rings rings
	// unsaved is what was counted and is in no file yet, by its step.
	unsaved map[place]slot
	// recorded is when Record last looked at the clock, or New; Unix time in seconds.
	recorded int64
	kept     bool
}

// New returns a history of which nothing is known, in memory alone.
func New(config Config) *History {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Disk == nil {
		config.Disk = osDisk{}
	}
	return &History{
		config: config, total: config.Before, rings: newRings(), unsaved: make(map[place]slot), recorded: config.Now().Unix(),
	}
}

// UntilDue returns how long it is until Record should be called next: until the minute ends in which it was called last. It is 0 when
// the clock has jumped.
func (h *History) UntilDue() time.Duration {
	now := h.config.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	minutes := &h.rings[Hour.ring]
	begin := minutes.beginOf(now.Unix())
	if begin != minutes.beginOf(h.recorded) {
		return 0
	}
	return time.Unix(begin+minutes.step, 0).Sub(now)
}

// longestStep is the most that can lie between two Records unless the clock has jumped, or the machine was asleep: a minute, and what
// a busy machine is late by. It is in seconds.
const longestStep = 120

// Record takes in what has been counted in all, since the process began to count. What has come to the totals since the last Record
// belongs to the minute in which that was; after a jump of the clock, which nobody knows the time before of, to the present one.
func (h *History) Record(totals Counts) {
	grown := totals.since(h.total)
	h.total = totals
	now := h.config.Now().Unix()
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.recorded
	if passed := now - at; passed < 0 || passed > longestStep {
		at = now
		h.rings.markAhead(now)
	}
	h.recorded = now
	for i := range h.rings {
		ring := &h.rings[i]
		number, isNew := ring.add(at, grown)
		here := place{i, number}
		waiting := h.unsaved[here]
		if isNew {
			waiting = slot{}
		}
		waiting.known, waiting.time = true, ring.slots[number].time
		waiting.counts.Add(grown)
		h.unsaved[here] = waiting
	}
}

// Points returns all steps of a span, the oldest first. The last is the one in which the last whole minute lies; of a span with
// longer steps it may still be under way.
func (h *History) Points(span Span) []Point {
	now := h.config.Now().Unix()
	h.mu.Lock()
	defer h.mu.Unlock()
	minutes, ring := &h.rings[Hour.ring], &h.rings[span.ring]
	last := ring.beginOf(minutes.beginOf(now) - minutes.step)
	points := make([]Point, span.steps)
	for i := range points {
		found := ring.at(last - int64(span.steps-1-i)*span.step)
		points[i] = Point{Time: time.Unix(found.time, 0).UTC(), Known: found.known, Counts: found.counts}
	}
	return points
}

// IsKept reports whether the history is in a file, to which it could be written last time. While it isn't, a restart loses what came
// since.
func (h *History) IsKept() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept
}
