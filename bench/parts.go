//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// copyFlag makes this program a process that keeps copies and does nothing else; see keepCopies.
const copyFlag = "keep-copies"

// keepCopies hashes and writes as many files of a size as it is asked to, all at once, in the pieces in which Go's HTTP
// transport hands a body on: what the copies of uploads cost by themselves.
func keepCopies(directory string, copies int, size int64) error {
	const piece = 32 << 10
	var group errgroup.Group
	for n := range copies {
		group.Go(func() error {
			file, err := os.Create(filepath.Join(directory, "copy-"+strconv.Itoa(n))) //nolint:gosec // below our own directory
			if err != nil {
				return err
			}
			hash, data := sha256.New(), make([]byte, piece)
			for written := int64(0); written < size; written += piece {
				binary.BigEndian.PutUint64(data, uint64(written)) //nolint:gosec // never negative
				_, _ = hash.Write(data)
				if _, err := file.Write(data); err != nil {
					return err
				}
			}
			return file.Close()
		})
	}
	return group.Wait()
}

// keepCopiesAs is keepCopies as its own process is told: directory, number, size.
func keepCopiesAs(arguments []string) error {
	if len(arguments) != 3 {
		return errors.New("usage: -" + copyFlag + " DIRECTORY COPIES SIZE")
	}
	copies, err := strconv.Atoi(arguments[1])
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(arguments[2], 10, 64)
	if err != nil {
		return err
	}
	return keepCopies(arguments[0], copies, size)
}

// copiesCost runs keepCopies as a process of its own and returns the processor time that it took.
func copiesCost(ctx context.Context, directory string, copies int, size int64) (time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	command := exec.CommandContext(ctx, self, "-"+copyFlag, directory, strconv.Itoa(copies), strconv.FormatInt(size, 10)) //nolint:gosec // ourselves
	if output, err := command.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("keeping copies: %w: %s", err, output)
	}
	return command.ProcessState.UserTime() + command.ProcessState.SystemTime(), nil
}

// touchMemory writes to most of the free memory once and gives it back. On a virtual machine the first touch of a page
// costs many times what later ones do, and whoever came first in a table would pay for all.
func touchMemory() error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return fmt.Errorf("looking for free memory: %w", err)
	}
	const most = 16 << 30
	size := int(min(info.Freeram*uint64(info.Unit)*3/4, most)) //nolint:gosec // at most 16 GiB
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("touching memory: %w", err)
	}
	return unix.Munmap(memory)
}
