package caddymodule

import (
	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "gitlab-packages",
		Usage: "demo [--once]",
		Short: "Works with the edge for GitLab's generic packages",
		Long: `Verbs around the gitlab_packages handler.

demo starts a GitLab stand-in and an edge on this machine, publishes and downloads a file through the edge, and shows
what happened.`,
		CobraFunc: func(command *cobra.Command) {
			command.AddCommand(demoCommand())
		},
	})
}

func demoCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "demo [--once]",
		Short: "Shows the edge at work against a GitLab stand-in, all on this machine",
		Long: `Starts a stand-in for GitLab and an edge in front of it, both on 127.0.0.1. Publishes a real file through the edge
with a job token, downloads it cold and warm, and shows a refused version, a refused token and a project that is
switched off. For each it prints what really happened. Then it stays up, with curl lines to try, until Ctrl-C.`,
		Args: cobra.NoArgs,
	}
	once := command.Flags().Bool("once", false, "Exit after the demonstration; the exit code is not 0 if anything was not as it should be")
	command.RunE = func(command *cobra.Command, _ []string) error {
		command.SilenceUsage = true
		return runDemo(command.Context(), command.OutOrStdout(), *once)
	}
	return command
}
