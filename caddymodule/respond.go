package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// described is what the headers of a download say about its file.
type described struct {
	digest      cache.Digest // zero while it isn't known
	disposition string
}

// describedBy is what GitLab's own words say about a file.
func describedBy(identity upstream.Identity, disposition string) described {
	digest, _ := cache.ParseDigest(identity.SHA256) // zero for none
	return described{digest: digest, disposition: disposition}
}

// fileCacheControl goes with each file: no cache may serve it unasked, and nothing on the way may change its bytes, such as
// Caddy's encode, beside which Repr-Digest and X-Checksum-SHA256 would be wrong (RFC 9111, section 5.2.2.6).
const fileCacheControl = "private, no-cache, " + noTransform

const noTransform = "no-transform"

// forbidTransform says of a file that is relayed that nothing on the way may change its bytes.
func forbidTransform(header http.Header) {
	said := strings.Join(header.Values("Cache-Control"), ", ")
	switch {
	case said == "":
		header.Set("Cache-Control", noTransform)
	case !strings.Contains(strings.ToLower(said), noTransform):
		header.Set("Cache-Control", said+", "+noTransform)
	}
}

// setFileHeaders writes the headers of a file. None of GitLab's headers about one caller's request are among them.
func (x *exchange) setFileHeaders(file described) {
	x.setHeader("Content-Type", "application/octet-stream")
	x.setHeader("Cache-Control", fileCacheControl)
	x.setHeader("X-Content-Type-Options", "nosniff")
	if file.disposition != "" {
		x.setHeader("Content-Disposition", file.disposition)
	}
	if file.digest.IsZero() {
		return
	}
	x.setSums(sumsOf(file.digest))
}

func (x *exchange) setSums(sums sumHeaders) {
	x.setHeader("Etag", sums.etag)
	x.setHeader("X-Checksum-Sha256", sums.checksum)
	x.setHeader("Repr-Digest", sums.reprDigest)
}

// sendBlob sends a stored file, or the part of it that was asked for.
func (x *exchange) sendBlob(blob *cache.Blob, entry cache.Entry) {
	entry.Size = blob.Size()
	head := x.headOf(entry)
	x.setFileHeaders(described{disposition: entry.Disposition})
	x.setSums(head.sums)
	if err := x.serveBlob(blob, entry, head); err != nil {
		x.breakOff(err)
	}
}

// sendDescription answers a caller's HEAD from what GitLab answered to a check.
func (x *exchange) sendDescription(answer upstream.Answer) {
	x.setFileHeaders(describedBy(answer.Identity, answer.Disposition))
	if err := x.serveContent(&sizeOnly{size: answer.Identity.Length}, answer.Identity.LastModified); err != nil {
		x.breakOff(err)
	}
}

// relayRefused sends GitLab's answer to a check or a fetch to the caller about whom GitLab was asked. Where the caller's own
// request could be answered otherwise, that goes to GitLab. It is the only way in which a refused download is answered, whether
// the file is stored or not: a stranger must see no difference.
func (x *exchange) relayRefused(refused *upstream.RefusedAnswer) {
	if refused == nil {
		x.forward(outcomeRefused, fwdRefused)
		return
	}
	outcome := outcomeRefused
	if refused.Status == http.StatusTooManyRequests {
		outcome = outcomeRateLimited
	}
	if !refused.Relayable() {
		x.forward(outcome, fwdRefused)
		return
	}
	x.report.outcome, x.report.status = outcome, refused.Status
	x.report.answering()
	header := x.w.Header()
	for name, values := range refused.Header {
		if !isConnectionHeader(name) {
			header[name] = slices.Clone(values)
		}
	}
	header.Del("X-Sendfile")
	header.Set("Content-Length", strconv.Itoa(len(refused.Body)))
	header.Add("Cache-Status", cacheStatusForward(fwdRefused, refused.Status))
	x.w.WriteHeader(refused.Status)
	x.relayed(int64(len(refused.Body)))
	if x.r.Method != http.MethodHead {
		// A caller who left doesn't read it; there is nothing else to do.
		_, _ = x.w.Write(refused.Body)
	}
}

// isConnectionHeader reports whether a header is about one connection and must not be relayed (RFC 9110, section
// 7.6.1).
func isConnectionHeader(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// stream sends a body that can't be stored to the one caller it was fetched for. Where neither GitLab nor its storage named
// a sum, nobody can know whether a body without framing has come whole; it is passed on as it is.
func (d *download) stream(body *upstream.Download) {
	if !d.admit() {
		return
	}
	file := describedBy(body.Identity, body.Disposition)
	d.setOutcome(outcomeStreamed, cacheStatusForward(d.missReason(), http.StatusOK))
	d.setFileHeaders(file)
	header := d.w.Header()
	var source io.Reader = &countedReader{Reader: body, read: d.relayed}
	if body.HasSum() && body.ContentEncoding == "" {
		want, _ := cache.ParseDigest(body.SHA256()) // zero for another kind of sum, which body compares
		body.Verified = !want.IsZero()
		source = newVerifiedBody(source, want, body.Length)
	}
	if body.ContentEncoding != "" {
		header.Set("Content-Encoding", body.ContentEncoding)
		// What is sent isn't the file's bytes, so what names those must go.
		header.Del("Etag")
		header.Del("Repr-Digest")
	}
	if !body.Identity.LastModified.IsZero() {
		header.Set("Last-Modified", body.Identity.LastModified.UTC().Format(http.TimeFormat))
	}
	if body.Length >= 0 {
		header.Set("Content-Length", fmt.Sprint(body.Length))
	}
	d.w.WriteHeader(http.StatusOK)
	d.copyAsItComes(source)
}

// relayed notes bytes that came from GitLab or its storage for this caller alone.
func (x *exchange) relayed(n int64) {
	x.report.bytesUpstream += n
	x.report.sent[sourceUpstream] += n
}

// countedReader tells how much is read from it.
type countedReader struct {
	io.Reader
	read func(n int64)
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read(int64(n))
	return n, err
}
