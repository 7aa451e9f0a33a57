package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// settings are what the command line asks for.
type settings struct {
	// pkg is the package's directory, files the names of those whose mutants are tried; all if empty.
	pkg   string
	files []string
	// only is a part of the texts of the mutants to try.
	only string
	// again is the path of a former table. Only mutants that are in it are tried.
	again string
	// sample is how many are tried, chosen by seed; 0 for all.
	sample int
	seed   uint64
	// parallel is how many test binaries run at once.
	parallel int
	// skip is a regular expression of tests that aren't run.
	skip string
	// equivalents is the path of the list of mutants that nobody can notice.
	equivalents string
	// all has the noticed mutants in the table, too.
	all bool
	// listing ends the program when the mutants are found.
	listing bool
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func readFlags() settings {
	var s settings
	flag.StringVar(&s.pkg, "package", "", "the package's directory, such as ./upstream")
	files := flag.String("files", "", "the files whose mutants are tried, separated by commas; all if empty")
	flag.StringVar(&s.only, "only", "", "a part of the text of the mutants that are tried, as the table prints it")
	flag.StringVar(&s.again, "again", "", "the path of a former table; only mutants that it names are tried")
	flag.IntVar(&s.sample, "sample", 0, "how many mutants are tried, chosen at random; 0 for all")
	flag.Uint64Var(&s.seed, "seed", 1, "another seed chooses another sample")
	flag.IntVar(&s.parallel, "parallel", runtime.NumCPU(), "how many test binaries run at once")
	flag.StringVar(&s.skip, "skip", "", "a regular expression of tests that aren't run")
	flag.StringVar(&s.equivalents, "equivalent", "", "the list of mutants that nobody can notice")
	flag.BoolVar(&s.all, "all", false, "print the noticed mutants, too")
	flag.BoolVar(&s.listing, "list", false, "print the mutants and try none")
	flag.Parse()
	if *files != "" {
		s.files = strings.Split(*files, ",")
	}
	return s
}

func run() error {
	s := readFlags()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	known, err := readEquivalents(s.equivalents)
	if err != nil {
		return err
	}
	loaded, err := load(ctx, s.pkg)
	if err != nil {
		return err
	}
	mutants := loaded.find()
	stale := known.mark(mutants)
	chosen, err := choose(mutants, s)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		return fmt.Errorf("%s has no such mutants", s.pkg)
	}
	if s.listing {
		for _, m := range chosen {
			fmt.Println(m)
		}
		return nil
	}
	work, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	r := &runner{directory: loaded.directory, work: work, parallel: s.parallel, binary: filepath.Join(work, "tests")}
	note("%s: %d mutants, %d of them to try", s.pkg, len(mutants), len(chosen))
	if err := loaded.build(ctx, mutants, work, r.binary); err != nil {
		return err
	}
	if err := r.record(ctx, len(mutants), s.skip); err != nil {
		return err
	}
	if err := r.tryAll(ctx, chosen); err != nil {
		return err
	}
	printTable(os.Stdout, s.pkg, chosen, s.all)
	for _, line := range stale {
		fmt.Printf("%s: nothing is like this any more, please remove the line: %s\n", s.equivalents, line)
	}
	return ctx.Err()
}

// note tells how far the work is, beside the table on standard output.
func note(format string, arguments ...any) { fmt.Fprintf(os.Stderr, format+"\n", arguments...) }
