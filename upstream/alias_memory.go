package upstream

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"
)

const (
	// maxAliases bounds the names of projects that are remembered, those that are none, and the projects.
	maxAliases = 10_000
	// maxNames bounds the names of one project. A project has its number, its path, and a former path for each move.
	maxNames = 32
	// aliasLife is how long an answer holds before GitLab is asked anew; a project that was renamed meanwhile is known by
	// its new name then.
	aliasLife = 5 * time.Minute
	// unknownLife is how long an answer holds that GitLab knows no project of a name. One may get that name at any time, and
	// its owner could ask about it just before: until GitLab is asked anew, no switch holds for the name.
	unknownLife = 5 * time.Second
	// aliasPause is the wait after GitLab gave no answer about a name.
	aliasPause = 5 * time.Second
)

// AliasMemory is what GitLab has told of projects' names, apart from the client that asks: it can outlive that, and serve
// several, of one GitLab and one token. The token isn't in it. Its size is bounded; what is pushed out counts as never
// answered. It is safe for concurrent use.
type AliasMemory struct {
	asking singleflight.Group
	budget *questionBudget

	// mu guards all below. Nothing is waited for under it.
	mu sync.Mutex
	// known holds the names of projects, unknown all other names that were asked about. They are apart so that a stranger
	// who makes up names pushes out other made-up names, and no project.
	known, unknown *simplelru.LRU[string, aliasRecord]
	// groups holds the names of each project, by its number. A name counts only as long as its record says the same.
	groups *simplelru.LRU[string, []string]
}

// aliasRecord is what is known of one name.
type aliasRecord struct {
	// id is the number of the project; empty for a name that GitLab doesn't know.
	id string
	// learned is when GitLab answered last, zero if it never did. asked is when a renewal was begun last, and failed when
	// GitLab gave no answer last.
	learned, asked, failed time.Time
}

// ProjectNames is what GitLab said last of a name. The zero value is for a name that was never answered.
type ProjectNames struct {
	// Answered says that GitLab has answered, however long ago.
	Answered bool
	// ID is the project's number. It is empty if GitLab knows no project of that name, or doesn't show it to the token.
	ID string
	// Others are the project's other names, in canonical spelling.
	Others []string
}

// NewAliasMemory returns a memory of nothing.
func NewAliasMemory() *AliasMemory {
	return &AliasMemory{
		budget: newQuestionBudget(),
		known:  newLRU[aliasRecord](maxAliases), unknown: newLRU[aliasRecord](maxAliases), groups: newLRU[[]string](maxAliases),
	}
}

func newLRU[V any](size int) *simplelru.LRU[string, V] {
	lru, err := simplelru.NewLRU[string, V](size, nil)
	if err != nil {
		panic(err) // only for a size that isn't positive
	}
	return lru
}

// Last returns what GitLab said last of a project by one of its names, in canonical spelling. It asks nobody.
func (m *AliasMemory) Last(project string) ProjectNames {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastLocked(project)
}

func (m *AliasMemory) lastLocked(project string) ProjectNames {
	record, _ := m.recordLocked(project)
	last := ProjectNames{Answered: !record.learned.IsZero(), ID: record.id}
	if record.id == "" {
		return last
	}
	group, _ := m.groups.Get(record.id)
	for _, name := range group {
		if other, _ := m.known.Peek(name); other.id == record.id && name != project {
			last.Others = append(last.Others, name)
		}
	}
	return last
}

// recordLocked returns the record of a name, and where it is kept.
func (m *AliasMemory) recordLocked(project string) (aliasRecord, *simplelru.LRU[string, aliasRecord]) {
	if record, ok := m.known.Get(project); ok {
		return record, m.known
	}
	record, _ := m.unknown.Get(project)
	return record, m.unknown
}

// isDue reports whether GitLab is to be asked about a name: its answer is old, and no question about it was begun or failed
// a moment ago.
func (m *AliasMemory) isDue(project string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	record, _ := m.recordLocked(project)
	return record.isDue(now)
}

// isFresh reports whether GitLab has answered and the answer isn't old.
func (r aliasRecord) isFresh(now time.Time) bool {
	life := aliasLife
	if r.id == "" {
		life = unknownLife
	}
	return !r.learned.IsZero() && now.Sub(r.learned) < life
}

func (r aliasRecord) isDue(now time.Time) bool {
	return !r.isFresh(now) && now.Sub(r.asked) >= aliasPause && now.Sub(r.failed) >= aliasPause
}

// beginRenewal reports whether GitLab is to be asked about a name anew, and notes that it is.
func (m *AliasMemory) beginRenewal(project string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	record, place := m.recordLocked(project)
	if !record.isDue(now) {
		return false
	}
	record.asked = now
	place.Add(strings.Clone(project), record)
	return true
}

// learn takes in what GitLab answered about a name: the number of its project, and the path that this has now. One answer
// is the answer about each of these names.
func (m *AliasMemory) learn(project, id, path string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	group, _ := m.groups.Get(id)
	for _, name := range []string{project, id, path} {
		name = strings.Clone(name) // names are pieces of requests
		m.known.Add(name, aliasRecord{id: id, learned: now})
		m.unknown.Remove(name)
		// At the end, so that a project with many former paths keeps the names by which admins switch it.
		group = append(slices.DeleteFunc(group, func(known string) bool { return known == name }), name)
	}
	if len(group) > maxNames {
		group = slices.Delete(group, 0, len(group)-maxNames)
	}
	m.groups.Add(id, group)
}

// learnUnknown takes in that GitLab shows the token no project of a name. Where GitLab has told before which project it is,
// that counts on: the token may have lost sight of the project, and a project that GitLab forgets allows nobody anything.
func (m *AliasMemory) learnUnknown(project string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	record, place := m.recordLocked(project)
	place.Add(strings.Clone(project), aliasRecord{id: record.id, learned: now})
}

// fail notes that GitLab gave no answer about a name.
func (m *AliasMemory) fail(project string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	record, place := m.recordLocked(project)
	record.failed = now
	place.Add(strings.Clone(project), record)
}
