package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	// onVariable names the environment variable that has the number of the mutant that is on.
	onVariable = "MUTANT_ON"
	// reachedVariable names the one that has the path of a file with a byte for each mutant, which becomes 1 when the
	// mutant is reached. Processes that a test starts share it.
	reachedVariable = "MUTANTS_REACHED"
)

// helpers is a file that is added to the package. It uses nothing of it. The file of reached mutants is mapped and not
// written at the end: a test may kill its process. A mutant is asked about where it matters only: a moved boundary counts as
// reached by tests that stand on it.
const helpers = `package %s

import (
	"cmp"
	"os"
	"strconv"
	"syscall"
	"time"
)

var mutantOn, _ = strconv.Atoi(os.Getenv(%q))

var mutantsReached = func() []byte {
	path := os.Getenv(%q)
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	mapped, err := syscall.Mmap(int(file.Fd()), 0, %d, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return mapped
}()

func mutantAt(number int) bool {
	if mutantsReached != nil {
		mutantsReached[number] = 1
	}
	return mutantOn == number
}

func mutantError(number int, err error) error {
	if err != nil && mutantAt(number) {
		return nil
	}
	return err
}

func mutantLess[T cmp.Ordered](number int, x, y T) bool {
	return x < y || x == y && mutantAt(number)
}

func mutantLessOrEqual[T cmp.Ordered](number int, x, y T) bool {
	return x < y || x == y && !mutantAt(number)
}

func mutantGreater[T cmp.Ordered](number int, x, y T) bool {
	return x > y || x == y && mutantAt(number)
}

func mutantGreaterOrEqual[T cmp.Ordered](number int, x, y T) bool {
	return x > y || x == y && !mutantAt(number)
}

func mutantAfter(number int, x, y time.Time) bool {
	return x.After(y) || x.Equal(y) && mutantAt(number)
}

func mutantBefore(number int, x, y time.Time) bool {
	return x.Before(y) || x.Equal(y) && mutantAt(number)
}

type mutantNumeric interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr | ~float32 | ~float64
}

func mutantSum[T mutantNumeric](number int, x, y T) T {
	if mutantAt(number) {
		return x - y
	}
	return x + y
}

func mutantDifference[T mutantNumeric](number int, x, y T) T {
	if mutantAt(number) {
		return x + y
	}
	return x - y
}

func mutantProduct[T mutantNumeric](number int, x, y T) T {
	if mutantAt(number) {
		return x / y
	}
	return x * y
}

func mutantQuotient[T mutantNumeric](number int, x, y T) T {
	if mutantAt(number) {
		return x * y
	}
	return x / y
}

func mutantNumber[T mutantNumeric](more, less int, x T) T {
	if mutantAt(more) {
		return x + 1
	}
	if mutantAt(less) {
		return x - 1
	}
	return x
}
`

// build compiles the package's tests with all mutants.
func (s *source) build(ctx context.Context, mutants []*mutant, work, binary string) error {
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	write := func(path string, content []byte) error {
		changed := filepath.Join(work, filepath.Base(path))
		overlay.Replace[path] = changed
		return os.WriteFile(changed, content, 0o600)
	}
	for _, f := range s.files {
		if err := write(f.path, f.edits.apply(f.content)); err != nil {
			return err
		}
	}
	text := fmt.Sprintf(helpers, s.name, onVariable, reachedVariable, len(mutants)+1)
	if err := write(filepath.Join(s.directory, "mutants_of_the_package.go"), []byte(text)); err != nil {
		return err
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	path := filepath.Join(work, "overlay.json")
	if err := os.WriteFile(path, list, 0o600); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", path, "-o", binary, s.importPath) //nolint:gosec // a command for developers
	command.Dir = s.directory
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("compiling the mutants of %s: %w", s.importPath, err)
	}
	return nil
}
