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

	// mu guards both below; nothing is waited for under it.
	mu sync.Mutex
	// absent are names of objects, with the time until which they aren't asked for.
	absent *simplelru.LRU[string, time.Time]
	// wrong are sums of objects that had other bytes, with the time until which they aren't read.
	wrong *simplelru.LRU[SHA256, time.Time]
}

// NewMemory knows nothing yet.
func NewMemory() *Memory {
	m := &Memory{absent: newLRU[string, time.Time](maxAbsent), wrong: newLRU[SHA256, time.Time](maxWrong)}
	m.reading.begin()
	m.writing.begin()
	return m
}

// newLRU makes one of a constant size.
func newLRU[K comparable, V any](size int) *simplelru.LRU[K, V] {
	lru, err := simplelru.NewLRU[K, V](size, nil)
	if err != nil {
		panic(err) // only of a size below one
	}
	return lru
}

func (m *Memory) isAbsent(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	until, ok := m.absent.Get(name)
	return ok && time.Now().Before(until)
}

func (m *Memory) noteAbsent(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.absent.Add(name, time.Now().Add(absentFor))
}

func (m *Memory) forgetAbsent(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.absent.Remove(name)
}

// isWrong reports whether the object of that sum had other bytes, and wasn't written anew since.
func (m *Memory) isWrong(sum SHA256) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	until, ok := m.wrong.Get(sum)
	return ok && time.Now().Before(until)
}

func (m *Memory) noteWrong(sum SHA256, period time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong.Add(sum, time.Now().Add(period))
}

func (m *Memory) forgetWrong(sum SHA256) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong.Remove(sum)
}
