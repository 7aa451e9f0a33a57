package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "gitlab-packages",
		Usage: "status | activity | usage | refusals | projects | enable | disable | reset | entries | purge | verify | warm | unpin | demo | version",
		Short: "Works with the edge for GitLab's generic packages",
		Long: `Verbs around the gitlab_packages handler. All but demo and version speak to a running Caddy by its admin API, at
'` + caddy.DefaultAdminListen + `' unless --address or --config say otherwise.

Exit codes: 0 when all is well, 1 when the verb could not be done, 4 when it was done and something is wrong: a
damaged file was found, or a file could not be fetched.`,
		CobraFunc: func(command *cobra.Command) {
			command.AddCommand(verbs()...)
			refuseUnknown(command)
		},
	})
}

// exitWrong is the exit code of a verb that was done and found something wrong. Caddy uses those below.
const exitWrong = 4

// verbs are the sub-commands.
func verbs() []*cobra.Command {
	return []*cobra.Command{
		statusVerb(), activityVerb(), usageVerb(), refusalsVerb(), projectsVerb(), switchVerb(adminapi.CallEnable), switchVerb(adminapi.CallDisable), switchVerb(adminapi.CallReset), entriesVerb(), purgeVerb(),
		verifyVerb(), warmVerb(), unpinVerb(), demoCommand(), versionCommand(),
	}
}

// examples are lines for a verb's help, as people type them.
func examples(lines ...string) string {
	return "  caddy gitlab-packages " + strings.Join(lines, "\n  caddy gitlab-packages ")
}

// invocation is one run of a verb.
type invocation struct {
	command *cobra.Command
	args    []string
	out     io.Writer
	address string
	json    bool
}

// verb makes a sub-command that speaks to the admin API. run returns the exit code, which counts if it is more than 1 or
// there is an error.
func verb(command *cobra.Command, run func(*invocation) (int, error)) *cobra.Command {
	flags := command.Flags()
	flags.String("address", "", "Address of the administration API listener (if --config is not used)")
	flags.StringP("config", "c", "", "Configuration file (if --address is not used)")
	flags.StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
	flags.Bool("json", false, "Print the API's answer as JSON, for scripts")
	command.RunE = func(command *cobra.Command, args []string) error {
		command.SilenceUsage = true
		return caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			address, err := caddycmd.DetermineAdminAPIAddress(flags.String("address"), nil, flags.String("config"), flags.String("adapter"))
			if err != nil {
				return caddy.ExitCodeFailedStartup, fmt.Errorf("finding the admin API: %w", err)
			}
			return run(&invocation{command, args, command.OutOrStdout(), address, flags.Bool("json")})
		})(command, args)
	}
	return command
}

// call calls the admin API and reads its answer. With --json the answer is printed as it came.
func (i *invocation) call(method, path string, query url.Values, body, into any) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding the call: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	path = adminapi.Path + path
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	// Each call has a connection of its own, which would stay open: long work is asked about many times.
	response, err := caddycmd.AdminAPIRequest(i.address, method, path, http.Header{"Connection": {"close"}}, content)
	if err != nil {
		return readableError(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", i.address, err)
	}
	return nil
}

// readableError takes the API's own words out of Caddy's error, if there are any.
func readableError(err error) error {
	_, answer, ok := strings.Cut(err.Error(), "caddy responded with error: HTTP ")
	if !ok {
		return fmt.Errorf("%w; is Caddy running, with its admin API there?", err)
	}
	_, text, _ := strings.Cut(answer, ": ")
	var told struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(text), &told) != nil || told.Error == "" {
		return err
	}
	return errors.New(told.Error)
}

// refuseEmptyNames returns an error if an argument is empty, or --upstream is: a variable that wasn't set would have more
// done than is meant.
func (i *invocation) refuseEmptyNames() error {
	upstream := i.command.Flags().Lookup("upstream")
	if slices.Contains(i.args, "") || (upstream != nil && upstream.Changed && upstream.Value.String() == "") {
		return errors.New("an empty name would mean more than is said; leave it out, or say --all, to mean all")
	}
	return nil
}

// show prints an answer: as JSON if that was asked for, else as people read it.
func (i *invocation) show(answer any, readable func()) error {
	if !i.json {
		readable()
		return nil
	}
	encoded, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	printf(i.out, "%s\n", encoded)
	return nil
}

// table prints rows in columns.
func (i *invocation) table(head string, rows [][]string) {
	table := tabwriter.NewWriter(i.out, 0, 0, 2, ' ', 0)
	if head != "" {
		printf(table, "%s\n", strings.ReplaceAll(head, " | ", "\t"))
	}
	for _, row := range rows {
		printf(table, "%s\n", strings.Join(row, "\t"))
	}
	_ = table.Flush() // a terminal that is gone is no failure
}

// printf prints for people; a terminal that is gone is no failure.
func printf(out io.Writer, format string, values ...any) {
	_, _ = fmt.Fprintf(out, format, values...)
}

// readNames reads the arguments that name files, from the left to the right, as many as there are.
func (i *invocation) readNames(fields ...*string) {
	for at, argument := range i.args {
		*fields[at] = argument
	}
}

// warn prints what an answer warns of, if it does.
func (i *invocation) warn(warning string) {
	if warning != "" {
		printf(i.out, "Warning: %s.\n", warning)
	}
}

// counted writes a number with the word for one, or that for several: 1 file is, 2 files are.
func counted(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + several
}

// sizeText writes a number of bytes for people, as a Caddyfile has it.
func sizeText(bytes int64) string {
	if bytes < 0 {
		return "-" + sizeText(-bytes)
	}
	return humanize.IBytes(uint64(bytes))
}

// isForPeople reports whether what is printed goes to a terminal.
func (i *invocation) isForPeople() bool {
	file, ok := i.out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) //nolint:gosec // a file descriptor is a small number
}

func demoCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "demo [--once]",
		Short: "Shows the edge at work against a GitLab stand-in, all on this machine",
		Long: `Starts a stand-in for GitLab and an edge in front of it, both on 127.0.0.1. Publishes a real file through the edge
with a job token, downloads it cold and warm, and shows a refused version, a refused token and a project that is
switched off. For each it prints what really happened. Then it stays up, with curl lines to try, until Ctrl-C.`,
		Example: examples("demo", "demo --once"),
		Args:    takes(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	once := command.Flags().Bool("once", false, "Exit after the demonstration; the exit code is not 0 if anything was not as it should be")
	command.RunE = func(command *cobra.Command, _ []string) error {
		command.SilenceUsage = true
		return runDemo(command.Context(), command.OutOrStdout(), *once)
	}
	return command
}
