package command

import (
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func refusalsVerb() *cobra.Command {
	command := &cobra.Command{
		Use:   "refusals",
		Short: "Tells what was refused lately, why and how often",
		Long: `Tells which requests were refused since the start: by GitLab, by the rules, by a switch, or since GitLab could not be asked.
Each kind is told once for a project, with how often. Projects to which GitLab has said yes to nobody since the start are
counted and not named, since anybody can make up a name.`,
		Example: examples("refusals", "refusals --json | jq .others.times"),
		Args:    takes(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	return verb(command, func(i *invocation) (int, error) {
		var list adminapi.RefusalList
		if err := i.call(http.MethodGet, adminapi.CallRefusals, nil, nil, &list); err != nil {
			return 1, err
		}
		return 0, i.show(list, func() { i.showRefusals(list) })
	})
}

func (i *invocation) showRefusals(list adminapi.RefusalList) {
	rows := make([][]string, 0, len(list.Refusals)+1)
	for _, r := range list.Refusals {
		rows = append(rows, []string{r.Time.Local().Format(time.DateTime), timesText(r.Times), r.Project, strconv.Itoa(r.Status), r.Why, r.Outcome, r.Upstream})
	}
	if list.Others.Time != nil {
		rows = append(rows, []string{list.Others.Time.Local().Format(time.DateTime), timesText(list.Others.Times), "(others)", "", "of projects to which GitLab has said yes to nobody since the start", "", ""})
	}
	if len(rows) == 0 {
		printf(i.out, "nothing was refused since the start\n")
		return
	}
	i.table("LAST REFUSED | TIMES | PROJECT | STATUS | WHY | OUTCOME | GITLAB", rows)
}

func timesText(times int64) string { return strconv.FormatInt(times, 10) + "×" }
