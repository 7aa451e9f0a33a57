package cache

import (
	"hash/maphash"
	"strconv"
	"sync/atomic"
)

// Generation is a number for each key that a publish raises when it starts and when it ends, and a purge when it
// begins. What began in an older generation is never joined, confirmed or committed: for that, generations are compared
// for equality only.
//
// 32 bits are enough: to be taken for the present one, an old generation would have to be held while exactly 2^32
// publishes come by, all of keys that share its slot.
type Generation struct{ all, slot uint32 }

// Next is the generation after this one if nobody else raises it.
func (g Generation) Next() Generation { return Generation{g.all, g.slot + 1} }

// Precedes reports whether a key was in this generation before it came to the other, as long as fewer than 2^31 raises
// lie between them.
func (g Generation) Precedes(other Generation) bool {
	if g.all != other.all {
		return int32(other.all-g.all) > 0
	}
	return int32(other.slot-g.slot) > 0
}

// String tells generations of one process apart.
func (g Generation) String() string {
	return strconv.FormatUint(uint64(g.all), 36) + "." + strconv.FormatUint(uint64(g.slot), 36)
}

// generationSlots is how many numbers there are. Keys that share one share their publishes: a check more, and never a
// wrong answer.
const generationSlots = 1 << 16

// generations is a fixed table: a number for each key would grow for ever, and one that is dropped too early would
// let an old answer in.
type generations struct {
	seed  maphash.Seed
	all   atomic.Uint32
	slots [generationSlots]atomic.Uint32
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
	return Generation{g.all.Load(), g.slot(k).Load()}
}

func (g *generations) raise(k Key) Generation {
	return Generation{slot: g.slot(k).Add(1), all: g.all.Load()}
}

// Generation returns the key's present generation.
func (s *Store) Generation(k Key) Generation { return s.generations.of(k) }

// Raise begins a new generation for the key, and for all keys with the same package, version and file, and returns it.
func (s *Store) Raise(k Key) Generation { return s.generations.raise(k) }
