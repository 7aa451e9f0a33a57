package caddymodule

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// fromShared is what a flight has from the shared store.
type fromShared struct {
	content bucket.Content
	// written is when the object was.
	written time.Time
}

// takeNamed returns the file's bytes from the shared store, where GitLab has just named them to the leader by a check, so that
// GitLab is asked for no body; nil if they can't be had so.
func (f *flight) takeNamed(ctx context.Context) *upstream.Download {
	named := f.leader.named
	if named == nil || named.Identity.SHA256 == "" {
		return nil // what GitLab names otherwise is compared with the head of its storage's answer
	}
	object := f.openShared(ctx, named.Identity, named.Identity.Length)
	if object == nil {
		return nil
	}
	f.answer = *named
	return f.h.client.Elsewhere(ctx, f.leader.caller, f.ref, *named, f.shared.content.Size, object)
}

// takeFromShared reads the body from the shared store instead of GitLab, if it is there. GitLab's own answer has come by then, and
// its body waits unread: what of that is on its way already is lost, a few MiB at most.
func (f *flight) takeFromShared(ctx context.Context, body *upstream.Download) {
	identity := body.Identity
	identity.SHA256 = body.SHA256() // its storage's, where GitLab names none
	if object := f.openShared(ctx, identity, body.Length); object != nil {
		body.TakeFrom(object)
		// Commit compares the sum, which GitLab has named, or another edge of its location.
		f.fill.Expect(cache.Digest(f.shared.content.SHA256))
		body.Verified = true
	}
}

// openShared opens the bytes in the shared store that an answer of GitLab's has named; nil if there are none, or nobody may know.
// All calls of a flight together take first_byte at most.
func (f *flight) openShared(ctx context.Context, identity upstream.Identity, length int64) *bucket.Object {
	shared := f.h.shared
	if shared == nil || !shared.reads || f.sharedTried || (length >= 0 && !shared.takes(length)) {
		return nil
	}
	begun := time.Now()
	content, err := f.sharedContent(ctx, identity, length)
	var object *bucket.Object
	if err == nil {
		object, err = shared.Open(ctx, content, 0, shared.FirstByte()-time.Since(begun))
	}
	f.h.metrics.sharedRead(err, time.Since(begun))
	switch {
	case err == nil:
		f.shared = &fromShared{content, object.Written()}
		f.readsShared.Store(true)
		return object
	case errors.Is(err, bucket.ErrWrong):
		f.tellWrong(content, err)
	}
	f.sharedTried = sharedResultOf(err) == sharedFailed
	return nil
}

// errUnnamed says that GitLab's answer names no content that the shared store could be asked for.
var errUnnamed = errors.New("GitLab names neither a checksum nor a location with a tag of its own")

// sharedContent is what an answer of GitLab's names: by its SHA-256, or by a location of its storage of which an edge with the same
// secret has said what it holds, and that still shows the same tag and length. Locations alone prove nothing: another GitLab's, or one
// that was restored from a backup, can be alike.
func (f *flight) sharedContent(ctx context.Context, identity upstream.Identity, length int64) (bucket.Content, error) {
	content := bucket.Content{Size: length}
	switch {
	case length < 0:
		return content, errUnnamed
	case identity.SHA256 != "":
		digest, err := cache.ParseDigest(identity.SHA256)
		if err != nil {
			return content, errUnnamed
		}
		content.SHA256 = bucket.SHA256(digest)
		return content, nil
	case !f.proven.IsZero():
		content.SHA256 = bucket.SHA256(f.proven)
		return content, nil
	case identity.Location == "" || identity.ETag == "" || !f.h.shared.HasSecret():
		return content, errUnnamed
	}
	found, err := f.h.shared.LocationOf(ctx, f.sharedPlace(identity))
	if err == nil && (found.ETag != identity.ETag || found.Size != length) {
		err = bucket.ErrAbsent
	}
	return found.Content, err
}

// sharedPlace is what a storage's location is called in the shared store.
func (f *flight) sharedPlace(identity upstream.Identity) string {
	return placeOf(f.h.client.Upstream(), identity.Location)
}

func placeOf(gitlab, location string) string { return gitlab + " " + location }

// noteShared notes, before the fill is committed, whether the shared store has these bytes or is owed them: by whom they came from
// GitLab, at least in part.
func (f *flight) noteShared(body *upstream.Download) {
	switch {
	case f.shared != nil && body.IsElsewheres():
		f.fill.NoteShared(f.shared.written)
	case f.h.shared.isOwed(f.fill.Written()) && f.h.shared.IsDistrusted(bucket.SHA256(f.fill.Sum())):
		f.fill.OweInPlaceOfWrong()
	case f.h.shared.isOwed(f.fill.Written()):
		f.fill.Owe(f.h.process.sharedSpread(f.fill.Written()))
	}
}

// compareShared compares what came from the shared store, at least in part, with what it should be, as Commit does after it. Commit tells
// readers at once, and they ask again at once: by then it must be known that the object is wrong, and who was sent bytes of it.
func (f *flight) compareShared(body *upstream.Download) error {
	switch {
	case f.shared == nil || !body.CameFromElsewhere():
		return nil
	case f.fill.Written() != f.shared.content.Size:
		return cache.ErrShort
	case f.fill.Sum() != cache.Digest(f.shared.content.SHA256):
		return cache.ErrChecksum
	}
	return nil
}

// noteWrong takes in that the whole file hadn't the sum that it should have. Where it came from the shared store, at least in part,
// that isn't believed again.
func (f *flight) noteWrong(body *upstream.Download, came cache.Digest, err error) {
	if f.shared == nil || !body.CameFromElsewhere() {
		return
	}
	if came == cache.Digest(f.shared.content.SHA256) {
		// The object is what its name says. What was said of the location isn't.
		f.h.shared.DistrustLocation(f.sharedPlace(f.identity))
		return
	}
	f.h.shared.Distrust(f.shared.content.SHA256)
	f.tellWrong(f.shared.content, err)
}

// tellWrong tells of an object that isn't what it should be.
func (f *flight) tellWrong(content bucket.Content, err error) {
	f.h.metrics.sharedWrong.Inc()
	object := f.h.shared.BlobName(content.SHA256)
	f.state.tell(eventSharedWrong, map[string]any{"store": f.h.shared.String(), "object": object})
	f.h.tellTrouble(trouble{
		what: "an object of the shared store isn't what its name says", consequence: "it isn't read again until the right bytes are written over it",
		where: zap.String("store", f.h.shared.String()), ref: f.ref, err: err, further: []zap.Field{zap.String("object", object)},
	})
}
