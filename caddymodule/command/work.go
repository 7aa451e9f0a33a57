package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

const (
	// workPoll is how often long work is looked at, lineEvery how often a line tells of it where nobody watches a bar.
	workPoll  = 300 * time.Millisecond
	lineEvery = 10 * time.Second
)

// progress shows how far long work is: a bar on a terminal, else a line now and then, with --json nothing.
type progress struct {
	invocation *invocation
	bar        *progressbar.ProgressBar
	// drawn is what the bar draws at one look. It goes to the terminal at once, since the bar draws itself for each thing that
	// changes, and in between its words and its length are of two times.
	drawn bytes.Buffer
	what  string
	told  time.Time
}

func (i *invocation) newProgress(what string) *progress {
	p := &progress{invocation: i, what: what, told: time.Now()}
	if !i.json && i.isForPeople() {
		p.addBar()
	}
	return p
}

// addBar adds a bar that shows how much of all is done, and no rate: what was stored before counts as done at once, and would
// make any rate a fable. It draws itself only when it is told something.
func (p *progress) addBar() {
	p.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(&p.drawn), progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetSpinnerChangeInterval(0), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))
}

// show tells how many files and bytes of how many are done with. While it isn't known how many there are, both are zero.
func (p *progress) show(files, ofFiles int, bytes, ofBytes int64) {
	if p.invocation.json {
		return
	}
	detail := "finding out which files there are"
	if ofFiles > 0 {
		detail = fmt.Sprintf("%d of %d files, %s of %s", files, ofFiles, sizeText(bytes), sizeText(ofBytes))
	}
	switch {
	case p.bar != nil:
		if ofBytes > 0 {
			if files == ofFiles {
				bytes = ofBytes // files that share their content are read once, and so may leave less to do than there was
			}
			p.bar.ChangeMax64(ofBytes)
			_ = p.bar.Set64(min(bytes, ofBytes)) // a terminal that is gone is no failure
		}
		p.bar.Describe(p.what + ", " + detail)
		p.draw()
	case time.Since(p.told) >= lineEvery:
		p.told = time.Now()
		printf(p.invocation.out, "%s: %s\n", p.what, detail)
	}
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.draw()
	}
}

func (p *progress) draw() {
	_, _ = p.drawn.WriteTo(p.invocation.out) // a terminal that is gone is no failure
}

// errLeft says that the caller doesn't wait for the end.
var errLeft = errors.New("not waited for")

// watch calls look every now and then until it says that the work is over, or Ctrl-C.
func (i *invocation) watch(look func() (over bool, err error)) error {
	ctx, stop := signal.NotifyContext(i.context(), os.Interrupt)
	defer stop()
	ticker := time.NewTicker(workPoll)
	defer ticker.Stop()
	for {
		over, err := look()
		if over || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errLeft
		}
	}
}

func (i *invocation) context() context.Context {
	if ctx := i.command.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}

func verifyVerb() *cobra.Command {
	command := &cobra.Command{
		Use:   "verify [--detach | --stop]",
		Short: "Compares all stored files with their SHA-256",
		Long: `Reads all stored files, at the rate of verify_rate, and compares them with their SHA-256. What is wrong is removed, and
fetched again when somebody asks for it. Shows how far it is until it is over; Ctrl-C leaves it running.

Exits with 4 if a file was damaged.`,
		Example: examples("verify", "verify --detach", "verify --stop"),
		Args:    takes(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := command.Flags()
	detach := flags.Bool("detach", false, "Begin it and don't wait")
	stop := flags.Bool("stop", false, "Stop the running one")
	command.MarkFlagsMutuallyExclusive("detach", "stop")
	return verb(command, func(i *invocation) (int, error) {
		var list adminapi.VerificationList
		method := http.MethodPost
		if *stop {
			method = http.MethodDelete
		}
		if err := i.call(method, adminapi.CallVerify, nil, nil, &list); err != nil {
			return 1, err
		}
		if !*detach && !*stop {
			if err := i.watchVerifying(&list); err != nil {
				return 1, err
			}
		}
		if err := i.show(list, func() { i.showVerifications(list) }); err != nil {
			return 1, err
		}
		return verdictOf(list, *stop)
	})
}

func (i *invocation) watchVerifying(list *adminapi.VerificationList) error {
	progress := i.newProgress("verifying")
	defer progress.end()
	err := i.watch(func() (over bool, err error) {
		if err := i.call(http.MethodGet, adminapi.CallVerify, nil, nil, list); err != nil {
			return false, err
		}
		over = true
		var done, total int64
		entries, of := 0, 0
		for _, v := range list.Verifications {
			over = over && !v.Running
			done, total, entries, of = done+v.Bytes, total+v.TotalBytes, entries+v.Entries, of+v.Total
		}
		progress.show(entries, of, done, total)
		return over, nil
	})
	if errors.Is(err, errLeft) {
		return nil
	}
	return err
}

func (i *invocation) showVerifications(list adminapi.VerificationList) {
	rows := make([][]string, 0, len(list.Verifications))
	for _, v := range list.Verifications {
		state := "done"
		switch {
		case v.Running:
			state = "running"
		case v.Error != "":
			state = v.Error
		case v.Begun == nil:
			state = "not since the start"
		}
		rows = append(rows, []string{v.Directory, state, fmt.Sprint(v.Files), sizeText(v.Bytes), fmt.Sprint(v.Damaged)})
	}
	i.table("CACHE DIRECTORY | STATE | FILES | READ | DAMAGED", rows)
}

// verdictOf is the exit code that a verification deserves.
func verdictOf(list adminapi.VerificationList, stopped bool) (int, error) {
	for _, v := range list.Verifications {
		switch {
		case v.Running:
		case v.Damaged > 0:
			return exitWrong, fmt.Errorf("%d damaged files were removed from %s", v.Damaged, v.Directory)
		case v.Error != "" && !stopped:
			return 1, fmt.Errorf("verifying %s: %s", v.Directory, v.Error)
		}
	}
	return 0, nil
}

func warmVerb() *cobra.Command {
	command := &cobra.Command{
		Use:   "warm {PROJECT PACKAGE [VERSION] | --list | --join ID | --stop ID} [--token-file F] [--pin 30d] [--upstream URL] [--directory D] [--detach]",
		Short: "Fetches a package's files before anybody asks for them",
		Long: `Asks GitLab for the files of a package, or of one version of it, and fetches those that aren't stored, a few at a time,
into every cache directory in front of that GitLab, or the one of --directory. Shows how far it is until it is over; Ctrl-C
leaves it running, and the same command again joins it. It waits where GitLab limits requests, and ends when the project is
switched off. No file is evicted for it that was used since it began: where there is no other room it stops.

Write PROJECT as your jobs do: files that they ask for by number are apart from those that they ask for by path. The
token is one that may read the project (scope read_api); without --token-file the handler's api_token is used, and
without that GitLab is asked anonymously.

--list shows what is being warmed, and the last that are over; --join waits for one of them, and --stop ends it: no further
file is begun.

Exits with 4 if a file could not be fetched or pinned, or there was room for a part of them only.`,
		Example: examples("warm 24 my_package 1.0.0 --token-file token.txt", "warm group/app my_package --pin 30d --detach",
			"warm 24 my_package --token-file - < token.txt"),
		Args: takes("[PROJECT]", "[PACKAGE]", "[VERSION]"), ValidArgsFunction: completeNames(3),
	}
	flags := command.Flags()
	var asked warmRequest
	flags.StringVar(&asked.Upstream, "upstream", "", "The GitLab, if the edge stands in front of several")
	flags.StringVar(&asked.Directory, "directory", "", "The cache directory to fill; all of them by default")
	flags.StringVar(&asked.tokenFile, "token-file", "", "A file with a GitLab token; - for the standard input")
	flags.StringVar(&asked.Pin, "pin", "", "Keep the files from eviction for that long, such as 30d")
	detach := flags.Bool("detach", false, "Begin it and don't wait")
	list := flags.Bool("list", false, "List what is being warmed, and what was")
	join := flags.String("join", "", "Wait for the one with this ID")
	stop := flags.String("stop", "", "Stop the one with this ID")
	command.MarkFlagsMutuallyExclusive("list", "join", "stop", "detach")
	return verb(command, func(i *invocation) (int, error) {
		if err := i.refuseEmptyNames(); err != nil {
			return 1, err
		}
		switch others := *list || *join != "" || *stop != ""; {
		case others && len(i.args) > 0:
			return 1, errors.New("--list, --join and --stop are about warmings that there are, and take no package")
		case *list:
			return i.listWarmings()
		case *stop != "":
			return i.stopWarming(*stop)
		case *join != "":
			return i.seeWarming(adminapi.WarmingStatus{ID: *join}, true)
		}
		if err := takes("PROJECT", "PACKAGE", "[VERSION]")(command, i.args); err != nil {
			return 1, err
		}
		status, err := i.beginWarming(asked)
		if err != nil {
			return 1, err
		}
		return i.seeWarming(status, !*detach)
	})
}

// readToken reads a token from a file. An empty one is refused: GitLab would be asked anonymously, and say that there
// is nothing.
func readToken(path string, stdin io.Reader) (string, error) {
	var content []byte
	var err error
	switch path {
	case "":
		return "", nil
	case "-":
		content, err = io.ReadAll(io.LimitReader(stdin, adminapi.MaxRequest))
	default:
		content, err = os.ReadFile(path) //nolint:gosec // the user's own file
	}
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", errors.New("the token file must hold one token and nothing else")
	}
	return token, nil
}

func (i *invocation) watchWarming(status *adminapi.WarmingStatus) error {
	progress := i.newProgress("fetching")
	defer progress.end()
	id := status.ID
	err := i.watch(func() (over bool, err error) {
		*status = adminapi.WarmingStatus{}
		if err := i.call(http.MethodGet, adminapi.CallWarm, url.Values{"id": {id}}, nil, status); err != nil {
			return false, err
		}
		progress.show(status.Already+status.Fetched+status.Failed, status.Files, status.DoneBytes, status.Bytes)
		return !status.Running, nil
	})
	if errors.Is(err, errLeft) {
		return nil
	}
	return err
}

func (i *invocation) showWarming(status adminapi.WarmingStatus) {
	if status.Anonymous {
		printf(i.out, "GitLab was asked anonymously, since there is neither a --token-file nor an api_token in the config.\n")
	}
	if status.Running {
		printf(i.out, "%s is running: %d of %d files\n", status.ID, status.Already+status.Fetched, status.Files)
		return
	}
	printf(i.out, "%s, %s: %d fetched, %d were stored before, %d pinned, %d failed\n", counted(status.Files, "file", "files"), sizeText(status.Bytes),
		status.Fetched, status.Already, status.Pinned, status.Failed)
	if status.Left > 0 {
		printf(i.out, "%s left out\n", counted(status.Left, "file is", "files are"))
	}
	for _, line := range status.Errors {
		printf(i.out, "  %s\n", line)
	}
}
