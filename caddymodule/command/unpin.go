package command

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func unpinVerb() *cobra.Command {
	command := &cobra.Command{
		Use:   "unpin {PROJECT [PACKAGE [VERSION [FILE]]] | --all} [--upstream URL]",
		Short: "Lets files be evicted that warm --pin keeps",
		Long: `Takes back what warm --pin said of a project, a package, a version, or one file; or of all. The files stay stored until
there is no room for them.`,
		Example: examples("unpin 24 my_package 1.0.0", "unpin group/app", "unpin --all"),
		Args:    takes("[PROJECT]", "[PACKAGE]", "[VERSION]", "[FILE]"), ValidArgsFunction: completeNames(4),
	}
	flags := command.Flags()
	upstream := flags.String("upstream", "", "The GitLab, if the edge stands in front of several")
	all := flags.Bool("all", false, "Unpin everything")
	return verb(command, func(i *invocation) (int, error) {
		if err := i.refuseEmptyNames(); err != nil {
			return 1, err
		}
		if err := i.refuseUnclear(*all, "what is to be unpinned? Name a project, and its package, version and file if you like; or say --all"); err != nil {
			return 1, err
		}
		request := adminapi.UnpinRequest{Upstream: *upstream, All: *all}
		i.readNames(&request.Project, &request.Package, &request.Version, &request.File)
		var answer adminapi.UnpinAnswer
		if err := i.call(http.MethodPost, adminapi.CallUnpin, nil, request, &answer); err != nil {
			return 1, err
		}
		return 0, i.show(answer, func() {
			printf(i.out, "%s pinned no longer\n", counted(answer.Pins, "file is", "files are"))
			i.warn(answer.Warning)
		})
	})
}
