package caddymodule

import (
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// outcome says what became of a request: one closed set for the access log and the metrics.
type outcome string

const (
	// outcomeHit: served from the store, GitLab wasn't asked.
	outcomeHit outcome = "hit"
	// outcomeRevalidated: served from the store after one question to GitLab.
	outcomeRevalidated outcome = "revalidated"
	// outcomeOffline: served from the store on an earlier yes, while GitLab could not be asked or answered 429 to the check.
	outcomeOffline outcome = "offline"
	// outcomeMiss: fetched, and stored.
	outcomeMiss outcome = "miss"
	// outcomeJoined: served from a fetch that somebody else leads.
	outcomeJoined outcome = "joined"
	// outcomeStreamed: fetched, and not stored, since it didn't fit or can't be stored.
	outcomeStreamed outcome = "streamed"
	// outcomeDescribed: a caller's HEAD for a file that isn't here, answered by GitLab's answer to one question.
	outcomeDescribed outcome = "described"
	// outcomePublished: an upload that GitLab took.
	outcomePublished outcome = "published"
	// outcomeForwarded: any other request that was forwarded, and an upload that got no answer about itself.
	outcomeForwarded outcome = "forwarded"
	// outcomeOther: a request about something else than generic packages went to GitLab (forward_other_requests), whatever it
	// was answered.
	outcomeOther outcome = "other"
	// outcomeRefused: GitLab's own refusal was relayed, of a download or an upload.
	outcomeRefused outcome = "refused"
	// outcomeRateLimited: GitLab's 429 was relayed.
	outcomeRateLimited outcome = "rate_limited"
	// outcomeInvalid: refused by the rules.
	outcomeInvalid outcome = "invalid"
	// outcomeSwitchedOff: the project is off.
	outcomeSwitchedOff outcome = "switched_off"
	// outcomeUnreachable: GitLab could not be asked and nothing could be served.
	outcomeUnreachable outcome = "unreachable"
	// outcomeLimited: no connection to GitLab was free for a caller whom GitLab isn't known to allow.
	outcomeLimited outcome = "limited"
	// outcomeAbandoned: the caller left before the whole answer was sent.
	outcomeAbandoned outcome = "abandoned"
)

// allOutcomes is the closed set.
var allOutcomes = []outcome{
	outcomeHit, outcomeRevalidated, outcomeOffline, outcomeMiss, outcomeJoined, outcomeStreamed, outcomeDescribed, outcomePublished,
	outcomeForwarded, outcomeOther, outcomeRefused, outcomeRateLimited, outcomeInvalid, outcomeSwitchedOff, outcomeUnreachable, outcomeLimited,
	outcomeAbandoned,
}

// class is what an outcome counts as, in the hit ratio of status and in the history.
type class int

const (
	// classHit: a download from the store, or from a fetch that somebody else leads.
	classHit class = iota
	// classFetched: a download that GitLab sent for this caller.
	classFetched
	// classUpload: an upload that GitLab took.
	classUpload
	// classRefused: GitLab, the rules, a switch or a limit said no.
	classRefused
	// classFailed: nobody could answer.
	classFailed
	// classFurther: any other request about packages.
	classFurther
	// classElsewhere: not about packages.
	classElsewhere
)

// class returns what the outcome counts as.
func (o outcome) class() class {
	switch o {
	case outcomeHit, outcomeRevalidated, outcomeOffline, outcomeJoined:
		return classHit
	case outcomeMiss, outcomeStreamed:
		return classFetched
	case outcomePublished:
		return classUpload
	case outcomeRefused, outcomeRateLimited, outcomeInvalid, outcomeSwitchedOff, outcomeLimited:
		return classRefused
	case outcomeUnreachable:
		return classFailed
	case outcomeDescribed, outcomeForwarded, outcomeAbandoned:
		return classFurther
	case outcomeOther:
		return classElsewhere
	}
	return classFurther // there is no other
}

// source is where the bytes of an answer came from: one closed set for the metrics.
type source int

const (
	// sourceMemory: the memory tier.
	sourceMemory source = iota
	// sourceDisk: a stored file.
	sourceDisk
	// sourceFill: a file on its way in, which one fetch brings for everybody.
	sourceFill
	// sourceUpstream: GitLab or its object storage, for this caller alone.
	sourceUpstream

	sources
)

var sourceNames = [sources]string{"memory", "disk", "fill", "upstream"}

// report is what the access log, the metrics and placeholders hear of a request.
type report struct {
	outcome outcome
	ref     upstream.Ref
	begun   time.Time
	// firstByte is how long it took until the answer began; 0 while it hasn't.
	firstByte time.Duration
	// upstreamWait is how long the request waited for the heads of GitLab's answers.
	upstreamWait time.Duration
	// bytesUpstream is how much came from GitLab or its storage because of this request. A fetch that others follow counts
	// for the request that leads it, as far as it has come when that ends.
	bytesUpstream int64
	// sent is how much of the answer's body came from where.
	sent [sources]int64
	// status and why are those of a refusal, why in words for people (refusal_words.go).
	status int
	why    string
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (r *report) MarshalLogObject(encoder zapcore.ObjectEncoder) error {
	encoder.AddString("outcome", string(r.outcome))
	encoder.AddString("project", r.ref.Project)
	encoder.AddInt64("bytes_upstream", r.bytesUpstream)
	encoder.AddFloat64("first_byte", r.firstByte.Seconds())
	encoder.AddFloat64("upstream_wait", r.upstreamWait.Seconds())
	return nil
}

// placeholders are what other directives can use of a request, below http.gitlab_packages.
const placeholders = "http.gitlab_packages."

// placeholder returns the value of one placeholder. What isn't known yet is empty.
func (r *report) placeholder(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, placeholders)
	if !ok {
		return nil, false
	}
	switch name {
	case "outcome":
		return string(r.outcome), true
	case "project":
		return r.ref.Project, true
	case "package":
		return r.ref.Package, true
	case "version":
		return r.ref.Version, true
	case "file":
		return r.ref.File, true
	case "bytes_upstream":
		return r.bytesUpstream, true
	}
	return nil, false
}

// answering notes that the answer begins now.
func (r *report) answering() {
	if r.firstByte == 0 {
		r.firstByte = time.Since(r.begun)
	}
}

// waited notes that the request has waited for GitLab since then.
func (r *report) waited(since time.Time) { r.upstreamWait += time.Since(since) }
