package upstream

import (
	"slices"
	"strings"
	"sync"
	"time"
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
	// read all. A path may pass to another project at any time (contract, section 6), so GitLab's yes about one file there
	// says nothing about another, and File names the one (FileOf).
	File string
}

// FileOf is what a grant for ref is bound to besides its project (GrantKey.File).
func FileOf(ref Ref) string {
	if isNumber(ref.Project) {
		return ""
	}
	return ref.Package + "/" + ref.Version + "/" + ref.File
}

// kept returns the key with texts of its own. The request's are pieces of its first line, all of which would stay in
// memory with them.
func (k GrantKey) kept() GrantKey {
	k.Project, k.ClientIP = strings.Clone(k.Project), strings.Clone(k.ClientIP)
	return k
}

func (k GrantKey) textBytes() int {
	return len(k.Upstream) + len(k.ClientIP) + len(k.Project) + len(k.File)
}

// project is the key without the file: all that the same caller was allowed of the project by this spelling.
func (k GrantKey) project() GrantKey {
	k.File = ""
	return k
}

// credential is whose grant it is, wherever they ask from and whatever for.
func (k GrantKey) credential() holderKey { return holderKey{k.Upstream, k.Fingerprint} }

// holderKey is a credential at one GitLab: another one's 401 says nothing about it.
type holderKey struct {
	upstream    string
	fingerprint Fingerprint
}

func (k holderKey) textBytes() int { return len(k.upstream) }

// keyBudget is what the texts of a key may take on average, in bytes. Most take a third of it; a project's path can have
// thousands, and who asks chooses it.
const keyBudget = 256

// Grants remember whom GitLab allowed to read which project, and when. A grant has a fixed life, which is given with it;
// use never extends it. Answers overtake each other: what was asked later counts, and of two that were asked at once the
// refusal. No address holds more than a 16th of all grants. Safe for concurrent use.
//
// Nothing sweeps grants out: one whose life is over is good for nothing, and stays until it is given anew, forgotten or pushed out.
//
// Allow and Refuse are the only ways in, and take evidence that says what may be concluded from it (NewYes, NewRefusal).
type Grants struct {
	// mu guards all below; nothing is waited for under it. More locks than one are not worth their code: a look-up holds it
	// for less than half a microsecond, however many grants there are.
	mu      sync.Mutex
	allowed *fairTable[GrantKey, heldGrant]
	// over counts the grants in allowed that a 401 has ended: they are dropped when they are met, so that the 401 takes
	// the same time however many there are.
	over int
	// holders are the credentials that hold grants, save those that a 401 has ended.
	holders map[holderKey]*holder
	// byPath are the projects that were allowed by their path, of which each file has a grant of its own.
	byPath map[GrantKey]*projectGrants
	// refusals are the noes about a key, ends those that ended all grants of a credential.
	refusals notes[GrantKey]
	ends     notes[holderKey]
	// forgettings are the latest calls of Forget: what GitLab was asked before one of them is no grant.
	forgettings []forgetting
}

// heldGrant is a grant with its holder.
type heldGrant struct {
	Grant
	holder *holder
}

// isOver reports whether a 401 has ended the grant.
func (h heldGrant) isOver() bool { return !h.Sent.After(h.holder.ended) }

// holder is a credential that holds grants.
type holder struct {
	// grants counts them.
	grants int
	// ended is when GitLab was asked what it answered by a 401 that ended all grants given before; zero for never.
	ended time.Time
	// latest is when the newest of the grants was asked for.
	latest time.Time
	// gone says that the 401 came after the latest grant. Whoever is allowed again is another holder.
	gone bool
}

// projectGrants are a caller's grants for files of one project, which they spell by its path.
type projectGrants struct {
	grants int
	// latest is when the newest was asked for, until when the longest life among them ends. They may be those of a grant
	// that has ended since, which is no harm: GitLab did allow something of the project then.
	latest, until time.Time
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

// NewGrants returns an empty memory of at most that many grants, of as many notes about refusals of their holders, and of
// a quarter as many about others; the least recently used go first. Where keys are long (256 bytes on average), fewer are
// kept.
func NewGrants(most int) *Grants {
	g := &Grants{
		allowed:  newFairTable[GrantKey, heldGrant](most, GrantKey.textBytes),
		holders:  make(map[holderKey]*holder),
		byPath:   make(map[GrantKey]*projectGrants),
		refusals: newNotes(most, GrantKey.textBytes),
		ends:     newNotes(most, holderKey.textBytes),
	}
	g.allowed.dropped = g.droppedLocked
	return g
}

// Allow notes that GitLab said yes. It counts unless a no to a request sent at that time or later is known, about this key
// or about the credential itself, or the grant was to be forgotten since. A yes that is no evidence changes nothing.
func (g *Grants) Allow(key GrantKey, yes Yes) {
	if !yes.counts {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !yes.sent.After(g.refusals.latest(key)) || !yes.sent.After(g.endedLocked(key.credential())) {
		return
	}
	if slices.ContainsFunc(g.forgettings, func(f forgetting) bool { return f.covers(key) && !yes.sent.After(f.at) }) {
		return
	}
	grant := Grant{Sent: yes.sent, Life: yes.life}
	known := g.allowed.find(key)
	if known != nil && known.value.isOver() {
		g.allowed.remove(known)
		known = nil
	}
	if known == nil {
		g.holdLocked(key.kept(), yes.address, grant)
		return
	}
	if age := yes.sent.Sub(known.value.Sent); age > 0 {
		grant.Life = grant.Life.with(known.value.Life, age)
		g.notedLocked(known.key, grant, known.value.holder)
		g.allowed.put(known.key, yes.address, heldGrant{grant, known.value.holder})
	}
}

// holdLocked adds a grant for a key that has none.
func (g *Grants) holdLocked(key GrantKey, address string, grant Grant) {
	credential := key.credential()
	owner := g.holders[credential]
	if owner == nil {
		owner = &holder{ended: g.ends.latest(credential)}
		g.holders[credential] = owner
		g.ends.becomesHolder(credential)
	}
	g.refusals.becomesHolder(key)
	// Counted before it is put, which may push out the credential's other grants.
	owner.grants++
	if key.File != "" {
		project := g.byPath[key.project()]
		if project == nil {
			project = new(projectGrants)
			g.byPath[key.project()] = project
		}
		project.grants++
	}
	g.notedLocked(key, grant, owner)
	g.allowed.put(key, address, heldGrant{grant, owner})
}

// notedLocked keeps what is known of a grant's holder and project up to date.
func (g *Grants) notedLocked(key GrantKey, grant Grant, owner *holder) {
	owner.latest = latestOf(owner.latest, grant.Sent)
	if key.File != "" {
		project := g.byPath[key.project()]
		project.latest = latestOf(project.latest, grant.Sent)
		project.until = latestOf(project.until, grant.Sent.Add(grant.Life.longest()))
	}
}

// droppedLocked is told of each grant that goes.
func (g *Grants) droppedLocked(key GrantKey, held heldGrant) {
	owner := held.holder
	owner.grants--
	switch {
	case owner.gone:
		g.over--
	case owner.grants == 0:
		delete(g.holders, key.credential())
	}
	if key.File != "" {
		project := g.byPath[key.project()]
		if project.grants--; project.grants == 0 {
			delete(g.byPath, key.project())
		}
	}
}

// Refuse notes that GitLab said no, which ends the key's grant, its offline life too, unless a yes to a request sent later
// is known. A no about the credential itself ends all of its grants at this GitLab, by every spelling and from every
// address. It is remembered, so that an older yes that arrives later brings nothing back. A no that is no evidence changes
// nothing.
func (g *Grants) Refuse(key GrantKey, no Refusal) {
	if !no.counts {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	credential := key.credential()
	// All are asked before the grant goes.
	endsAll := no.endsAll(g.holdsProjectLocked(key, no.sent))
	isHolder := g.holders[credential] != nil || g.ends.isAboutHolder(credential) || g.refusals.isAboutHolder(key)
	if known := g.allowed.find(key); known != nil && !known.value.Sent.After(no.sent) {
		g.allowed.remove(known)
	}
	g.refusals.note(isHolder, key.kept(), no.address, no.sent)
	if endsAll {
		g.ends.note(isHolder, credential, no.address, no.sent)
		g.endLocked(credential, no.sent)
	}
}

// holdsProjectLocked reports whether the caller held a yes to this very project when they asked: by this spelling, since
// paths pass to other projects, and from this address, since GitLab answers a deploy token by 401 from one that isn't on
// the group's list. Any file counts.
func (g *Grants) holdsProjectLocked(key GrantKey, asked time.Time) bool {
	if key.File == "" {
		known := g.allowed.find(key)
		return known != nil && !known.value.isOver() && asked.Before(known.value.Sent.Add(known.value.Life.longest()))
	}
	project := g.byPath[key.project()]
	return project != nil && project.latest.After(g.endedLocked(key.credential())) && asked.Before(project.until)
}

// endedLocked returns when a credential's grants were ended all at once, zero for never.
func (g *Grants) endedLocked(credential holderKey) time.Time {
	ended := g.ends.latest(credential)
	if owner := g.holders[credential]; owner != nil {
		ended = latestOf(ended, owner.ended)
	}
	return ended
}

// endLocked ends all grants of a credential that were given by then, at once: they are dropped when they are met.
func (g *Grants) endLocked(credential holderKey, at time.Time) {
	owner := g.holders[credential]
	if owner == nil {
		return
	}
	owner.ended = latestOf(owner.ended, at)
	if owner.latest.After(at) {
		return // GitLab has said yes since
	}
	owner.gone = true
	g.over += owner.grants
	delete(g.holders, credential)
}

// Granted returns the grant of a key; false if there is none, or a no has ended it. Whoever asks judges by Grant.Covers
// what it is still good for.
func (g *Grants) Granted(key GrantKey) (Grant, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	known := g.allowed.find(key)
	if known == nil {
		return Grant{}, false
	}
	if known.value.isOver() {
		g.allowed.remove(known)
		return Grant{}, false
	}
	g.allowed.use(known)
	return known.value.Grant, true
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
	for key, known := range g.allowed.entries {
		if !latest.covers(key) {
			continue
		}
		if !known.value.isOver() {
			forgotten++
		}
		g.allowed.remove(known)
	}
	return forgotten
}

// Count returns how many grants Forget would drop of one project, of a whole upstream if project is empty, or of all if both are.
func (g *Grants) Count(upstream, project string) (grants int) {
	asked := forgetting{upstream: upstream, project: project}
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, known := range g.allowed.entries {
		if asked.covers(key) && !known.value.isOver() {
			grants++
		}
	}
	return grants
}

// Len returns how many grants are remembered.
func (g *Grants) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.allowed.entries) - g.over
}

func latestOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
