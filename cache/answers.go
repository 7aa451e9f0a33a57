package cache

import "time"

// answers tells which answers of the upstream count no more: what Doubt, Question and Raise noted. Times are those of asking,
// counted from Store.started. Guarded by Store.mu, with which held all methods are called.
type answers struct {
	slots slots
	// doubted are, by key, the latest times at which the upstream named other content than ours; questioned, by key without its
	// project, those up to which its answers confirm no more. They are unconfirmed for never.
	doubted, questioned [keySlots]time.Duration
	formers
}

// begin makes the tables ready for use.
func (a *answers) begin(slots slots) {
	a.slots, a.formers = slots, newFormers()
	for slot := range a.doubted {
		a.doubted[slot], a.questioned[slot] = unconfirmed, unconfirmed
	}
}

func (a *answers) doubt(k Key, at time.Duration) {
	doubted := &a.doubted[a.slots.ofKey(k)]
	*doubted = max(*doubted, at)
}

// isDoubted is Store.IsDoubted.
func (a *answers) isDoubted(k Key, at time.Duration) bool { return at <= a.doubted[a.slots.ofKey(k)] }

func (a *answers) question(k Key, at time.Duration) {
	questioned := &a.questioned[a.slots.ofName(k)]
	*questioned = max(*questioned, at)
}

// isQuestioned is Store.IsQuestioned.
func (a *answers) isQuestioned(k Key, at time.Duration) bool {
	return at <= a.questioned[a.slots.ofName(k)]
}

// isOverruled reports whether an answer confirms nothing: a later one contradicted it, or something has happened since that
// makes it worth asking again.
func (a *answers) isOverruled(k Key, at time.Duration) bool {
	return a.isDoubted(k, at) || a.isQuestioned(k, at)
}
