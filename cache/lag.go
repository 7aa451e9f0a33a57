package cache

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// replicaLag is for how long after a publish an answer may come from a replica of the upstream's database that hasn't
	// heard of it. GitLab asks its primary for a user who has just written, and anybody else may meet a replica, which it
	// takes out of use when it is a minute behind and which is mostly much less (contract, section 7).
	replicaLag = 10 * time.Second
	// maxFormer bounds the contents that are remembered for that long: 400 publishes a second. With more, the oldest is
	// forgotten, and an answer that names it confirms it.
	maxFormer = 4 << 10
)

// formerBlob is content that was a key's when the key was published.
type formerBlob struct {
	key    keyHash
	digest Digest
}

// formers says of what was current before recent publishes when it was published over, counted from Store.started. Guarded
// by Store.mu.
type formers struct {
	published *simplelru.LRU[formerBlob, time.Duration]
}

func newFormers() formers { return formers{newLRU[formerBlob, time.Duration](maxFormer)} }

// note remembers content that is published over now, and forgets what was long enough ago.
func (f formers) note(content formerBlob, now time.Duration) {
	for {
		_, published, ok := f.published.GetOldest()
		if !ok || now < published+replicaLag {
			break
		}
		f.published.RemoveOldest()
	}
	f.published.Add(content, now)
}

// lags reports whether content is what its key had before a publish (Raise, Published), less than 10 seconds before an answer that
// names it was asked for. Such an answer says nothing: it is right, or it comes from a replica of the upstream that hasn't heard of
// the publish. It is for the caller who asked, and for nobody else; no other content is to be doubted because of it.
//
// The store's user judges the same of answers that name no bytes (caddymodule/former.go).
func (f formers) lags(content formerBlob, asked time.Duration) bool {
	published, ok := f.published.Peek(content)
	return ok && asked < published+replicaLag
}
