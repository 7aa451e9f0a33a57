package cache

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// Generation is a number for each key that a publish raises when the upstream has taken it, and a purge when it begins.
// What began in an older generation is never joined, confirmed or committed: for that, generations are compared for
// equality only.
//
// 32 bits are enough: to be taken for the present one, an old generation would have to be held while exactly 2^32
// publishes come by, all of keys that share its slot.
type Generation struct{ purge, slot uint32 }

// Next is the generation after this one if nobody else raises it.
func (g Generation) Next() Generation { return Generation{g.purge, g.slot + 1} }

// Precedes reports whether a key was in this generation before it came to the other, as long as fewer than 2^31 raises
// lie between them.
func (g Generation) Precedes(other Generation) bool {
	raises := other.slot - g.slot
	if g.purge != other.purge {
		raises = other.purge - g.purge
	}
	return raises != 0 && raises < 1<<31
}

// String tells generations of one process apart.
func (g Generation) String() string {
	return strconv.FormatUint(uint64(g.purge), 36) + "." + strconv.FormatUint(uint64(g.slot), 36)
}

// generations is a table of a fixed size (slots). Keys that share a number share their publishes: what one of them has on
// its way is fetched again, and what it has stored is asked about before its next use. Its offline life stays.
type generations struct {
	slots   slots
	numbers [keySlots]atomic.Uint32
	// purges are those of more than one key. Never nil, and never changed: another one takes its place.
	purges atomic.Pointer[widePurges]
	// mu is held for putting another one there, by nobody else.
	mu sync.Mutex
}

// widePurges says which purges have come over which keys.
type widePurges struct {
	// all is the number of the last one that counts for all keys; latest the last one's at all.
	all, latest uint32
	// some are those after it, each for the keys that it selects.
	some []widePurge
}

type widePurge struct {
	number   uint32
	selector Selector
}

// maxWidePurges bounds what each look-up compares a key with. One purge more counts for all keys, and the list begins anew:
// a check more for each, and never a wrong answer.
const maxWidePurges = 64

// of is the number of the last purge that has come over a key.
func (p *widePurges) of(k Key) uint32 {
	for _, purge := range slices.Backward(p.some) {
		if purge.selector.Matches(k) {
			return purge.number
		}
	}
	return p.all
}

// purge begins a new generation for all keys that the selector selects.
func (g *generations) purge(sel Selector) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.purges.Load()
	after := &widePurges{all: before.all, latest: before.latest + 1}
	if sel == (Selector{}) || len(before.some) == maxWidePurges {
		after.all = after.latest
	} else {
		after.some = append(slices.Clone(before.some), widePurge{after.latest, sel})
	}
	g.purges.Store(after)
}

// begin makes the table ready for use.
func (g *generations) begin(slots slots) {
	g.slots = slots
	g.purges.Store(new(widePurges))
}

// slot is chosen by the whole key: a publish into one project says nothing certain about others, which have publishers
// of their own. For those a Question is enough.
func (g *generations) slot(k Key) *atomic.Uint32 { return &g.numbers[g.slots.ofKey(k)] }

func (g *generations) of(k Key) Generation {
	return Generation{g.purges.Load().of(k), g.slot(k).Load()}
}

func (g *generations) raise(k Key) Generation {
	return Generation{slot: g.slot(k).Add(1), purge: g.purges.Load().of(k)}
}

// Generation returns the key's present generation.
func (s *Store) Generation(k Key) Generation { return s.generations.of(k) }

// RaiseReason says why a key begins a new generation. The zero value is no reason.
type RaiseReason uint8

const (
	// Published: the upstream has said 2xx to a request that changes the file, by this key or by a name that is known to be
	// the same project's.
	Published RaiseReason = iota + 1
	// SoftPurged: an admin wants everybody to ask again.
	SoftPurged
)

// String names the reason.
func (r RaiseReason) String() string {
	switch r {
	case Published:
		return "published"
	case SoftPurged:
		return "soft purge"
	}
	return fmt.Sprintf("raise reason %d", uint8(r))
}

// Raise begins a new generation for the key and returns it. What is stored isn't served unasked any more, not even while
// the upstream can't be asked, and what was begun before isn't kept. For other names of the project it is called once for
// each; for names that may be the same project's and aren't known to be, Question is the way.
//
// After Published, an answer that names what the key had until now confirms nothing for 10 seconds (lag.go).
//
// Anybody may call it at any time. Raise panics without one of the reasons above: that is an error in the program, and to
// go on would serve a file that was published over.
func (s *Store) Raise(k Key, why RaiseReason) Generation {
	switch why {
	case Published:
		// While the store loads, what the key has may be known to the index alone. If that can't be read now, an answer of a
		// replica that lags is believed, as it would be of a file that isn't stored.
		_ = s.materialize(k)
	case SoftPurged:
	default:
		panic("cache: a generation is raised without a reason: " + why.String())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if why == Published {
		// Together with the new generation: nothing can be committed in between.
		h := k.hash()
		if n := s.entries.peek(h); n != nil {
			s.answers.note(formerBlob{h, n.blob.digest}, s.now().Sub(s.started))
		}
	}
	return s.raiseLocked(k)
}

// raiseLocked begins a new generation for a key, and takes from its entry what the upstream said of it.
func (s *Store) raiseLocked(k Key) Generation {
	if n := s.entries.peek(k.hash()); n != nil {
		n.confirmed = unconfirmed
	}
	return s.generations.raise(k)
}
