package page

import (
	"net/http"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// overview is the page that one looks at each morning.
type overview struct {
	frame
	Verdict verdict
	// Build says what runs, and Uptime for how long.
	Build    adminapi.Build
	Started  moment
	Uptime   string
	States   []stateView
	Savings  savingsView
	Activity activityView
	Usage    usageView
	Troubles troublesView
}

// showOverview shows the overview. What can't be told by one call is missing, with the reason in its place; only where the status
// itself can't be told is there no page.
func (p *Page) showOverview(w http.ResponseWriter, r *http.Request) {
	status, err := p.askStatus(r.Context())
	if err != nil {
		p.showError(w, r, "The edge can't be asked", err)
		return
	}
	content := overview{
		frame: p.frame(r, "Overview", "./"), Verdict: verdictOf(status), States: statesOf(status),
		Build: status.Build, Started: momentOf(&status.Started), Uptime: uptimeText(status),
	}
	content.Savings = p.savings(r)
	activity, err := p.askActivity(r.Context())
	content.Activity = activityOf(activity, p.now())
	content.Activity.Trouble = troubleOf(err)
	usage, err := p.askUsage(r.Context())
	content.Usage = usageOf(usage)
	content.Usage.Trouble = troubleOf(err)
	refusals, err := p.askRefusals(r.Context())
	content.Troubles = troublesOf(refusals, status.RecentFailures, shownTroubles)
	content.Troubles.Trouble = troubleOf(err)
	p.show(w, r, http.StatusOK, "overview", content)
}

// savings is what was saved in the span that a request asks for.
func (p *Page) savings(r *http.Request) savingsView {
	span := spanOf(r.URL.Query().Get("span"))
	history, err := p.askHistory(r.Context(), span)
	history.Span = span
	view := savingsOf(history)
	view.Trouble = troubleOf(err)
	return view
}

// troubleOf is an error as a sentence; empty for none.
func troubleOf(err error) string {
	if err == nil {
		return ""
	}
	_, sentence := told(err)
	return sentence
}
