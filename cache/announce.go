package cache

import (
	"sync"
	"time"
)

// Readers who wait hear of bytes when there is a good piece of them, and no later than announceDelay after they came.
// Fifty readers who each send every packet of the upstream by itself would cost more than all else.
const (
	announcePiece = 512 << 10
	announceDelay = 5 * time.Millisecond
)

// news is what readers hear who wait at one place of a fill: where it has no gap up to there, or in a part ahead. Guarded by
// Fill.mu, with which held all methods are called.
type news struct {
	// grown is closed when there is more to read; nil while nobody waits.
	grown chan struct{}
	// until is up to where bytes have come, and announced what it was when those who wait were last told, at announcedAt.
	// announcing says that they will be told anew.
	until, announced int64
	announcedAt      time.Time
	announcing       bool
}

// wait returns what is closed when there is more to read.
func (n *news) wait() <-chan struct{} {
	if n.grown == nil {
		n.grown = make(chan struct{})
	}
	return n.grown
}

// come tells the readers who wait of bytes up to there, now or soon. mu is Fill.mu.
func (n *news) come(mu *sync.Mutex, until int64) {
	n.until = until
	switch now := time.Now(); {
	case n.grown == nil:
	case until-n.announced >= announcePiece || now.Sub(n.announcedAt) >= announceDelay:
		n.tell()
	case !n.announcing:
		n.announcing = true
		// Runs once.
		time.AfterFunc(announceDelay, func() {
			mu.Lock()
			defer mu.Unlock()
			n.announcing = false
			n.tell()
		})
	}
}

// tell has those who wait look again.
func (n *news) tell() {
	if n.grown != nil {
		close(n.grown)
		n.grown = nil
		n.announced, n.announcedAt = n.until, time.Now()
	}
}
