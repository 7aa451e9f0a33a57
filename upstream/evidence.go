package upstream

import (
	"net/http"
	"time"
)

// Yes is GitLab's word that a caller may read what they asked for, as evidence for Grants.Allow. The zero value is none.
type Yes struct {
	counts  bool
	sent    time.Time
	address string
	life    Life
}

// NewYes makes evidence of GitLab's yes to a request of that method, sent then for that caller. Only GET and HEAD prove
// that somebody may read: of another method it is no evidence. life is how long the yes counts, by the settings of the
// handler that got it; they are fixed with it.
func NewYes(method string, caller Caller, sent time.Time, life Life) Yes {
	return Yes{counts: asksToRead(method), sent: sent, address: caller.ClientIP, life: life}
}

// Refusal is GitLab's no to a caller, as evidence for Grants.Refuse. The zero value is none.
type Refusal struct {
	counts   bool
	sent     time.Time
	address  string
	status   int
	carriers CarrierKinds
}

// NewRefusal makes evidence of GitLab's no, with that status, to a request of that method, sent then for that caller. Only
// GET and HEAD tell who may read: of another method it is no evidence. The same goes for a 429, which is about the number
// of requests, and for trouble of the server's own (5xx).
func NewRefusal(method string, caller Caller, sent time.Time, status int) Refusal {
	return Refusal{
		counts: asksToRead(method) && status != http.StatusTooManyRequests && status < http.StatusInternalServerError,
		sent:   sent, address: caller.ClientIP, status: status, carriers: caller.Credential.Carriers(),
	}
}

func asksToRead(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// endsAll reports whether the no is about the credential itself, and ends all that it was allowed at this GitLab.
//
// A 403 or 404 never is: it is about the project or the file. A 401 to an anonymous caller isn't either, since they all
// share one fingerprint. A 401 to a token is, wherever a wrong token is answered so. Of Basic, DEPLOY-TOKEN and cookies
// GitLab takes wrong ones for an anonymous caller (contract, section 5), and answers 401 to good ones about projects that
// they aren't for: there the 401 tells something only if the credential held a yes to this very project.
func (r Refusal) endsAll(heldThisProject bool) bool {
	if !r.counts || r.status != http.StatusUnauthorized {
		return false
	}
	return r.carriers&CarrierToken != 0 || (r.carriers&credentials != 0 && heldThisProject)
}

// Yes is the answer as evidence that the caller may read; none if GitLab didn't say so, or only sent to a storage location
// that nothing has vouched for.
func (a Answer) Yes(caller Caller, life Life) Yes {
	if a.Verdict != Allowed || a.Unproven {
		return Yes{}
	}
	return NewYes(checkMethod, caller, a.Sent, life)
}

// Refusal is the answer as evidence that the caller may not read; none if GitLab didn't say so.
func (a Answer) Refusal(caller Caller) Refusal {
	if a.Verdict != Refused {
		return Refusal{}
	}
	return NewRefusal(checkMethod, caller, a.Sent, a.Status)
}

// checkMethod stands for the method of a check or fetch: GET, and HEAD where a GET of the first byte would bring all of the file.
// Both are evidence alike.
const checkMethod = http.MethodHead
