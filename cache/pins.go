package cache

import (
	"maps"
	"slices"
	"time"
)

// pin keeps a key's entry from eviction. It belongs to the key: it outlives a publish, and bytes that prove damaged.
type pin struct {
	key   []byte // as the index has it
	until time.Time
	// bytes is the size of the entry's file; 0 while there is no entry.
	bytes int64
}

// size is what a pin keeps; nil keeps nothing.
func (p *pin) size() int64 {
	if p == nil {
		return 0
	}
	return p.bytes
}

// pins are those in force, as memory has them; what the index has of them is pin.go's. Guarded by Store.mu, with which held
// all methods are called.
type pins struct {
	// ofKeys are all of them, also those whose key has no entry now; bytes is the sum of what they keep.
	ofKeys map[keyHash]*pin
	bytes  int64
	// unpinned are the keys that were unpinned since the start; nil once the index's pins are read.
	unpinned map[keyHash]struct{}
	// givenUp are the keys of pins that there was no room for, until the index is rid of them; of the first told the log has
	// heard.
	givenUp [][]byte
	told    int
}

func newPins() pins {
	return pins{ofKeys: make(map[keyHash]*pin), unpinned: make(map[keyHash]struct{})}
}

// keeps reports whether a key is pinned now.
func (p *pins) keeps(h keyHash, now time.Time) bool {
	held := p.ofKeys[h]
	return held != nil && held.until.After(now)
}

// set pins a key in place of what its pin was; nil unpins it. The pin keeps nothing so far (fill).
func (p *pins) set(h keyHash, made *pin) {
	p.drop(h)
	if made != nil {
		p.ofKeys[h] = made
	}
}

// fill notes that a key, if it is pinned, has an entry of that size now. Where all pins together keep more than most, this
// one is given up.
func (p *pins) fill(h keyHash, size, most int64) {
	held := p.ofKeys[h]
	if held == nil {
		return
	}
	p.bytes += size - held.bytes
	held.bytes = size
	if p.bytes > most {
		p.giveUp(h)
	}
}

// empty notes that a key, if it is pinned, has no entry any more.
func (p *pins) empty(h keyHash) {
	if held := p.ofKeys[h]; held != nil {
		p.bytes -= held.bytes
		held.bytes = 0
	}
}

func (p *pins) drop(h keyHash) {
	p.empty(h)
	delete(p.ofKeys, h)
}

// unpin drops a pin that nobody wants any more.
func (p *pins) unpin(h keyHash) {
	p.drop(h)
	if p.unpinned != nil {
		p.unpinned[h] = struct{}{}
	}
}

// giveUp drops a pin for want of room. The janitor takes it out of the index.
func (p *pins) giveUp(h keyHash) {
	p.givenUp = append(p.givenUp, p.ofKeys[h].key)
	p.drop(h)
}

// trim gives up pins until the rest keeps no more than most, those first whose time ends first.
func (p *pins) trim(most int64) {
	if p.bytes <= most {
		return
	}
	for _, h := range slices.SortedFunc(maps.Keys(p.ofKeys), func(a, b keyHash) int { return p.ofKeys[a].until.Compare(p.ofKeys[b].until) }) {
		if p.bytes <= most {
			return
		}
		if p.ofKeys[h].bytes > 0 {
			p.giveUp(h)
		}
	}
}

// takeGivenUp takes the keys of those that were given up, and counts those that are new. Those of which the index couldn't
// be rid before wait for new ones, unless they are to be tried again.
func (p *pins) takeGivenUp(again bool) (keys [][]byte, fresh int) {
	if fresh = len(p.givenUp) - p.told; fresh == 0 && !again {
		return nil, 0
	}
	keys, p.givenUp, p.told = p.givenUp, nil, 0
	return keys, fresh
}

// putBackGivenUp takes the keys back that takeGivenUp gave.
func (p *pins) putBackGivenUp(keys [][]byte) {
	p.givenUp = append(keys, p.givenUp...)
	p.told += len(keys)
}

// takeExpired drops pins whose time has passed, and returns their keys.
func (p *pins) takeExpired(now time.Time) (keys [][]byte) {
	for h, held := range p.ofKeys {
		if !held.until.After(now) {
			keys = append(keys, held.key)
			p.drop(h)
		}
	}
	return keys
}

// load takes the index's pins in. What was pinned or unpinned since the start is newer.
func (p *pins) load(read []*pin) {
	for _, found := range read {
		h := hashOf(found.key)
		if _, unpinned := p.unpinned[h]; !unpinned && p.ofKeys[h] == nil {
			p.ofKeys[h] = found
		}
	}
	p.unpinned = nil
}

// all are copies of all pins.
func (p *pins) all() []pin {
	all := make([]pin, 0, len(p.ofKeys))
	for _, held := range p.ofKeys {
		all = append(all, *held)
	}
	return all
}
