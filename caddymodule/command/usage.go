package command

import (
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func usageVerb() *cobra.Command {
	command := &cobra.Command{
		Use:   "usage [--packages]",
		Short: "Tells whose files take the room, which are used most and which are the largest",
		Long: `Tells which projects' files take the room, with --packages which packages', and which files are used most and are the
largest. What is stored under several names, or in several directories, counts for each of them. The numbers are put together
when somebody asks, and at most every 30 seconds. Hits count since the start.`,
		Example: examples("usage", "usage --packages", "usage --json | jq .projects[0]"),
		Args:    takes(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	packages := command.Flags().Bool("packages", false, "Show the packages of each project, too")
	return verb(command, func(i *invocation) (int, error) {
		var usage adminapi.Usage
		if err := i.call(http.MethodGet, adminapi.CallUsage, nil, nil, &usage); err != nil {
			return 1, err
		}
		return 0, i.show(usage, func() { i.showUsage(usage, *packages) })
	})
}

func (i *invocation) showUsage(usage adminapi.Usage, packages bool) {
	printf(i.out, "%s, %s, at %s\n", counted(usage.Entries, "file is stored", "files are stored"), sizeText(usage.Bytes), usage.At.Local().Format(time.DateTime))
	if usage.Entries == 0 {
		return
	}
	rows := make([][]string, 0, len(usage.Projects)+1)
	for _, project := range usage.Projects {
		rows = append(rows, []string{project.Project, sizeText(project.Bytes), strconv.Itoa(project.Entries), strconv.FormatInt(project.Hits, 10), project.Upstream})
		if packages {
			rows = append(rows, packageRows(project)...)
		}
	}
	if usage.OtherProjects > 0 {
		rows = append(rows, []string{"(" + counted(usage.OtherProjects, "other", "others") + ")", sizeText(usage.OtherBytes), "", "", ""})
	}
	printf(i.out, "\n")
	i.table("PROJECT | TAKES | FILES | HITS | GITLAB", rows)
	i.showUsedFiles("MOST USED | HITS | SIZE | GITLAB", usage.MostUsed)
	i.showUsedFiles("LARGEST | HITS | SIZE | GITLAB", usage.Largest)
}

func packageRows(project adminapi.ProjectUsage) (rows [][]string) {
	for _, pkg := range project.Packages {
		rows = append(rows, []string{"  " + pkg.Package, sizeText(pkg.Bytes), strconv.Itoa(pkg.Entries), strconv.FormatInt(pkg.Hits, 10), ""})
	}
	if project.OtherPackages > 0 {
		rows = append(rows, []string{"  (" + counted(project.OtherPackages, "other", "others") + ")", sizeText(project.OtherBytes), "", "", ""})
	}
	return rows
}

func (i *invocation) showUsedFiles(head string, files []adminapi.EntryStatus) {
	if len(files) == 0 {
		return
	}
	rows := make([][]string, 0, len(files))
	for _, file := range files {
		rows = append(rows, []string{
			fileText(file.Project, file.Package, file.Version, file.File), strconv.FormatUint(uint64(file.Hits), 10), sizeText(file.Size), file.Upstream,
		})
	}
	printf(i.out, "\n")
	i.table(head, rows)
}
