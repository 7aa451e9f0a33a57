package command

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/buildinfo"
)

func versionCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "version",
		Short: "Tells the version and commit of the edge, and the versions of Caddy and Go",
		Long: `Tells what this very program was built from: the edge's version and commit, Caddy's version and Go's. What a running
edge was built from is told by the verb status.`,
		Example: examples("version", "version --json"),
		Args:    takes(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	asJSON := command.Flags().Bool("json", false, "Print JSON, for scripts")
	command.RunE = func(command *cobra.Command, _ []string) error {
		command.SilenceUsage = true
		return showBuild(command.OutOrStdout(), buildinfo.Read(), *asJSON)
	}
	return command
}

// showBuild prints what a program was built from.
func showBuild(out io.Writer, build adminapi.Build, asJSON bool) error {
	if asJSON {
		encoded, err := json.Marshal(build)
		if err != nil {
			return fmt.Errorf("encoding the answer: %w", err)
		}
		printf(out, "%s\n", encoded)
		return nil
	}
	commit := build.Commit
	switch {
	case commit == "":
		commit = "unknown"
	case build.Modified:
		commit += ", with changes that aren't committed"
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	printf(table, "Module\t%s %s\nCommit\t%s\nCaddy\t%s\nGo\t%s %s/%s\n", buildinfo.ModulePath, build.Version, commit, build.Caddy, build.Go, runtime.GOOS, runtime.GOARCH)
	_ = table.Flush() // a terminal that is gone is no failure
	return nil
}
