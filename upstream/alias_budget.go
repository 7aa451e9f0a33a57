package upstream

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

const (
	// addressPerSecond questions may be put to GitLab for the uploads of one address, and addressAtOnce after a pause. A
	// runner publishes to a few projects, and each name is asked about once.
	addressPerSecond, addressAtOnce = 1, 20
	// uploadsPerSecond and uploadsAtOnce bound those for the uploads of all addresses: GitLab allows the token a few
	// thousand requests a minute, and the downloads of those whom it knows need some of them.
	uploadsPerSecond, uploadsAtOnce = 10, 200
	// maxBudgetAddresses bounds the addresses whose share is remembered. One that is pushed out has a whole share again,
	// and the bound for all holds on.
	maxBudgetAddresses = 10_000
)

// questionBudget bounds the questions about names that uploads cost, which are put before anybody knows who the caller is.
// An address has a share of its own, so that a stranger at one can't use up what others need. It is safe for concurrent
// use.
type questionBudget struct {
	// mu guards all below. Nothing is waited for under it.
	mu        sync.Mutex
	all       *rate.Limiter
	byAddress *simplelru.LRU[string, *rate.Limiter]
}

func newQuestionBudget() *questionBudget {
	return &questionBudget{
		all: rate.NewLimiter(uploadsPerSecond, uploadsAtOnce), byAddress: newLRU[*rate.Limiter](maxBudgetAddresses),
	}
}

// affords reports whether an occasion has a question left, and takes it.
func (b *questionBudget) affords(occasion Occasion, now time.Time) bool {
	return !occasion.budgeted || b.take(occasion.address, now)
}

// take takes one question for an upload from an address, and reports whether there was one left.
func (b *questionBudget) take(address string, now time.Time) bool {
	network := Neighbourhood(address)
	b.mu.Lock()
	defer b.mu.Unlock()
	share, ok := b.byAddress.Get(network)
	if !ok {
		share = rate.NewLimiter(addressPerSecond, addressAtOnce)
		b.byAddress.Add(network, share)
	}
	// The share first: what it refuses must cost the others nothing.
	return share.AllowN(now, 1) && b.all.AllowN(now, 1)
}
