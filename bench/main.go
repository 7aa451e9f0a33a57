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
	// caddy is the built edge, ceiling the Caddy with the handler of bench/ceiling; directory is where everything is kept
	// that is written.
	caddy, ceiling, directory string
	certificate               *certificate
	// runs is how often each figure is measured, duration how long each time.
	runs     int
	duration time.Duration
	// gitlab is the stand-in; it lives in this process, so that its work counts for no server.
	gitlab *gitlabtest.Server
	// files counts those published.
	files uint64
	table table
	// profileDirectory is where profiles of the edge are kept, empty for none. profiles is the same while they are taken, and
	// row what is measured then.
	profileDirectory, profiles, row string
	// servers are the names of those that are measured; empty for all.
	servers []string
}

// row measures one row of the table.
type row struct {
	name    string
	measure func(context.Context, *bench) error
}

// allRows are in the order of the table.
func allRows() []row {
	var rows []row
	for _, p := range protocols {
		rows = append(rows,
			row{"hits4k" + p.suffix, hits4K(p)},
			row{"hits1m" + p.suffix, hits1M(p)},
			row{"hits256m" + p.suffix, hits256M(p)},
		)
	}
	return append(
		rows,
		row{"connections" + tlsHTTP1.suffix, newConnections(tlsHTTP1)},
		row{"connections" + tlsHTTP2.suffix, newConnections(tlsHTTP2)},
		row{"latency", latency(plainHTTP)},
		row{"latency" + tlsHTTP2.suffix, latency(tlsHTTP2)},
		row{"fill", fill(plainHTTP)},
		row{"fill" + tlsHTTP1.suffix, fill(tlsHTTP1)},
		row{"fill" + tlsHTTP2.suffix, fill(tlsHTTP2)},
		row{"fill-others", fillOthers},
		row{"restart", restart},
		row{"shared", shared},
		row{"memory", memoryFull(plainHTTP)},
		row{"memory" + tlsHTTP2.suffix, memoryFull(tlsHTTP2)},
		row{"newtoken", newToken},
		row{"herd", herd},
		row{"range", coldRange},
		row{"put", put},
		row{"damaged", damaged},
		row{"broken", broken},
		row{"readers", readers},
	)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	rows := allRows()
	names := make([]string, 0, len(rows))
	for _, r := range rows {
		names = append(names, r.name)
	}
	caddy := flag.String("caddy", "", "the built edge (cmd/caddy)")
	ceiling := flag.String("ceiling", "", "the built Caddy with a handler that does next to nothing (bench/ceiling/caddy)")
	wanted := flag.String("rows", strings.Join(names, ","), "which rows to measure")
	runs := flag.Int("runs", 3, "how many rounds there are of each row, in each of which every server is measured once")
	duration := flag.Duration("duration", 5*time.Second, "how long hits are measured each time, in whole seconds")
	profiles := flag.String("profile", "", "a directory for profiles of the edge's processor time, one of each row with a steady load")
	servers := flag.String("servers", "", "which servers to measure, by their names in the table; all if empty")
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
	b := &bench{directory: directory, runs: max(*runs, 1), duration: max(duration.Truncate(time.Second), time.Second), profileDirectory: *profiles}
	if *servers != "" {
		b.servers = strings.Split(*servers, ",")
	}
	if err := b.prepare(*caddy, *ceiling); err != nil {
		return err
	}
	defer b.table.print(os.Stdout)
	for _, r := range rows {
		if !slices.Contains(strings.Split(*wanted, ","), r.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "measuring", r.name)
		if err := b.measure(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// prepare makes what all rows need.
func (b *bench) prepare(caddy, ceiling string) (err error) {
	if b.caddy, err = filepath.Abs(caddy); err != nil {
		return err
	}
	if b.ceiling, err = filepath.Abs(ceiling); err != nil {
		return err
	}
	if b.profileDirectory != "" {
		if err := os.MkdirAll(b.profileDirectory, 0o750); err != nil {
			return err
		}
	}
	if b.certificate, err = newCertificate(b.directory); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "touching memory")
	return touchMemory()
}

// measure measures a row, with a GitLab of its own.
func (b *bench) measure(ctx context.Context, r row) error {
	b.gitlab = gitlabtest.New()
	defer b.gitlab.Close()
	b.gitlab.AddProject(gitlabtest.Project{ID: project, Path: "group/bench"})
	b.addTokens(0, 64)
	err := r.measure(ctx, b)
	if err == nil && b.profileDirectory != "" {
		err = b.profiled(ctx, r)
	}
	return err
}

// alternately measures servers in turn, as often as there are rounds.
func (b *bench) alternately(ctx context.Context, protocol protocol, peers []peer, measure func(round int, p peer, server *process) error) error {
	for round := range b.runs {
		for _, p := range peers {
			if b.profiles != "" && !p.isEdge() || b.servers != nil && !slices.Contains(b.servers, strings.Trim(p.name, "`")) {
				continue
			}
			err := b.with(ctx, p, protocol, func(server *process) error { return measure(round, p, server) })
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}
