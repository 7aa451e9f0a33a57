package bucket

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// absentFor is how long an object that wasn't there isn't asked for again.
	absentFor = time.Minute
	// maxAbsent and maxWrong bound what is remembered.
	maxAbsent = 16 << 10
	maxWrong  = 4 << 10
)

// Memory is what is known of a bucket: whether it answers, what it hasn't, and what it has wrong. It outlives the settings by which
// the bucket is asked. Safe for concurrent use.
type Memory struct {
	// reading and writing are how it does; each guards itself.
	reading, writing health

	// mu guards what follows; the locks of reading and writing are taken before it. down is how many of them are, and onChange OnChange's.
	mu       sync.Mutex
	down     int
	onChange func(up bool, reason string)

	// absent are names of objects that aren't asked for, wrong sums of those that had other bytes and aren't read.
	absent notes[string]
	wrong  notes[SHA256]
}

// NewMemory knows nothing yet.
func NewMemory() *Memory {
	m := &Memory{absent: newNotes[string](maxAbsent), wrong: newNotes[SHA256](maxWrong)}
	m.reading.begin(m.changed)
	m.writing.begin(m.changed)
	return m
}

// notes hold something for a while, each until a time of its own. Those used last stay. Safe for concurrent use.
type notes[K comparable] struct {
	// mu guards until; nothing is waited for under it.
	mu    *sync.Mutex
	until *simplelru.LRU[K, time.Time]
}

func newNotes[K comparable](size int) notes[K] {
	until, err := simplelru.NewLRU[K, time.Time](size, nil)
	if err != nil {
		panic(err) // only of a size below one
	}
	return notes[K]{new(sync.Mutex), until}
}

func (n notes[K]) has(key K) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	until, ok := n.until.Get(key)
	return ok && time.Now().Before(until)
}

func (n notes[K]) note(key K, period time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.until.Add(key, time.Now().Add(period))
}

func (n notes[K]) forget(key K) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.until.Remove(key)
}
