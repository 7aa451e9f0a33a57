package upstream

import (
	"mime"
	"net/http"
	"strings"
	"time"
)

// judgement is what kind of answer a response is.
type judgement int

const (
	refusal judgement = iota
	file
	storageRedirect
	rateLimited
	serverError
)

// judge tells what kind of answer a response of GitLab is. What counts as a file: 200, 206, or 416 of an empty file, with
// an attachment disposition or a checksum, which GitLab sets on every package file and no log-in page has, or with an
// identity that is known (design, "What counts as a yes"). All that isn't plainly something else is a refusal.
func (c *Client) judge(response *http.Response, known []Identity) judgement {
	status := response.StatusCode
	switch {
	case status == http.StatusTooManyRequests:
		return rateLimited
	case status >= http.StatusInternalServerError:
		return serverError
	case status == http.StatusOK || status == http.StatusPartialContent || (status == http.StatusRequestedRangeNotSatisfiable && isAboutAFile(response)):
		if c.isFile(response, known) {
			return file
		}
	default:
		if _, ok := c.storageLocation(response); ok {
			return storageRedirect
		}
	}
	return refusal
}

func (c *Client) isFile(response *http.Response, known []Identity) bool {
	if response.Header.Get("X-Checksum-Sha256") != "" {
		return true
	}
	if isAttachment(response.Header) {
		return true
	}
	answered := IdentityOf(response.Header, contentLength(response), 0, c.cfg.Now())
	for _, identity := range known {
		if Compare(identity, answered) == Same {
			return true
		}
	}
	return false
}

func isAttachment(header http.Header) bool {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Disposition"))
	return err == nil && strings.EqualFold(kind, "attachment")
}

// identityOf reads a response's identity and remembers whether this GitLab names checksums.
func (c *Client) identityOf(response *http.Response, sent time.Time) Identity {
	now := c.cfg.Now()
	identity := IdentityOf(response.Header, contentLength(response), now.Sub(sent), now)
	if identity.SHA256 != "" {
		c.showsChecksums.Store(true)
	}
	return identity
}

// contentLength is the length of the whole file that a response is about: of a part, what stands behind the slash.
func contentLength(response *http.Response) int64 {
	switch response.StatusCode {
	case http.StatusPartialContent:
		_, total, ok := contentRange(response.Header)
		if !ok {
			return -1
		}
		return total
	case http.StatusRequestedRangeNotSatisfiable:
		return 0 // of an empty file alone (isAboutAFile)
	}
	return response.ContentLength
}
