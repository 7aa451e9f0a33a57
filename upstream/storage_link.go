package upstream

import (
	"context"
	"net/url"
	"strings"
	"sync"
)

// storageLink is where in the object storage a file lies: the URL that GitLab has signed for it. All parts of one file share it, so
// that GitLab hears of one download. It is safe for concurrent use.
type storageLink struct {
	// renewing holds a value while somebody has the link renewed, or looks whether somebody has.
	renewing chan struct{}

	// mu guards all below; nothing is waited for under it.
	mu     sync.Mutex
	target *redirectTarget
	// takenOnce says that the storage has refused a URL that was signed just before.
	takenOnce bool
}

// newStorageLink makes one of where GitLab has sent us; nil for nowhere.
func newStorageLink(target *redirectTarget) *storageLink {
	if target == nil {
		return nil
	}
	return &storageLink{renewing: make(chan struct{}, 1), target: target}
}

func (l *storageLink) now() *redirectTarget {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.target
}

func (l *storageLink) renew(target *redirectTarget) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target = target
}

func (l *storageLink) isTakenOnce() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.takenOnce
}

func (l *storageLink) noteTakenOnce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takenOnce = true
}

// enter waits for the turn to renew the link.
func (l *storageLink) enter(ctx context.Context) (release func(), err error) {
	select {
	case l.renewing <- struct{}{}:
		return func() { <-l.renewing }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// origin names a URL's server as scheme://host, without the port that the scheme has anyway.
func origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host
}
