package page

import (
	"crypto/rand"
	"net/http"
	"sync"
)

// resultParameter names the result that a page tells. The result itself stays here: an address could be made up by others.
const resultParameter = "result"

// keptResults is how many results are remembered.
const keptResults = 64

// result is what an action has done, in words.
type result struct {
	Done    string
	Further []string
}

// results are the last ones, by their ids.
type results struct {
	// mu guards all below. Nothing is waited for under it.
	mu   sync.Mutex
	byID map[string]*result
	// ids are those remembered, the oldest first.
	ids []string
}

// keep remembers a result and returns its id.
func (k *results) keep(made result) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byID == nil {
		k.byID = make(map[string]*result)
	}
	if len(k.ids) == keptResults {
		delete(k.byID, k.ids[0])
		k.ids = append(k.ids[:0], k.ids[1:]...)
	}
	id := rand.Text()
	k.ids, k.byID[id] = append(k.ids, id), &made
	return id
}

// get returns a result that is remembered; nil if it isn't any more.
func (k *results) get(id string) *result {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.byID[id]
}

// tell leads to a page that tells a result. A reload of it tells it again, and does nothing.
func (p *Page) tell(w http.ResponseWriter, page, fragment string, made result) {
	w.Header().Set("Location", link(page, resultParameter, p.results.keep(made))+fragment)
	w.WriteHeader(http.StatusSeeOther)
}
