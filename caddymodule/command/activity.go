package command

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func activityVerb() *cobra.Command {
	command := &cobra.Command{
		Use:   "activity",
		Short: "Tells what the edge is doing now: files on their way in, uploads, warmings, verifications",
		Long: `Tells which files are on their way in, how far they are and how many callers are served from each; which uploads pass;
what is being warmed and verified, and what was. Of uploads to projects to which GitLab has said yes to nobody since the
start only the number is told, since anybody can make up a name.`,
		Example: examples("activity", "activity --json | jq .fills_total"),
		Args:    takes(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	return verb(command, func(i *invocation) (int, error) {
		var activity adminapi.Activity
		if err := i.call(http.MethodGet, adminapi.CallActivity, nil, nil, &activity); err != nil {
			return 1, err
		}
		return 0, i.show(activity, func() { i.showActivity(activity) })
	})
}

func (i *invocation) showActivity(activity adminapi.Activity) {
	i.showFills(activity)
	printf(i.out, "\n")
	i.showUploads(activity)
	if len(activity.Warmings) > 0 {
		printf(i.out, "\n")
		i.showWarmings(activity.Warmings)
	}
	printf(i.out, "\n")
	i.showVerifications(adminapi.VerificationList{Verifications: activity.Verifications})
}

func (i *invocation) showFills(activity adminapi.Activity) {
	if activity.FillsTotal == 0 {
		printf(i.out, "nothing is on its way in\n")
		return
	}
	rows := make([][]string, 0, len(activity.Fills))
	for _, fill := range activity.Fills {
		rows = append(rows, []string{
			fileText(fill.Project, fill.Package, fill.Version, fill.File), progressText(fill.Bytes, fill.Size), fill.From, strconv.Itoa(max(fill.Connections, 1)), strconv.Itoa(fill.Callers),
			fill.Begun.Local().Format(time.DateTime), fill.Upstream, fill.Directory,
		})
	}
	i.table("ON ITS WAY IN | SO FAR | FROM | CONNECTIONS | CALLERS | BEGUN | GITLAB | DIRECTORY", rows)
	if more := activity.FillsTotal - len(activity.Fills); more > 0 {
		printf(i.out, "and %d more\n", more)
	}
}

func (i *invocation) showUploads(activity adminapi.Activity) {
	if activity.UploadsTotal == 0 {
		printf(i.out, "no upload passes\n")
		return
	}
	rows := make([][]string, 0, len(activity.Uploads))
	for _, upload := range activity.Uploads {
		rows = append(rows, []string{
			fileText(upload.Project, upload.Package, upload.Version, upload.File), progressText(upload.Bytes, upload.Size),
			upload.Begun.Local().Format(time.DateTime), upload.Upstream,
		})
	}
	if len(rows) > 0 {
		i.table("UPLOAD | SO FAR | BEGUN | GITLAB", rows)
	}
	if more := activity.UploadsTotal - len(activity.Uploads); more > 0 {
		printf(i.out, "%s told by name: there are too many, or GitLab has said yes to nobody of their projects\n", counted(more, "upload isn't", "uploads aren't"))
	}
}

// fileText names a file as people write it.
func fileText(project, pkg, version, file string) string {
	return strings.Join([]string{project, pkg, version, file}, "/")
}

// progressText is how much is there of how much: 1.0 GiB of 3.0 GiB (33 %).
func progressText(bytes int64, size *int64) string {
	switch {
	case size == nil:
		return sizeText(bytes)
	case *size == 0:
		return "all of 0 B"
	}
	return fmt.Sprintf("%s of %s (%d %%)", sizeText(bytes), sizeText(*size), 100*bytes / *size)
}
