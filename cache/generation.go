package cache

import (
	"hash/maphash"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// Generation is a number for each key that a publish raises when it starts and when it ends, and a purge when it
// begins. What began in an older generation is never joined, confirmed or committed: for that, generations are compared
// for equality only.
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

// generationSlots is how many numbers there are. Keys that share one share their publishes: a check more, and never a
// wrong answer.
const generationSlots = 1 << 16

// generations is a fixed table: a number for each key would grow for ever, and one that is dropped too early would
// let an old answer in.
type generations struct {
	seed  maphash.Seed
	slots [generationSlots]atomic.Uint32
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
func (g *generations) begin() {
	g.seed = maphash.MakeSeed()
	g.purges.Store(new(widePurges))
}

// slot is chosen by package, version and file alone: a publish through one spelling of a project changes what all
// its other spellings give, and the store can't know them.
func (g *generations) slot(k Key) *atomic.Uint32 {
	var hash maphash.Hash
	hash.SetSeed(g.seed)
	for _, part := range [...]string{k.Package, k.Version, k.File} {
		_, _ = hash.WriteString(part)
		_ = hash.WriteByte(0)
	}
	return &g.slots[hash.Sum64()%generationSlots]
}

func (g *generations) of(k Key) Generation {
	return Generation{g.purges.Load().of(k), g.slot(k).Load()}
}

func (g *generations) raise(k Key) Generation {
	return Generation{slot: g.slot(k).Add(1), purge: g.purges.Load().of(k)}
}

// Generation returns the key's present generation.
func (s *Store) Generation(k Key) Generation { return s.generations.of(k) }

// Raise begins a new generation for the key, and for all keys with the same package, version and file, and returns it.
func (s *Store) Raise(k Key) Generation { return s.generations.raise(k) }
