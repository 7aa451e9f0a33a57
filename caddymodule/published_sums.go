package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// maxPublishedSums bounds the uploads whose sums are remembered.
const maxPublishedSums = 4 << 10

// publishedSums are the SHA-256s of uploads that passed on their way to a GitLab which redirects to its storage, and so names
// none itself (design, "Sums behind a redirect"). Safe for concurrent use.
//
// That a location holds an upload isn't known at first: somebody may have published beside the edge meanwhile. So a sum is
// expected of the next body of the file, and proves nothing by itself. Once a whole body had it, two who know nothing of each
// other say the same, and it holds for that location for good, since GitLab never uses one twice (contract, section 7).
type publishedSums struct {
	// mu guards sums; nothing is waited for under it.
	mu   *sync.Mutex
	sums *simplelru.LRU[cache.Key, publishedSum]
}

type publishedSum struct {
	digest cache.Digest
	// generation is the one that the upload began; until location is known, the sum is expected in no other.
	generation cache.Generation
	// location is where a whole body with this sum came from; empty as long as none did.
	location string
}

func newPublishedSums() publishedSums {
	return publishedSums{new(sync.Mutex), newLRU[cache.Key, publishedSum](maxPublishedSums)}
}

// note remembers the sum of an upload that GitLab took as the whole file, by which the key came into that generation.
func (p publishedSums) note(key cache.Key, after cache.Generation, digest cache.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sums.Add(key, publishedSum{digest: digest, generation: after})
}

// of returns the sum that a body from a location of the storage should have; zero if nothing is known. proven says that it
// must: the location has given it before.
func (p publishedSums) of(key cache.Key, generation cache.Generation, location string) (digest cache.Digest, proven bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	noted, ok := p.sums.Get(key)
	switch {
	case !ok || location == "":
	case noted.location == location:
		return noted.digest, true
	case noted.location == "" && noted.generation == generation:
		return noted.digest, false
	}
	return cache.Digest{}, false
}

// settle takes in what a location gave in whole in the upload's generation: the very sum, or, twice, another one. Then the
// file is another's upload by now.
func (p publishedSums) settle(key cache.Key, generation cache.Generation, location string, came cache.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	noted, ok := p.sums.Peek(key)
	if !ok || noted.location != "" || noted.generation != generation {
		return // published over, or settled, meanwhile
	}
	if noted.digest != came {
		p.sums.Remove(key)
		return
	}
	noted.location = location
	p.sums.Add(key, noted)
}

// errUnlikeUpload says that a body isn't what was published through the edge, and that no second body was like it.
var errUnlikeUpload = errors.New("the body isn't what was uploaded through the edge, and its location doesn't give it twice")

// compareWithUpload returns a cache.ErrChecksum unless the whole body's sum is the expected one. If it is another, either the body
// is damaged, or somebody has published beside the edge. So the location is read once more: what comes twice wasn't damaged on
// its way.
func (f *flight) compareWithUpload(ctx context.Context, came cache.Digest) error {
	if came != f.expected {
		again, err := f.sumAgain(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errUnlikeUpload, err) // nobody knows whether it is damaged
		}
		if again != came {
			return fmt.Errorf("%w: %w", cache.ErrChecksum, errUnlikeUpload)
		}
	}
	f.state.publishedSums.settle(f.key, f.generation, f.identity.Location, came)
	return nil
}

// sumAgain fetches the flight's content a second time, in the name of the caller who leads it, and keeps its sum alone.
func (f *flight) sumAgain(ctx context.Context) (sum cache.Digest, err error) {
	begun := time.Now()
	body, err := f.h.client.Fetch(ctx, f.leader.caller, f.ref, f.identity)
	f.h.metrics.fetched(err, time.Since(begun))
	f.hear(f.leader.reader, answerOfFetch(body, err))
	if err != nil {
		return cache.Digest{}, err
	}
	defer body.Close()
	if !body.Storable() || body.Identity.Location != f.identity.Location {
		return cache.Digest{}, upstream.ErrChanged
	}
	return cache.DigestOf(&countedReader{Reader: body, read: f.h.metrics.received})
}
