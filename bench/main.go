//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// bench is one run of the program.
type bench struct {
	// caddy is the built edge, directory where everything is kept that is written.
	caddy, directory string
	// runs is how often each figure is measured, duration how long each time.
	runs     int
	duration time.Duration
	// gitlab is the stand-in; it lives in this process, so that its work counts for no server.
	gitlab *gitlabtest.Server
	// files counts those published.
	files uint64
	table table
}

// row measures one row of the table.
type row struct {
	name    string
	measure func(context.Context, *bench) error
}

var rows = []row{
	{"hits4k", hits4K},
	{"hits1m", hits1M},
	{"hits256m", hits256M},
	{"newtoken", newToken},
	{"herd", herd},
	{"fill", fill},
	{"range", coldRange},
	{"put", put},
	{"damaged", damaged},
	{"broken", broken},
	{"readers", readers},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	names := make([]string, 0, len(rows))
	for _, r := range rows {
		names = append(names, r.name)
	}
	caddy := flag.String("caddy", "", "the built edge (cmd/caddy)")
	wanted := flag.String("rows", strings.Join(names, ","), "which rows to measure")
	runs := flag.Int("runs", 5, "how often each figure is measured")
	duration := flag.Duration("duration", 5*time.Second, "how long hits are measured each time")
	copying := flag.Bool(copyFlag, false, "used by the program itself: hash and write files")
	flag.Parse()
	if *copying {
		return keepCopiesAs(flag.Args())
	}
	for name := range strings.SplitSeq(*wanted, ",") {
		if !slices.Contains(names, name) {
			return fmt.Errorf("there is no row %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	directory, err := os.MkdirTemp("", "gitlab-packages-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(directory) }()
	path, err := filepath.Abs(*caddy)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "touching memory")
	if err := touchMemory(); err != nil {
		return err
	}
	b := &bench{caddy: path, directory: directory, runs: max(*runs, 1), duration: max(*duration, time.Second)}
	defer b.table.print(os.Stdout)
	for _, r := range rows {
		if !slices.Contains(strings.Split(*wanted, ","), r.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "measuring", r.name)
		b.gitlab = gitlabtest.New()
		b.gitlab.AddProject(gitlabtest.Project{ID: project, Path: "group/bench"})
		b.addTokens(0, 64)
		err := r.measure(ctx, b)
		b.gitlab.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// with runs a server in a directory of its own, while use uses it.
func (b *bench) with(ctx context.Context, p peer, use func(*process) error) error {
	directory, err := os.MkdirTemp(b.directory, "server-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(directory) }()
	server, err := p.start(ctx, b, directory)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	server.directory = directory
	defer server.stop()
	if err := use(server); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// alternately measures servers in turn, as often as there are runs.
func (b *bench) alternately(ctx context.Context, peers []peer, measure func(run int, p peer, server *process) error) error {
	for run := range b.runs {
		for _, p := range peers {
			err := b.with(ctx, p, func(server *process) error { return measure(run, p, server) })
			if err != nil {
				return err
			}
		}
	}
	return nil
}
