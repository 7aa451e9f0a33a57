package caddymodule

import (
	"context"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

const (
	// uncomparedFor is how long it is remembered who was sent bytes that were never found to be right. Downloaders that go on by
	// themselves do so within minutes.
	uncomparedFor = time.Hour
	// maxUncompared bounds the downloads that are remembered.
	maxUncompared = 4096
)

// uncompared remembers who was sent the beginning of a file from the shared store that broke off before it was compared with its sum,
// or proved to be wrong. Downloaders such as wget go on from there by themselves, and what GitLab has from that byte on could make a
// wrong file look whole. So these callers get no part of the file but from its beginning, until they have asked for all of it. Safe
// for concurrent use.
type uncompared struct {
	// some says that anybody is remembered: a hit looks no further.
	some atomic.Bool
	// mu guards until; nothing is waited for under it.
	mu    sync.Mutex
	until *simplelru.LRU[uncomparedDownload, time.Time]
}

// uncomparedDownload is one caller's download of one file.
type uncomparedDownload struct {
	key    cache.Key
	caller upstream.GrantKey
}

func newUncompared() *uncompared {
	return &uncompared{until: newLRU[uncomparedDownload, time.Time](maxUncompared)}
}

func (u *uncompared) note(which uncomparedDownload, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.until.Add(which, now.Add(uncomparedFor))
	u.some.Store(true)
}

func (u *uncompared) has(which uncomparedDownload, now time.Time) bool {
	if !u.some.Load() {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	until, ok := u.until.Get(which)
	return ok && now.Before(until)
}

func (u *uncompared) forget(which uncomparedDownload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.until.Remove(which)
	u.some.Store(u.until.Len() > 0)
}

// sendsUncompared notes that a caller is about to be sent bytes of the shared store that weren't compared yet.
func (f *flight) sendsUncompared(x *exchange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.brokeUncompared {
		f.state.uncompared.note(uncomparedDownload{f.key, x.grantKey()}, f.state.now())
		return
	}
	if f.sentTo == nil {
		f.sentTo = make(map[upstream.GrantKey]struct{})
	}
	f.sentTo[x.grantKey()] = struct{}{}
}

// hasSentUncompared reports whether a caller was sent such bytes.
func (f *flight) hasSentUncompared(x *exchange) bool {
	if f.shared == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.sentTo[x.grantKey()]
	return ok
}

// breakUncompared remembers to whom bytes of the shared store were sent, which won't be compared any more, or were wrong.
func (f *flight) breakUncompared() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.brokeUncompared = true
	for caller := range f.sentTo {
		f.state.uncompared.note(uncomparedDownload{f.key, caller}, f.state.now())
	}
}

// wouldJoinUncompared reports whether the caller would join a part of the file to bytes that were never found to be right. Who asks
// for all of it begins anew, and so does who says that all of it will do (RFC 9110, section 13.1.5).
func (d *download) wouldJoinUncompared() bool {
	which := uncomparedDownload{d.key, d.grantKey()}
	if d.r.Method != http.MethodGet || !d.state.uncompared.has(which, d.state.now()) {
		return false
	}
	if d.r.Header.Get("If-Range") != "" {
		d.r = without(d.r, "Range", "If-Range")
	}
	if d.r.Header.Get("Range") == "" {
		d.state.uncompared.forget(which)
		return false
	}
	for _, asked := range rangesOf(d.r.Header.Get("Range"), math.MaxInt64) {
		if asked.start > 0 {
			return true
		}
	}
	return false
}

// partOf returns the ranges that are asked for of a file on its way in; none where all of it is sent instead. elsewhere says that
// GitLab is to be asked for them by itself.
//
// A range that ends before the file does would look right whatever the bytes of the shared store are, since only the file's end is held
// back for the sum. So it waits until the whole was compared. Who was sent some of these bytes gets no others to join to them until then.
func (d *download) partOf(fl *flight) (ranges string, elsewhere bool) {
	ranges = judgeable(d.r, fl.identity.SHA256 != "", !fl.identity.LastModified.IsZero()).Header.Get("Range")
	start, length, far := d.rangeFarAhead(ranges, fl.fill)
	joins := fl.hasSentUncompared(d.exchange)
	early := fl.shared != nil && d.r.Method == http.MethodGet && endsEarly(ranges, fl.fill.Size())
	switch {
	case early && (joins || !far) && d.waitsForEnd(fl, joins), joins, !early && !far:
		return ranges, false
	case hasEdgesTag(d.r):
		// GitLab can't compare, and what it would send may be another file's. A server may always send all (RFC 9110, 14.2).
		d.r = withoutRange(d.r)
		return "", false
	case !far || fl.affords(length, d.h.rangeWait):
		return ranges, true
	case early:
		return ranges, !d.waitsForEnd(fl, false)
	}
	return ranges, !d.waitsFor(fl.fill, start)
}

// endsEarly reports whether one of the ranges ends before the file does.
func endsEarly(ranges string, size int64) bool {
	for _, asked := range rangesOf(ranges, size) {
		if asked.start+asked.length < size {
			return true
		}
	}
	return false
}

// waitsForEnd waits until a flight is over, and reports whether that was within rangePatience, or however long it takes.
func (d *download) waitsForEnd(fl *flight, however bool) bool {
	patience := d.r.Context()
	if !however {
		var cancel context.CancelFunc
		patience, cancel = context.WithTimeout(patience, d.h.process.rangePatience)
		defer cancel()
	}
	select {
	case <-fl.over:
		return true
	case <-patience.Done():
		return d.r.Context().Err() != nil // who has left sees that next
	}
}
