package history

// rings are the three rings of a history, from the shortest steps to the longest.
type rings [3]ring

// ring has the last steps of one length.
type ring struct {
	// step is in seconds.
	step  int64
	slots []slot
}

// slot is one step.
type slot struct {
	// known is false while nothing is known of the step; then all below is zero.
	known bool
	// time is when the step began, Unix time in seconds.
	time   int64
	counts Counts
	// isAhead says that the step was in the future when the clock was last found to have jumped, or the file was read.
	isAhead bool
}

// place is where a slot is.
type place struct{ ring, slot int }

// newRings returns rings of which nothing is known.
func newRings() (r rings) {
	for i, span := range []Span{Hour, Day, Quarter} {
		r[i] = ring{step: span.step, slots: make([]slot, span.steps+1)}
	}
	return r
}

// beginOf returns when the step began that a time lies in. Times before 1970 are negative.
func (r *ring) beginOf(unix int64) int64 { return unix - modulo(unix, r.step) }

// placeOf returns the number of the slot of a step, which began then.
func (r *ring) placeOf(begin int64) int { return int(modulo(begin/r.step, int64(len(r.slots)))) }

func modulo(a, b int64) int64 { return ((a % b) + b) % b }

// at returns the step that began then, of which nothing may be known.
func (r *ring) at(begin int64) slot {
	if found := r.slots[r.placeOf(begin)]; found.known && found.time == begin && !found.isAhead {
		return found
	}
	return slot{time: begin}
}

// add adds what was counted at a time to its step. isNew says that the step begins with it.
func (r *ring) add(unix int64, counted Counts) (number int, isNew bool) {
	begin := r.beginOf(unix)
	number = r.placeOf(begin)
	there := &r.slots[number]
	if !there.known || there.time != begin || there.isAhead {
		// What a clock that was wrong has left at this time isn't of this step.
		*there, isNew = slot{known: true, time: begin}, true
	}
	there.counts.Add(counted)
	return number, isNew
}

// markAhead marks the steps that are in the future, and takes the mark from the others: a clock that was in the past for a while
// makes no step's numbers wrong.
func (r *rings) markAhead(now int64) {
	for i := range r {
		for j := range r[i].slots {
			r[i].slots[j].isAhead = r[i].slots[j].time > now
		}
	}
}
