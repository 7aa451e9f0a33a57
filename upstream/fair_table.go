package upstream

import (
	"net/netip"
	"strings"
)

// fairShares is how many addresses at least a full fairTable holds something of: none may have more than that part.
const fairShares = 16

// fairTable is a bounded memory of which no address can take more than a part: a caller who makes up credentials pushes
// out what came from their own address, and nothing else. What was used least recently goes first. It isn't safe for
// concurrent use.
type fairTable[K comparable, V any] struct {
	entries map[K]*fairEntry[K, V]
	shares  map[string]*fairShare[K, V]
	order   fairList[K, V]
	// most bounds the entries, room what the texts of their keys take together (textBytes); bytes is what they take.
	most, room, bytes int
	textBytes         func(K) int
	// dropped is told of each entry that goes, for whatever reason; nil if nobody is.
	dropped func(K, V)
}

// fairShare is what came from one address.
type fairShare[K comparable, V any] struct {
	address string
	order   fairList[K, V]
	count   int
	bytes   int
}

// fairEntry stands in two lists: that of all entries, and that of its share.
type fairEntry[K comparable, V any] struct {
	key   K
	value V
	share *fairShare[K, V]
	links [2]struct{ newer, older *fairEntry[K, V] }
}

// fairList is a list in order of use.
type fairList[K comparable, V any] struct {
	newest, oldest *fairEntry[K, V]
	// which of an entry's links are this list's.
	which int
}

func (l *fairList[K, V]) add(e *fairEntry[K, V]) {
	links := &e.links[l.which]
	links.newer, links.older = nil, l.newest
	if l.newest == nil {
		l.oldest = e
	} else {
		l.newest.links[l.which].newer = e
	}
	l.newest = e
}

func (l *fairList[K, V]) remove(e *fairEntry[K, V]) {
	links := &e.links[l.which]
	if links.newer == nil {
		l.newest = links.older
	} else {
		links.newer.links[l.which].older = links.older
	}
	if links.older == nil {
		l.oldest = links.newer
	} else {
		links.older.links[l.which].newer = links.newer
	}
}

func (l *fairList[K, V]) touch(e *fairEntry[K, V]) {
	if l.newest != e {
		l.remove(e)
		l.add(e)
	}
}

// newFairTable returns an empty table of at most that many entries, at least one. Where the texts of keys are long
// (keyBudget bytes on average), it keeps fewer.
func newFairTable[K comparable, V any](most int, textBytes func(K) int) *fairTable[K, V] {
	return &fairTable[K, V]{
		entries: make(map[K]*fairEntry[K, V]), shares: make(map[string]*fairShare[K, V]),
		most: most, room: most * keyBudget, textBytes: textBytes,
	}
}

// find returns a key's entry, nil if there is none. That is no use of it.
func (t *fairTable[K, V]) find(key K) *fairEntry[K, V] { return t.entries[key] }

// use makes an entry the most recently used one.
func (t *fairTable[K, V]) use(e *fairEntry[K, V]) {
	t.order.touch(e)
	e.share.order.touch(e)
}

// put sets a key's value. A new key counts for that address; one that is known stays with the address that brought it, or
// somebody else could take it over and then push it out of their own share.
func (t *fairTable[K, V]) put(key K, address string, value V) {
	if known := t.entries[key]; known != nil {
		known.value = value
		t.use(known)
		return
	}
	share := t.shareOf(address)
	e := &fairEntry[K, V]{key: key, value: value, share: share}
	t.entries[key] = e
	t.order.add(e)
	share.order.add(e)
	share.count++
	share.bytes += t.textBytes(key)
	t.bytes += t.textBytes(key)
	for share.count > 1 && (share.count > t.most/fairShares || share.bytes > t.room/fairShares) {
		t.remove(share.order.oldest)
	}
	for len(t.entries) > 1 && (len(t.entries) > t.most || t.bytes > t.room) {
		t.remove(t.order.oldest)
	}
}

func (t *fairTable[K, V]) remove(e *fairEntry[K, V]) {
	delete(t.entries, e.key)
	t.order.remove(e)
	e.share.order.remove(e)
	e.share.count--
	e.share.bytes -= t.textBytes(e.key)
	t.bytes -= t.textBytes(e.key)
	if e.share.count == 0 {
		delete(t.shares, e.share.address)
	}
	if t.dropped != nil {
		t.dropped(e.key, e.value)
	}
}

func (t *fairTable[K, V]) shareOf(address string) *fairShare[K, V] {
	address = Neighbourhood(address)
	share := t.shares[address]
	if share == nil {
		share = &fairShare[K, V]{address: strings.Clone(address)}
		share.order.which = 1
		t.shares[share.address] = share
	}
	return share
}

// Neighbourhood is what counts as one address where shares are given out. Whoever has an IPv6 address has a whole /64 of
// them (RFC 6177). The empty address is that of the edge's own work; what can't be read counts as it stands.
func Neighbourhood(address string) string {
	parsed, _ := netip.ParseAddr(address) // what can't be read is neither
	if !parsed.Is6() || parsed.Is4In6() {
		return address
	}
	prefix, err := parsed.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}
