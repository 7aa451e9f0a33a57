package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// runner runs a test binary that has all mutants in it.
type runner struct {
	// directory is the package's, where its tests expect to run. work is for all that is written.
	directory, work, binary string
	parallel                int
	// tests are those that pass alone, the fastest first.
	tests []*test
}

const (
	// recordLimit is for how long one test may run while it is recorded.
	recordLimit = 10 * time.Minute
	// recordTries is how often a test that fails is recorded: it may have failed for want of time.
	recordTries = 3
	// limitFactor and limitExtra give what tests may take with a mutant, from what they take without: enough for a busy
	// machine, since a test that is stopped counts as one that has noticed.
	limitFactor = 5
	limitExtra  = 10 * time.Second
	// firstBatch is how long the first tests run that are tried together with a mutant. Each further batch runs
	// batchGrowth times as long: most mutants are noticed by the first, and starting a process takes time.
	firstBatch  = 300 * time.Millisecond
	batchGrowth = 4
)

// outcome is how one run of the test binary ended.
type outcome struct {
	passed bool
	// by is the test that failed.
	by     string
	output string
}

// start runs some tests, or all that pattern says. variables are added to the environment.
func (r *runner) start(ctx context.Context, limit time.Duration, variables []string, arguments ...string) (outcome, error) {
	temporary, err := os.MkdirTemp(r.work, "t")
	if err != nil {
		return outcome{}, err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	// The test binary's own limit tells which test was running. The one here is for a binary that doesn't keep it.
	ctx, cancel := context.WithTimeout(ctx, limit+limitExtra)
	defer cancel()
	arguments = append(arguments, "-test.timeout="+limit.String())
	command := exec.CommandContext(ctx, r.binary, arguments...) //nolint:gosec // built by this program
	command.Dir = r.directory
	command.Env = append(append(os.Environ(), "TMPDIR="+temporary), variables...)
	// What a test has started ends with it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = limitExtra
	output, err := command.CombinedOutput()
	if command.Process != nil {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
	}
	if err == nil {
		return outcome{passed: true, output: string(output)}, nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return outcome{}, fmt.Errorf("running the tests: %w", err)
	}
	return outcome{by: noticedBy(string(output)), output: string(output)}, nil
}

var (
	failedTest  = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)
	failedPart  = regexp.MustCompile(`(?m)^\s*--- FAIL: ([^/\s]+)`)
	runningTest = regexp.MustCompile(`running tests:\n\s+(\S+)`)
)

// noticedBy finds in a test binary's output who made it fail.
func noticedBy(output string) string {
	for _, pattern := range []*regexp.Regexp{failedTest, failedPart} {
		if found := pattern.FindStringSubmatch(output); found != nil {
			return found[1]
		}
	}
	if found := runningTest.FindStringSubmatch(output); found != nil {
		return found[1] + " (took too long)"
	}
	for _, text := range []string{"found unexpected goroutines", "fatal error: ", "panic: "} {
		if _, after, found := strings.Cut(output, text); found {
			line, _, _ := strings.Cut(text+after, "\n")
			return line
		}
	}
	return "the test binary's exit status"
}

// record runs each test alone, without a mutant, and notes which mutants it reaches. Tests that fail so are left out.
func (r *runner) record(ctx context.Context, mutants int, skip string) error {
	list := exec.CommandContext(ctx, r.binary, "-test.list=^(Test|Fuzz|Example)") //nolint:gosec // built by this program
	list.Dir = r.directory
	output, err := list.Output()
	if err != nil {
		return fmt.Errorf("listing the tests: %w", err)
	}
	skipped, err := regexp.Compile(skip)
	if err != nil {
		return fmt.Errorf("reading -skip: %w", err)
	}
	names := slices.DeleteFunc(strings.Fields(string(output)), func(name string) bool { return skip != "" && skipped.MatchString(name) })
	note("recording what %d tests reach", len(names))
	var mu sync.Mutex
	err = r.each(len(names), func(i int) error {
		recorded, err := r.recordOne(ctx, names[i], mutants)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if recorded != nil {
			r.tests = append(r.tests, recorded)
		}
		return ctx.Err()
	})
	slices.SortFunc(r.tests, func(a, b *test) int { return int(a.took - b.took) })
	return err
}

func (r *runner) recordOne(ctx context.Context, name string, mutants int) (*test, error) {
	path := filepath.Join(r.work, "reached-"+name)
	if err := os.WriteFile(path, make([]byte, mutants+1), 0o600); err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(path) }()
	var begun time.Time
	var result outcome
	for try := 0; try < recordTries && !result.passed; try++ {
		var err error
		begun = time.Now()
		result, err = r.start(ctx, recordLimit, []string{reachedVariable + "=" + path}, "-test.run=^"+name+"$")
		if err != nil {
			return nil, err
		}
	}
	if !result.passed {
		note("%s fails without a mutant and is left out: %s", name, result.output)
		return nil, nil
	}
	reaches, err := os.ReadFile(path) //nolint:gosec // written above
	return &test{name: name, took: time.Since(begun), reaches: reaches}, err
}

// tryAll finds out about each mutant whether a test notices it.
func (r *runner) tryAll(ctx context.Context, mutants []*mutant) error {
	var mu sync.Mutex
	begun, done, left := time.Now(), 0, 0
	return r.each(len(mutants), func(i int) error {
		m := mutants[i]
		if err := r.try(ctx, m); err != nil || ctx.Err() != nil {
			m.verdict = untried
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		done++
		if m.verdict == survived || m.verdict == uncovered {
			left++
			note("%s: %s", m.verdict, m)
		}
		if done%50 == 0 {
			note("%d of %d tried in %s, %d left", done, len(mutants), time.Since(begun).Round(time.Second), left)
		}
		return nil
	})
}

// try runs the tests that reach a mutant, the fastest first, until one fails.
func (r *runner) try(ctx context.Context, m *mutant) error {
	if m.reason != "" {
		m.verdict = equivalent
		return nil
	}
	m.verdict = uncovered
	for _, batch := range r.batches(m.number) {
		var took time.Duration
		names := make([]string, 0, len(batch))
		for _, t := range batch {
			took += t.took
			names = append(names, t.name)
		}
		result, err := r.start(ctx, limitFactor*took+limitExtra, []string{onVariable + "=" + strconv.Itoa(m.number)},
			"-test.failfast", "-test.run=^("+strings.Join(names, "|")+")$")
		if err != nil {
			return err
		}
		if !result.passed {
			m.verdict, m.by = noticed, result.by
			return nil
		}
		m.verdict = survived
	}
	return nil
}

// batches are the tests that reach a mutant, in the groups in which they are run.
func (r *runner) batches(number int) [][]*test {
	var batches [][]*test
	var batch []*test
	var took time.Duration
	limit := firstBatch
	for _, t := range r.tests {
		if t.reaches[number] == 0 {
			continue
		}
		batch, took = append(batch, t), took+t.took
		if took >= limit {
			batches, batch, took, limit = append(batches, batch), nil, 0, limit*batchGrowth
		}
	}
	if batch != nil {
		batches = append(batches, batch)
	}
	return batches
}

// each calls do for the numbers below n, some at once, until one fails.
func (r *runner) each(n int, do func(int) error) error {
	var mu sync.Mutex
	var failed error
	next := 0
	var workers sync.WaitGroup
	for range max(1, r.parallel) {
		// Ends when all numbers are done or one has failed.
		workers.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := i >= n || failed != nil
				mu.Unlock()
				if stop {
					return
				}
				if err := do(i); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	return failed
}
