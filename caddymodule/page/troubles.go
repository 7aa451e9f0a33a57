package page

import (
	"net/http"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// shownTroubles is how many refusals, and how many failures, the overview lists.
const shownTroubles = 6

// troublesView is what was refused and what failed lately, and why.
type troublesView struct {
	Refusals []refusalView
	// Others says how many refusals of other projects there were.
	Others   string
	OthersAt moment
	Failures []failureView
	// FurtherRefusals and FurtherFailures are how many more the other page lists.
	FurtherRefusals, FurtherFailures int
	Trouble                          string
}

type refusalView struct {
	adminapi.Refusal
	Kind, Mood string
}

type failureView struct {
	adminapi.Failure
	Text string
}

// outcomeWords are the access log's words for people, and the mood of each: what a caller did wrong is no trouble of the edge's.
var outcomeWords = map[string]struct{ word, mood string }{
	"refused":      {"refused by GitLab", moodIdle},
	"rate_limited": {"limited by GitLab", moodWarn},
	"invalid":      {"against the rules", moodIdle},
	"switched_off": {"switched off", moodIdle},
	"unreachable":  {"GitLab not reached", moodBad},
	"limited":      {"no connection free", moodWarn},
}

func troublesOf(refusals adminapi.RefusalList, failures []adminapi.Failure, most int) troublesView {
	var view troublesView
	for i, refusal := range refusals.Refusals {
		if i == most {
			view.FurtherRefusals = len(refusals.Refusals) - most
			break
		}
		word, known := outcomeWords[refusal.Outcome]
		if !known {
			word.word, word.mood = visible(refusal.Outcome), moodIdle
		}
		refusal.Why = sentenceOf(refusal.Why)
		view.Refusals = append(view.Refusals, refusalView{refusal, word.word, word.mood})
	}
	if refusals.Others.Times > 0 {
		view.Others = plural(refusals.Others.Times, "refusal", "refusals") + " of other projects since the start. Nobody held a yes of GitLab's to those, so they aren't named."
		view.OthersAt = momentOf(refusals.Others.Time)
	}
	for i, failure := range failures {
		if i == most {
			view.FurtherFailures = len(failures) - most
			break
		}
		view.Failures = append(view.Failures, failureView{failure, sentenceOf(failure.What)})
	}
	return view
}

// troublesPage is all of it.
type troublesPage struct {
	frame
	Troubles troublesView
}

// showTroubles lists all refusals and failures that are remembered.
func (p *Page) showTroubles(w http.ResponseWriter, r *http.Request) {
	status, err := p.askStatus(r.Context())
	content := troublesPage{frame: p.frame(r, "Refusals and failures", "troubles")}
	code := http.StatusOK
	var refusals adminapi.RefusalList
	if err == nil {
		refusals, err = p.askRefusals(r.Context())
	}
	content.Troubles = troublesOf(refusals, status.RecentFailures, adminapi.MaxRefusals)
	if err != nil {
		code, content.Troubles.Trouble = told(err)
	}
	p.show(w, r, code, "troubles", content)
}
