package command

import (
	"errors"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func purgeVerb() *cobra.Command {
	command := &cobra.Command{
		Use:   "purge {PROJECT [PACKAGE [VERSION [FILE]]] | --all} [--soft | --grants] [--dry-run] [--upstream URL]",
		Short: "Removes stored files, marks them stale, or forgets grants",
		Long: `Removes what is stored of a project, a package, a version, or one file; or all. It holds at once for new requests, and
disturbs no download. The files are fetched again when somebody asks for them.

With --soft they stay, and GitLab is asked about them before they are served again. With --grants files are left alone,
and it is forgotten whom GitLab allowed what: each caller is asked about anew.

With --dry-run nothing is changed, and it is told what would be.`,
		Example: examples("purge 24", "purge 24 my_package 1.0.0 app.zip", "purge group/app my_package --soft", "purge group/app --dry-run", "purge --grants --all"),
		Args:    takes("[PROJECT]", "[PACKAGE]", "[VERSION]", "[FILE]"), ValidArgsFunction: completeNames(4),
	}
	flags := command.Flags()
	upstream := flags.String("upstream", "", "The GitLab, if the edge stands in front of several")
	all := flags.Bool("all", false, "Purge everything")
	soft := flags.Bool("soft", false, "Mark as stale instead of removing")
	grants := flags.Bool("grants", false, "Forget grants instead of removing files")
	dryRun := flags.Bool("dry-run", false, "Change nothing, and tell what would be removed, marked or forgotten")
	return verb(command, func(i *invocation) (int, error) {
		if err := i.refuseEmptyNames(); err != nil {
			return 1, err
		}
		switch err := i.refuseUnclear(*all, "what is to be purged? Name a project, and its package, version and file if you like; or say --all"); {
		case err != nil:
			return 1, err
		case *grants && (*soft || len(i.args) > 1):
			return 1, errors.New("--grants is about a project or --all, and goes neither with --soft nor with a package")
		}
		request := adminapi.PurgeRequest{Upstream: *upstream, All: *all, Soft: *soft, Grants: *grants, DryRun: *dryRun}
		i.readNames(&request.Project, &request.Package, &request.Version, &request.File)
		var answer adminapi.PurgeAnswer
		if err := i.call(http.MethodPost, adminapi.CallPurge, nil, request, &answer); err != nil {
			return 1, err
		}
		return 0, i.show(answer, func() { i.showPurge(request, answer) })
	})
}

// showPurge tells what a purge has done, or would do.
func (i *invocation) showPurge(request adminapi.PurgeRequest, answer adminapi.PurgeAnswer) {
	files, grants := [2]string{"file is", "files are"}, [2]string{"grant is", "grants are"}
	became, held := "became free", "aren't free yet"
	if request.DryRun {
		files, grants = [2]string{"file would be", "files would be"}, [2]string{"grant would be", "grants would be"}
		became, held = "would become free", "wouldn't be free at once"
	}
	switch {
	case request.Grants:
		printf(i.out, "%s forgotten\n", counted(answer.Grants, grants[0], grants[1]))
	case request.Soft:
		printf(i.out, "%s marked as stale\n", counted(answer.Entries, files[0], files[1]))
	default:
		printf(i.out, "%s removed, %s %s\n", counted(answer.Entries, files[0], files[1]), sizeText(answer.Bytes), became)
	}
	if answer.HeldBytes > 0 {
		printf(i.out, "%s %s: downloads still read them, or the disk doesn't remove them now\n", sizeText(answer.HeldBytes), held)
	}
	if request.DryRun && len(answer.Names) > 0 {
		printf(i.out, "That is by these names as well: %s\n", strings.Join(answer.Names, ", "))
	}
	i.showSharedObjects(answer)
	i.warn(answer.Warning)
}

// showSharedObjects names what a purge leaves in the shared store.
func (i *invocation) showSharedObjects(answer adminapi.PurgeAnswer) {
	if len(answer.SharedObjects)+answer.FurtherSharedObjects == 0 {
		return
	}
	printf(i.out, "The shared store may still have these objects, which no edge deletes:\n")
	for _, object := range answer.SharedObjects {
		printf(i.out, "  %s\n", object)
	}
	if answer.FurtherSharedObjects > 0 {
		printf(i.out, "  and %d more\n", answer.FurtherSharedObjects)
	}
}
