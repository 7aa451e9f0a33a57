package cache

import "hash/maphash"

// keySlots is how many slots a table of a fixed size has. Keys that share a slot share what it says: a question more, and
// never a wrong answer.
const keySlots = 1 << 18

// slots places keys in tables of a fixed size: a table that grows with the keys would grow for ever, and what is dropped
// from one too early would let an old answer in (design, "The store"). The seed is drawn at the start and told nobody, so
// that nobody can make a file's name that shares the slot of another one.
type slots struct{ seed maphash.Seed }

func newSlots() slots { return slots{seed: maphash.MakeSeed()} }

// ofKey is the slot of one key, the spelling of its project included.
func (s slots) ofKey(k Key) uint32 {
	var buffer [512]byte // most keys fit, and need no memory of their own
	return uint32(maphash.Bytes(s.seed, k.appendTo(buffer[:0])) % keySlots)
}

// ofName is the slot of a package, version and file, whatever the spelling of their project is.
func (s slots) ofName(k Key) uint32 {
	k.Project = ""
	return s.ofKey(k)
}
