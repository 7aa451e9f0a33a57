package caddymodule

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// follow sends a file that is on its way in, as it arrives. False means that the flight came to nothing before this
// caller got a byte of it.
func (d *download) follow(fl *flight, outcome outcome) bool {
	if !d.admit() {
		return true
	}
	if fl.fill == nil {
		return d.serveEntry(fl.entry, outcome)
	}
	if d.wouldJoinUncompared() {
		d.refuseJoining()
		return true
	}
	ranges, elsewhere := d.partOf(fl)
	if elsewhere {
		d.forward(outcomeForwarded, fwdPartial)
		return true
	}
	if outcome != outcomeMiss {
		leave := fl.join(d.exchange)
		defer leave()
	}
	if outcome == outcomeMiss {
		defer func() { d.report.bytesUpstream += fl.fill.Written() - fl.kept }()
	}
	body := newDiskBody(d.exchange, sourceFill, fl.fill.Size, fl.identity)
	body.uncompared = fl.shared != nil
	defer body.close()
	reader, err := fl.fill.NewReader(body.ctx)
	if err != nil {
		// Over already. What it has become is as good.
		if entry, err := fl.fill.Result(); err == nil && d.serveEntry(entry, outcome) {
			return true
		}
		d.ruledOut = fl
		return d.giveUpOn(fl)
	}
	fl.served.Add(1)
	defer func() {
		fl.served.Add(-1)
		body.close() // before its source
		_ = reader.Close()
	}()
	body.source = reader
	if body.uncompared {
		fl.sendsUncompared(d.exchange)
	}

	if fl.fill.Size() < 0 && d.r.Method == http.MethodHead {
		d.describe()
		return true
	}
	if d.r.Method != http.MethodHead {
		// Nothing is promised before the first byte is there: a fetch that fails until then costs the caller only time.
		if err := d.awaitFirst(ranges, body); err != nil {
			if d.r.Context().Err() != nil {
				d.abandon()
			}
			d.ruledOut = fl
			return d.giveUpOn(fl)
		}
	}
	d.setOutcome(outcome, d.cacheStatus(outcome, fl.sent))
	d.setFileHeaders(describedBy(fl.identity, fl.disposition))
	if fl.fill.Size() >= 0 {
		if err := d.serveContent(body, fl.identity.LastModified); err != nil {
			d.breakOff(err)
		}
		return true
	}
	// The length isn't known before the end, so ranges can't be answered; a whole answer always may be (RFC 9110, 14.2).
	if !fl.identity.LastModified.IsZero() {
		d.w.Header().Set("Last-Modified", fl.identity.LastModified.UTC().Format(http.TimeFormat))
	}
	d.w.WriteHeader(http.StatusOK)
	d.copyAsItComes(body)
	return true
}

// maxBroken is how many fetches one download waits for that come to nothing.
const maxBroken = 3

// giveUpOn ends a download whose file came to nothing too often before the caller got a byte: what GitLab sends breaks
// off, or isn't what it says. Another try may help; many would multiply those that each fetch makes by itself.
func (d *download) giveUpOn(fl *flight) (done bool) {
	err := fl.fill.Err() // nil of what came whole and was published over: look again
	if err == nil || errors.Is(err, cache.ErrDisk) {
		return false
	}
	if d.broken++; d.broken < maxBroken {
		return false
	}
	d.refuseUnreachable(&upstream.UnreachableError{Err: err})
	return true
}

// rangeFarAhead returns where the farthest of the ranges that are asked for begins, if that is more than range_wait bytes
// ahead of what has arrived, and in no part that has, and how long all of them are together. Waiting for it would cost the caller more than GitLab.
func (d *download) rangeFarAhead(ranges string, fill *cache.Fill) (start, length int64, ok bool) {
	if d.r.Method != http.MethodGet {
		return 0, 0, false
	}
	size := fill.Size()
	for _, asked := range rangesOf(ranges, size) {
		if size >= 0 && asked.start >= size {
			continue // nothing is sent for it
		}
		start = max(start, asked.start)
		length += min(asked.length, math.MaxInt64-length)
	}
	return start, length, start > fill.Written()+d.h.rangeWait && fill.ArrivedUntil(start) == start
}

// byteRange is a range as it is asked for: where it begins, and how many bytes from there on.
type byteRange struct{ start, length int64 }

// rangesOf reads a Range header (RFC 9110, section 14.1.1). Anything else than plain byte ranges is none here; whoever
// answers the request judges it.
func rangesOf(header string, size int64) (ranges []byteRange) {
	list, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return nil
	}
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		if one == "" {
			continue // section 5.6.1.2 lets lists have empty elements
		}
		asked, ok := rangeOf(one, size)
		if !ok {
			return nil
		}
		ranges = append(ranges, asked)
	}
	return ranges
}

func rangeOf(text string, size int64) (asked byteRange, ok bool) {
	from, to, ok := strings.Cut(text, "-")
	if !ok {
		return byteRange{}, false
	}
	end := int64(math.MaxInt64)
	if size >= 0 {
		end = size
	}
	if from == "" {
		suffix, err := strconv.ParseInt(to, 10, 64)
		if err != nil || size < 0 {
			return byteRange{}, false
		}
		asked.start = max(0, size-suffix)
		asked.length = end - asked.start
		return asked, true
	}
	start, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		return byteRange{}, false
	}
	if last, err := strconv.ParseInt(to, 10, 64); err == nil && last >= start && last < end {
		end = last + 1
	}
	return byteRange{start, max(0, end-start)}, true
}

// waitsFor waits until the fill has come to a place, and reports whether that was within rangePatience. A fill that
// ends before is for the caller to see.
func (d *download) waitsFor(fill *cache.Fill, start int64) bool {
	ctx, cancel := context.WithTimeout(d.r.Context(), d.h.process.rangePatience)
	defer cancel()
	reader, err := fill.NewReader(ctx)
	if err != nil {
		return true
	}
	defer reader.Close()
	if _, err := reader.Seek(start, io.SeekStart); err != nil {
		return true
	}
	_, _ = reader.Read(make([]byte, 1))
	return d.r.Context().Err() != nil || ctx.Err() == nil
}

// awaitFirst waits until the first byte of what the request is for has arrived.
func (d *download) awaitFirst(ranges string, body *diskBody) error {
	size := body.size()
	if size == 0 {
		// There is no byte to wait for; the fill's end tells whether the file is right.
		_, err := body.Read(make([]byte, 1))
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	var start int64
	for _, asked := range rangesOf(ranges, size) {
		if size < 0 || asked.start < size {
			start = asked.start
			break
		}
		// net/http will leave it out, or answer 416.
	}
	if _, err := body.Seek(start, io.SeekStart); err != nil {
		return err
	}
	if _, err := body.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return body.rewind()
}
