package upstream

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// GrantKey is whom a grant was given to, and for what.
type GrantKey struct {
	// Upstream is the GitLab that gave it (Client.Upstream).
	Upstream    string
	Fingerprint Fingerprint
	// ClientIP is empty where grants aren't bound to addresses.
	ClientIP string
	// Project is the spelling that GitLab answered about.
	Project string
}

// Grants remember whom GitLab allowed to read which project, and when. A grant has a fixed life, which whoever asks
// judges by its age; use never extends it. Safe for concurrent use.
type Grants struct {
	// mu guards known; nothing is waited for under it.
	mu    sync.Mutex
	known *simplelru.LRU[GrantKey, grantRecord]
}

// grantRecord holds the times of the newest yes and the newest no, by when their requests were sent. Answers overtake
// each other; what was asked later counts.
type grantRecord struct{ allowed, refused time.Time }

// NewGrants returns an empty memory of at most that many; the least recently used go first.
func NewGrants(most int) *Grants {
	known, err := simplelru.NewLRU[GrantKey, grantRecord](most, nil)
	if err != nil {
		panic(err) // only for a number that isn't positive
	}
	return &Grants{known: known}
}

// Allow notes that GitLab said yes to a request sent then. It counts unless a no to a request sent at that time or
// later is known.
func (g *Grants) Allow(key GrantKey, sent time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	record, _ := g.known.Get(key)
	if sent.After(record.allowed) {
		record.allowed = sent
		g.known.Add(key, record)
	}
}

// Refuse notes that GitLab said no to a request sent then, which ends the grant, its offline life too. It is
// remembered, so that an older yes that arrives later can't bring the grant back.
func (g *Grants) Refuse(key GrantKey, sent time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	record, _ := g.known.Get(key)
	if sent.After(record.refused) {
		record.refused = sent
		g.known.Add(key, record)
	}
}

// Granted returns when the request was sent to which GitLab last said yes; false if there is no such grant, or a no
// has ended it.
func (g *Grants) Granted(key GrantKey) (sent time.Time, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	record, _ := g.known.Get(key)
	return record.allowed, record.allowed.After(record.refused)
}

// Forget drops the grants of one project, of a whole upstream if project is empty, or all if both are, and returns how
// many there were.
func (g *Grants) Forget(upstream, project string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	forgotten := 0
	for _, key := range g.known.Keys() {
		if (upstream == "" || key.Upstream == upstream) && (project == "" || key.Project == project) {
			g.known.Remove(key)
			forgotten++
		}
	}
	return forgotten
}

// Len returns how many callers and projects are remembered.
func (g *Grants) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known.Len()
}
