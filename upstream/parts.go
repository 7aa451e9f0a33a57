package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// ErrNoParts says that a server gives no parts of a file: it has sent all of it where a part was asked for, or what doesn't show that it
// is this part of this content, or it takes a URL that GitLab has signed only once. Nothing of that is read.
var ErrNoParts = errors.New("a part of the file was asked for, and can't be had")

// HasParts reports whether parts of the file can be asked for beside the first answer's body: its server takes ranges, the length is
// known, and each part's answer can show that it is of this very content, by its SHA-256 or a strong entity tag. A location alone
// shows nothing: all parts are asked for at the same one.
func (d *Download) HasParts() bool {
	carrier := d.client.cfg.PartTransport
	if d.FromStorage() {
		carrier = d.client.cfg.PartStorageTransport
	}
	return carrier != nil && d.takesRanges && d.Length > 0 && d.Storable() && (d.Identity.SHA256 != "" || d.Identity.ETag != "")
}

// FromStorage reports whether GitLab sent us to its object storage for the bytes.
func (d *Download) FromStorage() bool { return d.link != nil }

// Server names the server that the bytes come from, as scheme://host: GitLab, or its object storage.
func (d *Download) Server() string {
	if d.link != nil {
		return origin(d.link.now().url)
	}
	return origin(d.client.cfg.Base)
}

// Part is the part of the file from one byte up to another, which isn't asked for before the first Read. It has a connection of its own,
// and is resumed like the whole, in the name of the same caller. From object storage all parts are asked for by the one URL that
// GitLab has signed; when that has expired one of them has it renewed for all.
//
// Besides the errors of a Download its Read returns ErrNoParts, ErrChanged, and at once what says that there are too many requests
// (EndsParts).
// Whoever reads a part compares the whole file's sum.
func (d *Download) Part(ctx context.Context, from, until int64) *Download {
	return &Download{
		client: d.client, ctx: context.WithValue(ctx, partKey{}, true), caller: d.caller, ref: d.ref, Sent: d.Sent,
		Identity: d.Identity, Length: d.Length, Framed: true, Verified: true, offset: from, until: until, link: d.link,
	}
}

type partKey struct{}

// forParts returns the transport for a request: parts have one of their own.
func forParts(ctx context.Context, parts, others http.RoundTripper) http.RoundTripper {
	if isPart, _ := ctx.Value(partKey{}).(bool); isPart && parts != nil {
		return parts
	}
	return others
}

// TakeIn takes in bytes of the file that came by a part, the next after those that were read. The present answer's body is given up:
// it would bring them again. The next Read asks for what comes then. ErrChecksum means what it does for Read.
func (d *Download) TakeIn(p []byte) error {
	d.closeBody()
	return d.count(p)
}

// PassOver is TakeIn where the present answer's body goes on: it brings the same bytes, which are compared, and then those behind them.
func (d *Download) PassOver(p []byte) error {
	same := make([]byte, len(p))
	if _, err := io.ReadFull(d.body, same); err != nil {
		return d.TakeIn(p)
	}
	if !bytes.Equal(same, p) {
		return ErrChanged
	}
	return d.count(p)
}

// count has bytes that came by a part count as read.
func (d *Download) count(p []byte) error {
	d.beginSum()
	d.offset += int64(len(p))
	d.summing.write(p)
	if d.offset == d.Length {
		return d.summing.compare()
	}
	return nil
}

// HandOver has the download go on in the name of another caller, since GitLab has refused the present one for a part. If there is none,
// the next answer tells.
func (d *Download) HandOver(refused *RefusedError) {
	_ = d.handOver(refused)
}

// IsOpen reports whether an answer's body is under way, so that the next Read asks for nothing.
func (d *Download) IsOpen() bool { return d.body != nil }

func (d *Download) isPart() bool { return d.until > 0 }

func (d *Download) closeBody() {
	if d.body != nil {
		_ = d.body.Close()
		d.body = nil
	}
}

// open asks for the body of a download that has none, a part or what comes after parts.
func (d *Download) open() error {
	d.isElsewhere = false
	for {
		err := d.reopen()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrChanged), d.isPart() && EndsParts(err):
			return err
		case !isRefusal(err):
			return d.resume(err)
		}
		if err := d.handOver(err); err != nil {
			return err
		}
	}
}

// EndsParts reports whether an error of a part says that its server wants fewer requests, or doesn't give parts.
func EndsParts(err error) bool {
	if errors.Is(err, ErrNoParts) {
		return true
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return refused.RateLimited()
	}
	trouble, ok := errors.AsType[*UnreachableError](err)
	return ok && (trouble.Status == http.StatusTooManyRequests || trouble.Status == http.StatusServiceUnavailable)
}

// rangeLeft is the Range that is left to read.
func (d *Download) rangeLeft() string {
	left := "bytes=" + strconv.FormatInt(d.offset, 10) + "-"
	if d.isPart() {
		left += strconv.FormatInt(d.until-1, 10)
	}
	return left
}

// getRest asks for what is left to read: of a part in the object storage by its link, else of GitLab.
func (d *Download) getRest(header http.Header) (*http.Response, Identity, error) {
	if !d.isPart() || d.link == nil {
		response, identity, target, err := d.client.get(d.ctx, d.caller, d.ref, header, []Identity{d.Identity})
		switch {
		case err != nil || target == nil:
		case d.link == nil:
			d.link = newStorageLink(target)
		default:
			d.link.renew(target)
		}
		return response, identity, err
	}
	target := d.link.now()
	response, identity, err := d.client.getFromStorage(d.ctx, target, header, d.client.cfg.Now())
	if !isExpired(err) {
		return response, identity, err
	}
	return d.getRenewed(header, target)
}

// getRenewed has the link renewed, unless another part has done that by now, and asks again.
func (d *Download) getRenewed(header http.Header, expired *redirectTarget) (*http.Response, Identity, error) {
	release, err := d.link.enter(d.ctx)
	if err != nil {
		return nil, Identity{}, unreachable("renewing a signed URL", err)
	}
	if target := d.link.now(); target != expired {
		release()
		response, identity, err := d.client.getFromStorage(d.ctx, target, header, d.client.cfg.Now())
		return response, identity, d.takenOnce(err)
	}
	defer release()
	if d.link.isTakenOnce() {
		return nil, Identity{}, fmt.Errorf("%w: the storage takes no URL twice", ErrNoParts)
	}
	response, identity, target, err := d.client.get(d.ctx, d.caller, d.ref, header, []Identity{d.Identity})
	if err != nil {
		return nil, Identity{}, d.takenOnce(err)
	}
	if target == nil {
		_ = response.Body.Close()
		return nil, Identity{}, ErrChanged // GitLab doesn't redirect any more
	}
	d.link.renew(target)
	return response, identity, nil
}

// isExpired reports whether object storage doesn't take a signed URL any more. Its words for that differ: 403 mostly, 400 and 401 of
// some.
func isExpired(err error) bool {
	trouble, ok := errors.AsType[*UnreachableError](err)
	return ok && slices.Contains([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}, trouble.Status)
}

// takenOnce notes that a storage refuses a URL that was signed just now, as one does that takes none twice: else each part would have
// GitLab sign another one, and in vain.
func (d *Download) takenOnce(err error) error {
	if !isExpired(err) {
		return err
	}
	d.link.noteTakenOnce()
	return fmt.Errorf("%w: the storage refuses a URL that was signed just now: %w", ErrNoParts, err)
}

// isPartOf checks that an answer is the part that was asked for, of the same content. ErrChanged means that it shows another one: a
// file that has changed comes whole where If-Range was sent, or as a part of its own.
func (d *Download) isPartOf(response *http.Response, identity Identity) error {
	start, total, isPart := contentRange(response.Header)
	isPart = isPart && response.StatusCode == http.StatusPartialContent
	if Compare(d.Identity, identity) == Different || differ(d.Identity.ETag, identity.ETag) || (isPart && total >= 0 && total != d.Length) {
		return ErrChanged
	}
	isSame := (d.Identity.SHA256 != "" && identity.SHA256 == d.Identity.SHA256) || (d.Identity.ETag != "" && identity.ETag == d.Identity.ETag)
	if !isPart || !isSame || start != d.offset || total != d.Length || !isIdentity(response.Header.Get("Content-Encoding")) ||
		response.ContentLength > d.until-d.offset {
		return fmt.Errorf("%w: the answer is %s, and shows another range or no content", ErrNoParts, response.Status)
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, d.until-d.offset), response.Body}
	return nil
}

// differ reports whether both name something, and not the same.
func differ(one, other string) bool { return one != "" && other != "" && one != other }

// takesRanges reports whether a server has said that it gives parts of a file (RFC 9110, section 14.3).
func takesRanges(header http.Header) bool {
	for _, line := range header.Values("Accept-Ranges") {
		for unit := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(unit), "bytes") {
				return true
			}
		}
	}
	return false
}
