package command

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// buildText says what an edge was built from, in one line.
func buildText(build adminapi.Build) string {
	commit := ""
	if build.Commit != "" {
		commit = ", commit " + build.Commit
		if build.Modified {
			commit += " with changes"
		}
	}
	return cmp.Or(build.Version, "unknown") + commit + "; Caddy " + cmp.Or(build.Caddy, "unknown") + ", " + cmp.Or(build.Go, "unknown")
}

// showStart prints where an edge stands: how its GitLabs have answered at the start, by which rules it goes, and what it has
// found in its directories.
func (i *invocation) showStart(status adminapi.Status) {
	rows := make([][]string, 0, len(status.Upstreams)+len(status.Stores))
	for _, gitlab := range status.Upstreams {
		answer := "no answer yet"
		if gitlab.AtStart != nil {
			answer = gitlab.AtStart.Text
		}
		rows = append(rows, []string{gitlab.Upstream, answer, "rules " + strings.Join(gitlab.Rules, ", ")})
	}
	for _, store := range status.Stores {
		found := strconv.Itoa(store.FoundFiles) + " files found, " + sizeText(store.FoundBytes)
		switch {
		case !store.Usable:
			found = "can't be used"
		case store.Loading:
			found = "is still being read"
		}
		rows = append(rows, []string{store.Directory, found})
	}
	i.table("AT THE START", rows)
}

// isTrouble reports whether what is said of a server is no good news. Of one that nobody has asked there is none.
func isTrouble(server string) bool { return server != adminapi.Up && server != adminapi.Unasked }

// whyText says in brackets why a GitLab is in trouble, if the start's question has shown it.
func whyText(gitlab adminapi.UpstreamStatus) string {
	if gitlab.AtStart == nil || (gitlab.GitLab != adminapi.Unanswered && gitlab.GitLab != adminapi.Redirects) {
		return ""
	}
	return " (" + gitlab.AtStart.Text + ")"
}
