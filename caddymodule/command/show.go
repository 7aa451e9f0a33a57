package command

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func statusVerb() *cobra.Command {
	command := &cobra.Command{
		Use:   "status [--check]",
		Short: "Tells how the edge does: hits, bytes saved, space, GitLab's health, recent failures",
		Long: `Tells how the edge does. Counts are since the process started.

With --check it prints one line, and exits with 1 if Caddy can't be asked, runs no edge, a cache directory can't be
used, or the run-time switches can't be read from Caddy's storage. A GitLab that is down is no reason to restart an edge, and is only told.`,
		Example: examples("status", "status --check", "status --address localhost:2020", "status --json | jq .hit_ratio"),
		Args:    takes(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	check := command.Flags().Bool("check", false, "One line, and an exit code, for health checks")
	return verb(command, func(i *invocation) (int, error) {
		var status adminapi.Status
		if err := i.call(http.MethodGet, adminapi.CallStatus, nil, nil, &status); err != nil {
			return 1, err
		}
		if *check {
			return i.check(status)
		}
		return 0, i.show(status, func() { i.showStatus(status) })
	})
}

// check prints one line about the edge.
func (i *invocation) check(status adminapi.Status) (int, error) {
	for _, store := range status.Stores {
		if !store.Usable {
			return 1, fmt.Errorf("the cache directory %s can't be used", store.Directory)
		}
	}
	switch status.Switches {
	case adminapi.SwitchesRecalled:
		return 1, errors.New("the run-time switches can't be read from Caddy's storage; those known last are in force")
	case adminapi.SwitchesUnknown:
		return 1, errors.New("the run-time switches can't be read from Caddy's storage, and none are known; all requests get 503")
	}
	var down strings.Builder
	for _, gitlab := range status.Upstreams {
		if isTrouble(gitlab.GitLab) || isTrouble(gitlab.ObjectStorage) {
			printf(&down, "; %s: gitlab %s%s, object storage %s", gitlab.Upstream, gitlab.GitLab, whyText(gitlab), gitlab.ObjectStorage)
		}
	}
	return 0, i.show(status, func() { printf(i.out, "working%s\n", down.String()) })
}

func (i *invocation) showStatus(status adminapi.Status) {
	working := "yes"
	if !status.Working {
		working = "no: " + cmp.Or(strings.Join(troubles(status), "; "), "see below")
	}
	ratio := "no downloads yet"
	if status.HitRatio != nil {
		ratio = fmt.Sprintf("%.1f %% of downloads", 100**status.HitRatio)
	}
	outcomes := slices.SortedFunc(maps.Keys(status.Requests), func(a, b string) int {
		return cmp.Or(cmp.Compare(status.Requests[b], status.Requests[a]), cmp.Compare(a, b))
	})
	requests := make([]string, 0, len(outcomes))
	for _, outcome := range outcomes {
		requests = append(requests, fmt.Sprintf("%s %d", outcome, status.Requests[outcome]))
	}
	var sent int64
	for _, bytes := range status.BytesSent {
		sent += bytes
	}
	i.table("", [][]string{
		{"Working", working},
		{"Switches", status.Switches},
		{"Version", buildText(status.Build)},
		{"Up", (time.Duration(status.UptimeSeconds) * time.Second).String()},
		{"Hits", ratio},
		{"Sent", sizeText(sent)},
		{"From upstream", sizeText(status.BytesUpstream)},
		{"Saved", sizeText(status.BytesSaved)},
		{"Requests", cmp.Or(strings.Join(requests, ", "), "none yet")},
	})
	printf(i.out, "\n")
	i.showStores(status.Stores)
	printf(i.out, "\n")
	i.showUpstreams(status.Upstreams)
	printf(i.out, "\n")
	i.showStart(status)
	if len(status.RecentFailures) > 0 {
		printf(i.out, "\n")
		i.showFailures(status.RecentFailures)
	}
}

func (i *invocation) showStores(stores []adminapi.StoreStatus) {
	rows := make([][]string, 0, len(stores))
	for _, store := range stores {
		usable := "yes"
		if !store.Usable {
			usable = "NO" + sinceText(store.Since)
		}
		rows = append(rows, []string{
			store.Directory, usable, sizeText(store.Bytes), sizeText(store.MaxSize), strconv.Itoa(store.Entries), sizeText(store.PinnedBytes),
			strconv.FormatInt(store.Fills, 10), strconv.Itoa(store.Grants), strconv.FormatInt(store.Evictions, 10),
			strconv.FormatInt(store.DiskErrors, 10), strconv.FormatInt(store.Damaged, 10),
		})
	}
	i.table("CACHE DIRECTORY | USABLE | USED | OF | ENTRIES | PINNED | FILLS | GRANTS | EVICTED | DISK ERRORS | DAMAGED", rows)
	i.showSharedStores(stores)
}

func (i *invocation) showSharedStores(stores []adminapi.StoreStatus) {
	var rows [][]string
	for _, store := range stores {
		shared := store.SharedStore
		if shared == nil {
			continue
		}
		state := shared.State + sinceText(shared.Since)
		if shared.Reason != "" {
			state += ": " + shared.Reason
		}
		rows = append(rows, []string{
			shared.Store, shared.Endpoint, strconv.Itoa(shared.OwedFiles), sizeText(shared.OwedBytes), strconv.FormatInt(shared.OwedEvictions, 10), state,
		})
	}
	if len(rows) > 0 {
		printf(i.out, "\n")
		i.table("SHARED STORE | ENDPOINT | OWED FILES | OWED | EVICTED UNSHARED | STATE", rows)
	}
}

func (i *invocation) showUpstreams(upstreams []adminapi.UpstreamStatus) {
	rows := make([][]string, 0, len(upstreams))
	for _, gitlab := range upstreams {
		rows = append(rows, []string{gitlab.Upstream, gitlab.GitLab + sinceText(gitlab.GitLabSince), gitlab.ObjectStorage + sinceText(gitlab.ObjectStorageSince), gitlab.Switched + " (" + gitlab.From + sinceText(gitlab.Since) + ")"})
	}
	i.table("GITLAB | STATE | OBJECT STORAGE | PROJECTS THAT AREN'T NAMED", rows)
}

func (i *invocation) showFailures(failures []adminapi.Failure) {
	rows := make([][]string, 0, len(failures))
	for _, failed := range failures {
		rows = append(rows, []string{failed.Time.Local().Format(time.DateTime), strconv.Itoa(failed.Times) + "×", failed.What, failed.File, failed.Error})
	}
	i.table("RECENT FAILURES | TIMES | WHAT | FILE | WHY", rows)
}

func sinceText(since *time.Time) string {
	if since == nil {
		return ""
	}
	return ", since " + since.Local().Format(time.DateTime)
}

func projectsVerb() *cobra.Command {
	command := &cobra.Command{
		Use:   "projects",
		Short: "Lists projects, whether they are served, and where that was said",
		Long: `Lists the projects that the config names, that were switched at run time, and of which files are stored: whether each is
served, and whether that was said in the config or at run time, and when.`,
		Example: examples("projects", "projects --json"),
		Args:    takes(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	return verb(command, func(i *invocation) (int, error) {
		var list adminapi.ProjectList
		if err := i.call(http.MethodGet, adminapi.CallProjects, nil, nil, &list); err != nil {
			return 1, err
		}
		return 0, i.show(list, func() {
			rows := make([][]string, 0, len(list.Projects)+len(list.Others))
			for _, p := range list.Projects {
				rows = append(rows, projectRow(p.Project, p))
			}
			for _, p := range list.Others {
				rows = append(rows, projectRow("(all others)", p))
			}
			i.table("PROJECT | STATE | SAID IN | SINCE | OTHER NAMES | GITLAB", rows)
			i.warn(list.Warning)
		})
	})
}

func projectRow(name string, p adminapi.ProjectStatus) []string {
	since := ""
	if p.Since != nil {
		since = p.Since.Local().Format(time.DateTime)
	}
	return []string{name, p.State, p.From, since, strings.Join(p.Names, " "), p.Upstream}
}

// switchVerb is the verb of one of the calls that switch projects; both have the same name.
func switchVerb(what string) *cobra.Command {
	told := map[string][2]string{
		adminapi.CallEnable: {"Serves a project, or all, from now on", `Serves a project from now on, whatever the config says. With --all: all projects that weren't switched by themselves
at run time.`},
		adminapi.CallDisable: {"Answers 404 for a project, or for all, from now on", `Answers 404 for a project from now on, whatever the config says, to everybody and for every method. With --all: for
all projects that weren't switched by themselves at run time.`},
		adminapi.CallReset: {"Takes back what was said of a project, or of all, at run time", `Takes back what enable or disable said of a project; the config's word holds again. With --all: what they said of
all.`},
	}[what]
	command := &cobra.Command{
		Use:   what + " {PROJECT | --all} [--upstream URL]",
		Short: told[0],
		Long: told[1] + `

PROJECT is the number or the path of a project. All its other names that are known count too, and stay covered whatever
becomes of what they were known by; the answer lists them, and warns of what isn't covered. It is kept in Caddy's
storage, over reloads and restarts, and reaches other instances that share the storage within ten seconds.`,
		Example: examples(what+" 24", what+" group/app", what+" --all", what+" 24 --upstream https://gitlab.example.com"),
		Args:    takes("[PROJECT]"), ValidArgsFunction: completeNames(1),
	}
	upstream := command.Flags().String("upstream", "", "The GitLab, if the edge stands in front of several")
	all := command.Flags().Bool("all", false, "All projects that weren't switched by themselves")
	return verb(command, func(i *invocation) (int, error) {
		if err := i.refuseEmptyNames(); err != nil {
			return 1, err
		}
		if err := i.refuseUnclear(*all, "which project? Name one, or say --all"); err != nil {
			return 1, err
		}
		request := adminapi.SwitchRequest{Upstream: *upstream, All: *all}
		if len(i.args) == 1 {
			request.Project = i.args[0]
		}
		var answer adminapi.SwitchAnswer
		if err := i.call(http.MethodPost, what, nil, request, &answer); err != nil {
			return 1, err
		}
		return 0, i.show(answer, func() {
			name := answer.Project
			if name == "" {
				name = "(all others)"
			}
			rows := make([][]string, 0, 1+len(answer.Kept))
			rows = append(rows, projectRow(name, answer.ProjectStatus))
			for _, p := range answer.Kept {
				rows = append(rows, projectRow(p.Project, p))
			}
			i.table("PROJECT | STATE | SAID IN | SINCE | OTHER NAMES | GITLAB", rows)
			i.warn(answer.Warning)
		})
	})
}
