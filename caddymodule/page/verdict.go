package page

import (
	"strings"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// Moods say how a state is, for its colour. The word beside it says the same.
const (
	moodGood = "good"
	moodBusy = "busy"
	moodWarn = "warn"
	moodBad  = "bad"
	moodIdle = "idle"
)

// verdict is the one line: working, or what is wrong and since when.
type verdict struct {
	Mood, Text string
	// Since is when what is wrong began, if that is known.
	Since moment
}

// verdictOf reads a status. What keeps the edge from working comes first, then what is only not as it should be.
func verdictOf(status adminapi.Status) verdict {
	if len(status.Upstreams) == 0 {
		return verdict{Mood: moodIdle, Text: "No site of this config has an edge: there is no gitlab_packages in it."}
	}
	var wrong []string
	var since moment
	note := func(text string, began moment) {
		wrong = append(wrong, text)
		if began.Known && (!since.Known || began.At.Before(since.At)) {
			since = began
		}
	}
	for _, state := range statesOf(status) {
		if state.Mood == moodBad {
			note(state.Wrong, state.began())
		}
	}
	if len(wrong) > 0 {
		return verdict{Mood: moodBad, Text: "Not working as it should: " + enumerated(wrong) + ".", Since: since}
	}
	if !status.Working {
		return verdict{Mood: moodBad, Text: "Not working as it should."}
	}
	for _, state := range statesOf(status) {
		if state.Mood == moodWarn {
			note(state.Wrong, state.began())
		}
	}
	if len(wrong) > 0 {
		return verdict{Mood: moodWarn, Text: "Working, but " + enumerated(wrong) + ".", Since: since}
	}
	return verdict{Mood: moodGood, Text: "Working."}
}

// lastFailure is when something failed last, of the failures that the status remembers; what begins so and ends with where.
func lastFailure(status adminapi.Status, what, where string) moment {
	for _, failure := range status.RecentFailures { // the newest first
		if strings.HasPrefix(failure.What, what) && strings.HasSuffix(failure.What, ": "+where) {
			return moment{Known: true, At: failure.Time}
		}
	}
	return moment{}
}

// uptimeText is how long the process runs.
func uptimeText(status adminapi.Status) string {
	return durationText(time.Duration(status.UptimeSeconds) * time.Second)
}
