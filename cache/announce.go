package cache

import "time"

// Readers who wait hear of bytes when there is a good piece of them, and no later than announceDelay after they came.
// Fifty readers who each send every packet of the upstream by itself would cost more than all else.
const (
	announcePiece = 512 << 10
	announceDelay = 5 * time.Millisecond
)

// announceLocked tells the readers who wait of what was flushed, now or soon.
func (f *Fill) announceLocked() {
	switch now := time.Now(); {
	case f.grown == nil:
	case f.flushed-f.announced >= announcePiece || now.Sub(f.announcedAt) >= announceDelay:
		f.broadcastLocked()
	case !f.announcing:
		f.announcing = true
		// Runs once.
		time.AfterFunc(announceDelay, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.announcing = false
			f.broadcastLocked()
		})
	}
}

func (f *Fill) broadcastLocked() {
	if f.grown != nil {
		close(f.grown)
		f.grown = nil
		f.announced, f.announcedAt = f.flushed, time.Now()
	}
}
