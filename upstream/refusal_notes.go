package upstream

import "time"

// notes remember when GitLab was last asked what it answered by a no, so that an older yes that arrives later brings
// nothing back. Those about credentials that hold grants, or held some, are kept apart from those about all others: anybody
// can have GitLab refuse any number of made-up tokens, about which a note is of use only against a yes that is still on
// its way.
type notes[K comparable] struct {
	holders, others *fairTable[K, time.Time]
}

// othersPart is which part of the room of notes about holders is given to the others.
const othersPart = 4

func newNotes[K comparable](most int, textBytes func(K) int) notes[K] {
	return notes[K]{newFairTable[K, time.Time](most, textBytes), newFairTable[K, time.Time](most/othersPart, textBytes)}
}

// latest returns the time of the latest no about a key; zero if none is known.
func (n notes[K]) latest(key K) (sent time.Time) {
	for _, table := range []*fairTable[K, time.Time]{n.holders, n.others} {
		if known := table.find(key); known != nil && known.value.After(sent) {
			sent = known.value
		}
	}
	return sent
}

// isAboutHolder reports whether a no is known that was noted of somebody who held a grant.
func (n notes[K]) isAboutHolder(key K) bool { return n.holders.find(key) != nil }

// note notes a no. Its key is kept.
func (n notes[K]) note(ofHolder bool, key K, address string, sent time.Time) {
	table := n.others
	if ofHolder {
		table = n.holders
	}
	if known := table.find(key); known != nil && !sent.After(known.value) {
		return
	}
	table.put(key, address, sent)
}

// becomesHolder keeps what was noted with the notes about holders from now on.
func (n notes[K]) becomesHolder(key K) {
	if known := n.others.find(key); known != nil {
		n.note(true, known.key, known.share.address, known.value)
		n.others.remove(known)
	}
}
