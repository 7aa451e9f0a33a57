package upstream

import (
	"slices"
	"strings"
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
	// File is empty where the project is spelled by its id, which is its own for ever: who may read one of its files may
	// read all. A path may pass to another project at any time, so GitLab's yes about one file there says nothing about
	// another, and File names the one (FileOf).
	File string
}

// FileOf is what a grant for ref is bound to besides its project (GrantKey.File).
func FileOf(ref Ref) string {
	if isNumber(ref.Project) {
		return ""
	}
	return ref.Package + "/" + ref.Version + "/" + ref.File
}

// Grants remember whom GitLab allowed to read which project, and when. A grant has a fixed life, which whoever asks
// judges by its age; use never extends it. Answers overtake each other: what was asked later counts, and of two that
// were asked at once the refusal. Safe for concurrent use.
type Grants struct {
	// mu guards both memories; nothing is waited for under it. More locks than one are not worth their code: a look-up
	// holds it for less than half a microsecond, however many grants there are.
	mu sync.Mutex
	// allowed and refused hold the times at which the requests were sent that GitLab last answered so. They are apart so
	// that a stranger who makes GitLab refuse any number of made-up tokens pushes out other refusals and nobody's grant.
	allowed, refused *answerTimes
	// forgettings are the latest calls of Forget: what GitLab was asked before one of them is no grant.
	forgettings []forgetting
}

// forgetting is one call of Forget.
type forgetting struct {
	upstream, project string
	at                time.Time
}

func (f forgetting) covers(key GrantKey) bool {
	return (f.upstream == "" || f.upstream == key.Upstream) && (f.project == "" || f.project == key.Project)
}

// keptForgettings is for how long calls of Forget are remembered: longer than any answer of GitLab's can be on its way.
const keptForgettings = time.Hour

// NewGrants returns an empty memory of at most that many grants, and of as many refusals; the least recently used go
// first. Where keys are long (256 bytes on average), fewer are kept.
func NewGrants(most int) *Grants {
	return &Grants{allowed: newAnswerTimes(most), refused: newAnswerTimes(most)}
}

// Allow notes that GitLab said yes to a request sent then. It counts unless a no to a request sent at that time or
// later is known, or the grant was to be forgotten since.
func (g *Grants) Allow(key GrantKey, sent time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if refused, ok := g.refused.get(key); ok && !sent.After(refused) {
		return
	}
	if allowed, ok := g.allowed.get(key); ok && !sent.After(allowed) {
		return
	}
	if slices.ContainsFunc(g.forgettings, func(f forgetting) bool { return f.covers(key) && !sent.After(f.at) }) {
		return
	}
	g.allowed.put(key, sent)
}

// Refuse notes that GitLab said no to a request sent then, which ends the grant, its offline life too, unless a yes to a
// request sent later is known. It is remembered, so that an older yes that arrives later can't bring the grant back.
func (g *Grants) Refuse(key GrantKey, sent time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if allowed, ok := g.allowed.get(key); ok && !allowed.After(sent) {
		g.allowed.remove(key)
	}
	if refused, ok := g.refused.get(key); !ok || sent.After(refused) {
		g.refused.put(key, sent)
	}
}

// Granted returns when the request was sent to which GitLab last said yes; false if there is no such grant, or a no
// has ended it.
func (g *Grants) Granted(key GrantKey) (sent time.Time, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.allowed.get(key)
}

// Forget drops the grants of one project, of a whole upstream if project is empty, or all if both are, and returns how
// many there were. An answer that is still on its way to a request sent at `at` or before brings none of them back.
// Refusals are kept: an older yes must not pass them.
func (g *Grants) Forget(upstream, project string, at time.Time) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	latest := forgetting{upstream: upstream, project: project, at: at}
	g.forgettings = slices.DeleteFunc(g.forgettings, func(f forgetting) bool { return at.Sub(f.at) > keptForgettings })
	g.forgettings = append(g.forgettings, latest)
	forgotten := 0
	for _, key := range g.allowed.lru.Keys() {
		if latest.covers(key) {
			g.allowed.remove(key)
			forgotten++
		}
	}
	return forgotten
}

// Len returns how many grants are remembered.
func (g *Grants) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.allowed.lru.Len()
}

// keyBudget is what the texts of a key may take on average, in bytes. Most take a third of it; a project's path can have
// thousands, and who asks chooses it.
const keyBudget = 256

// answerTimes remembers when the requests were sent that had one kind of answer, bounded in number and in bytes.
type answerTimes struct {
	lru *simplelru.LRU[GrantKey, time.Time]
	// bytes is what the texts of all keys take, room what they may take.
	bytes, room int
}

func newAnswerTimes(most int) *answerTimes {
	a := &answerTimes{room: most * keyBudget}
	lru, err := simplelru.NewLRU(most, func(key GrantKey, _ time.Time) { a.bytes -= textBytes(key) })
	if err != nil {
		panic(err) // only for a number that isn't positive
	}
	a.lru = lru
	return a
}

func textBytes(key GrantKey) int {
	return len(key.Upstream) + len(key.ClientIP) + len(key.Project) + len(key.File)
}

func (a *answerTimes) get(key GrantKey) (time.Time, bool) { return a.lru.Get(key) }

func (a *answerTimes) remove(key GrantKey) { a.lru.Remove(key) }

func (a *answerTimes) put(key GrantKey, sent time.Time) {
	if !a.lru.Contains(key) {
		// These are pieces of the request's text, all of which would stay in memory with them.
		key.Project, key.ClientIP = strings.Clone(key.Project), strings.Clone(key.ClientIP)
		a.bytes += textBytes(key)
	}
	a.lru.Add(key, sent)
	for a.bytes > a.room && a.lru.Len() > 1 {
		a.lru.RemoveOldest()
	}
}
