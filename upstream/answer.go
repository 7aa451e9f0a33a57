package upstream

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strings"
	"time"
)

// Verdict is what an answer of GitLab means for the caller it was given to.
type Verdict int

// The verdicts. The zero value is a refusal, so that nothing is ever allowed by omission.
const (
	// Refused: GitLab said no (401, 403, 404), or said something that isn't a yes, such as a log-in page.
	Refused Verdict = iota
	// Allowed: this caller may read this file now.
	Allowed
	// RateLimited: GitLab said 429; it didn't look at the credential's rights.
	RateLimited
	// Unreachable: nobody answered, or with a server error.
	Unreachable
)

// Answer is what GitLab said to a check.
type Answer struct {
	Verdict Verdict

	// Unproven qualifies Allowed: GitLab sent the caller to a storage location that nothing has vouched for yet. It
	// is a yes only for content whose identity is the same, and else only once that storage has answered.
	Unproven bool

	// Identity is how GitLab names the current content; meaningful when Allowed.
	Identity Identity

	// Disposition is the answer's Content-Disposition, if any.
	Disposition string

	// Sent is when the check was sent, the time that grants and confirmations date from.
	Sent time.Time

	// Status and Header are GitLab's own, for RateLimited; nil header when there was no answer.
	Status int
	Header http.Header

	// Err says why, for Unreachable.
	Err *UnreachableError
}

// Check asks GitLab, with the caller's credential and one HEAD, whether the caller may read ref and how its content
// is named now. known are identities that storage or GitLab has already vouched for; an answer that names one of
// them is a yes by itself.
//
// With follow set, a redirect to a storage location that isn't known is followed at once, without any credential,
// so that the answer is proven and carries the length. Without it such an answer is Unproven.
//
// It ends with ctx, or after Config.CheckTimeout, and Config.HeaderTimeout for each request to the storage.
func (c *Client) Check(ctx context.Context, caller Caller, ref Ref, follow bool, known ...Identity) Answer {
	answer := Answer{Sent: c.cfg.Now()}
	request, err := c.newRequest(ctx, http.MethodHead, caller, ref)
	if err != nil {
		return answer.unreachable(unreachable("checking", err))
	}
	response, err := c.askGitLab(request, c.cfg.CheckTimeout)
	if err != nil {
		return answer.unreachable(unreachable("checking", err))
	}
	defer response.Body.Close()
	answer.Status, answer.Header = response.StatusCode, response.Header

	switch judged := c.judge(response, known); judged {
	case storageRedirect:
		location, _ := c.storageLocation(response)
		answer.Verdict, answer.Unproven = Allowed, true
		answer.Identity = Identity{Location: c.locationIdentity(location), Length: -1}
		for _, identity := range known {
			if Compare(identity, answer.Identity) == Same {
				answer.Unproven = false
				// The location is as good as the content: lengths and validators of the known one hold.
				answer.Identity = identity
				return answer
			}
		}
		if follow {
			return c.prove(ctx, answer, location)
		}
	case file:
		answer.Verdict = Allowed
		answer.Identity = c.identityOf(response, answer.Sent)
		answer.Disposition = response.Header.Get("Content-Disposition")
	case rateLimited:
		answer.Verdict = RateLimited
	case serverError:
		return answer.unreachable(statusUnreachable(response))
	case refusal:
		answer.Verdict = Refused
	}
	return answer
}

func (a Answer) unreachable(err *UnreachableError) Answer {
	a.Verdict, a.Err = Unreachable, err
	return a
}

// prove asks the storage that a check was sent to. Providers other than AWS sign for GET alone, even when GitLab was
// asked by HEAD (lib/api/helpers.rb), so a refused HEAD is followed by a GET whose body is dropped.
func (c *Client) prove(ctx context.Context, answer Answer, location *redirectTarget) Answer {
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		response, err := c.followStorage(ctx, method, location, nil)
		if err != nil {
			return answer.unreachable(unreachable("asking the object storage", err))
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			continue
		}
		if !isStoredFile(response) {
			answer.Verdict = Refused
			return answer
		}
		answer.Unproven = false
		stored := c.identityOf(response, answer.Sent)
		answer.Identity.Length, answer.Identity.LastModified = stored.Length, stored.LastModified
		answer.Disposition = response.Header.Get("Content-Disposition")
		return answer
	}
	return answer.unreachable(&UnreachableError{Err: errors.New("the object storage that GitLab named refused its own signed URL")})
}

// judgement is what kind of answer a response is.
type judgement int

const (
	refusal judgement = iota
	file
	storageRedirect
	rateLimited
	serverError
)

// judge tells what kind of answer a response of GitLab is. What counts as a file: 200 (206 for a fetch that goes on)
// with an attachment disposition or a checksum, which GitLab sets on every package file and no log-in page has, or
// with an identity that is known. All that isn't plainly something else is a refusal.
func (c *Client) judge(response *http.Response, known []Identity) judgement {
	status := response.StatusCode
	switch {
	case status == http.StatusTooManyRequests:
		return rateLimited
	case status >= http.StatusInternalServerError:
		return serverError
	case status == http.StatusOK || status == http.StatusPartialContent:
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
	if response.StatusCode == http.StatusPartialContent {
		_, total, ok := contentRange(response.Header)
		if !ok {
			return -1
		}
		return total
	}
	return response.ContentLength
}

func statusUnreachable(response *http.Response) *UnreachableError {
	return &UnreachableError{
		Status:     response.StatusCode,
		RetryAfter: response.Header.Get("Retry-After"),
		Err:        errors.New("it answered " + response.Status),
	}
}
