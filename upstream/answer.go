package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
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

// Question is one check: may this caller read this file, and how is its content named now?
type Question struct {
	Caller Caller
	Ref    Ref

	// Known are identities that storage or GitLab has already vouched for; an answer that names one of them is a yes by
	// itself.
	Known []Identity

	// Follow has a redirect to a storage location that isn't known followed at once, without any credential, so that the
	// answer is proven and carries the length. Without it such an answer is Unproven.
	Follow bool

	// Granted says that GitLab has allowed this caller lately, so that the check is bounded by Config.CheckTimeout. All others
	// wait as long as for a fetch: how long must not tell them whether the file is stored.
	Granted bool
}

// Answer is what GitLab said to a caller, by a check, or by a fetch for that caller's part.
type Answer struct {
	Verdict Verdict

	// Unproven qualifies Allowed: GitLab sent the caller to a storage location that nothing has vouched for yet. It
	// is a yes only for content whose identity is the same, and else only once that storage has answered.
	Unproven bool

	// Identity is how GitLab names the current content; meaningful when Allowed.
	Identity Identity

	// Disposition is the answer's Content-Disposition, if any.
	Disposition string

	// Sent is when the question was sent, the time that grants and confirmations date from.
	Sent time.Time

	// Status is GitLab's own; 0 when there was no answer.
	Status int

	// No is the answer itself, for Refused and RateLimited: it belongs to this caller.
	No *RefusedAnswer

	// Err says why, for Unreachable.
	Err *UnreachableError
}

// Check asks GitLab a question with the caller's credential: a GET of the file's first byte (design, "Questions"). The
// answer to a HEAD would say the same of a file, but a refusal would come without the body that the caller is to see, and
// who is refused would cost GitLab a second request where the file is stored, and thus learn that it is.
//
// A GitLab that answers with the whole file, since something in front of it ignores ranges, is asked by HEAD for the next
// hour (head.go).
//
// It ends with ctx, or when nobody answers (Question.Granted), and after Config.HeaderTimeout for each request to the storage.
func (c *Client) Check(ctx context.Context, q Question) Answer {
	timeout := c.cfg.HeaderTimeout
	if q.Granted {
		timeout = c.cfg.CheckTimeout
	} else {
		ctx = WithStanding(ctx, Stranger)
	}
	if c.IgnoresRange() {
		return c.checkByHead(ctx, q, timeout)
	}
	return c.checkBy(ctx, http.MethodGet, q, timeout)
}

// checkBy asks a question by one method.
func (c *Client) checkBy(ctx context.Context, method string, q Question, timeout time.Duration) Answer {
	answer := Answer{Sent: c.cfg.Now()}
	request, err := c.newRequest(ctx, method, q.Caller, q.Ref)
	if err != nil {
		return answer.unreachable(unreachable("checking", err))
	}
	if method == http.MethodGet {
		request.Header.Set("Range", firstByte)
	}
	response, err := c.askGitLab(request, timeout)
	if err != nil {
		return answer.unreachable(unreachable("checking", err))
	}
	defer response.Body.Close()
	answer.Status = response.StatusCode

	switch c.judge(response, q.Known) {
	case storageRedirect:
		location, _ := c.storageLocation(response)
		answer.Verdict, answer.Unproven = Allowed, true
		answer.Identity = Identity{Location: c.locationIdentity(location), Length: -1}
		for _, identity := range q.Known {
			if Compare(identity, answer.Identity) == Same {
				answer.Unproven = false
				// The location is as good as the content: lengths and validators of the known one hold.
				answer.Identity = identity
				return answer
			}
		}
		if q.Follow {
			return c.prove(ctx, answer, location)
		}
	case file:
		answer.Verdict = Allowed
		answer.Identity = c.identityOf(response, answer.Sent)
		answer.Disposition = response.Header.Get("Content-Disposition")
		c.finishFirstByte(response)
	case rateLimited:
		answer.Verdict, answer.No = RateLimited, c.readRefusal(response)
	case serverError:
		return answer.unreachable(statusUnreachable(response))
	case refusal:
		answer.Verdict, answer.No = Refused, c.readRefusal(response)
	}
	return answer
}

func (a Answer) unreachable(err *UnreachableError) Answer {
	a.Verdict, a.Err = Unreachable, err
	return a
}

// firstByte is the range that a check asks for. Of an empty file GitLab sends all (200) or nothing (416, `bytes */0`; contract,
// section 4).
const firstByte = "bytes=0-0"

// finishFirstByte reads the byte that a check asked for, so that the connection serves again. Where more comes, ranges are
// ignored, and closing the body ends the connection.
func (c *Client) finishFirstByte(response *http.Response) {
	if response.Request != nil && response.Request.Method == http.MethodHead {
		return
	}
	if response.StatusCode == http.StatusOK && response.ContentLength != 0 {
		c.noteIgnoredRange()
		return
	}
	_, _ = io.CopyN(io.Discard, response.Body, 2) // a byte, and the end
}

// prove asks the storage that a check was sent to. Where GitLab was asked by HEAD, providers other than AWS sign for GET all
// the same (contract, section 1).
func (c *Client) prove(ctx context.Context, answer Answer, location *redirectTarget) Answer {
	for _, ask := range []struct {
		method string
		header http.Header
	}{{http.MethodGet, http.Header{"Range": {firstByte}}}, {http.MethodHead, nil}} {
		response, err := c.followStorage(ctx, theEdge, ask.method, location, ask.header)
		if err != nil {
			return answer.unreachable(unreachable("asking the object storage", err))
		}
		if ask.method == http.MethodGet && response.ContentLength >= 0 && response.ContentLength <= 1 {
			_, _ = io.CopyN(io.Discard, response.Body, 2) // so that the connection serves again
		}
		_ = response.Body.Close()
		if !isAboutAFile(response) {
			continue
		}
		if !isStoredFile(response) {
			answer.Verdict, answer.No = Refused, &RefusedAnswer{Status: answer.Status}
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

// isAboutAFile reports whether a status can be that of an answer to who asks for a file or its first byte, and may have it.
// 416 is, of an empty file.
func isAboutAFile(response *http.Response) bool {
	switch response.StatusCode {
	case http.StatusOK:
		return true
	case http.StatusPartialContent:
		start, _, ok := contentRange(response.Header)
		return ok && start == 0
	case http.StatusRequestedRangeNotSatisfiable:
		return response.Header.Get("Content-Range") == "bytes */0"
	}
	return false
}

// RefusedAnswer is an answer of GitLab's that isn't the file: a no, a 429, or something that isn't a yes, such as a log-in
// page. It belongs to the caller whose credential was used, and to nobody else.
type RefusedAnswer struct {
	Status int
	Header http.Header
	// Body is all of the answer's body if Whole says so, and else its beginning.
	Body  []byte
	Whole bool
}

// Relayable reports whether the answer can be sent to the caller whatever the caller's own request asks for. A success that
// isn't the file can't: the edge has asked for less than the caller, and another answer might come. Neither can an answer
// to a condition or a range, nor one that is longer than the edge keeps.
func (r *RefusedAnswer) Relayable() bool {
	switch r.Status {
	case http.StatusNotModified, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		return false
	}
	return r.Whole && r.Status >= http.StatusMultipleChoices
}

// maxRefusal bounds the body of a refusal that is kept, in bytes; GitLab's own are a tenth of a KiB.
const maxRefusal = 64 << 10

// readRefusal reads an answer that isn't the file, within Config.HeaderTimeout.
func (c *Client) readRefusal(response *http.Response) *RefusedAnswer {
	refused := &RefusedAnswer{Status: response.StatusCode, Header: response.Header}
	if body, ok := response.Body.(*cancelingBody); ok {
		// Ends with the body, or ends it.
		timer := time.AfterFunc(c.cfg.HeaderTimeout, func() { body.cancel(errStalled) })
		defer timer.Stop()
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal+1))
	isHead := response.Request != nil && response.Request.Method == http.MethodHead
	refused.Body, refused.Whole = body, err == nil && len(body) <= maxRefusal && !isHead
	return refused
}
