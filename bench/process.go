//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a running server that is measured, with all that it started itself.
type process struct {
	command   *exec.Cmd
	address   string
	directory string
	// protocol is what it speaks, certificate what it shows if that is TLS.
	protocol    protocol
	certificate *certificate
	// admin is the address of Caddy's admin endpoint, if it has one.
	admin  string
	output *bytes.Buffer
	ended  chan struct{}
	// birth is how long it took from its start until it took connections.
	birth time.Duration
}

// startProcess starts a server and waits until it takes connections.
func startProcess(ctx context.Context, address, path string, arguments ...string) (*process, error) {
	p := &process{command: exec.Command(path, arguments...), address: address, output: new(bytes.Buffer), ended: make(chan struct{})} //nolint:gosec // our own commands
	p.command.Stdout, p.command.Stderr = p.output, p.output
	// A group of its own, to end all of it, and an end with us whatever happens.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	begun := time.Now()
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	// Ends with the process.
	go func() {
		_ = p.command.Wait()
		close(p.ended)
	}()
	for time.Since(begun) < 30*time.Second {
		select {
		case <-ctx.Done():
			p.stop()
			return nil, context.Cause(ctx)
		case <-p.ended:
			return nil, fmt.Errorf("%s has ended: %s", filepath.Base(path), p.output)
		default:
		}
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			p.birth = time.Since(begun)
			_ = connection.Close()
			return p, nil
		}
		time.Sleep(time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("%s takes no connections: %s", filepath.Base(path), p.output)
}

// stop ends the process and all that it started: politely, so that nothing stored is lost, and after ten seconds by
// force.
func (p *process) stop() {
	_ = syscall.Kill(p.command.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// url is where a file is asked for.
func (p *process) url(file string) string {
	return p.protocol.scheme() + "://" + p.address + filePath(file)
}

// family returns the ids of the process and its descendants.
func (p *process) family() ([]int, error) {
	children := make(map[int][]int)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	for _, path := range stats {
		fields, err := statFields(path)
		if err != nil {
			continue // ended meanwhile
		}
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, err
		}
		children[parent] = append(children[parent], id)
	}
	family := []int{p.command.Process.Pid}
	for i := 0; i < len(family); i++ {
		family = append(family, children[family[i]]...)
	}
	return family, nil
}

// statFields reads the fields of /proc/PID/stat from the third (the state) on; the second can hold spaces.
func statFields(path string) ([]string, error) {
	data, err := os.ReadFile(path) //nolint:gosec // below /proc
	if err != nil {
		return nil, err
	}
	_, rest, ok := bytes.Cut(data, []byte(") "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 15 {
		return nil, errors.New("an odd " + path)
	}
	return fields, nil
}

// cpu is how much processor time the family has used.
func (p *process) cpu() (time.Duration, error) {
	family, err := p.family()
	if err != nil {
		return 0, err
	}
	var ticks int64
	for _, id := range family {
		fields, err := statFields(fmt.Sprintf("/proc/%d/stat", id))
		if err != nil {
			continue
		}
		for _, field := range fields[11:13] { // user and system time
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / 100, nil // USER_HZ is 100 on Linux
}

// settle waits until the server has nothing left to do: what was put off while requests were answered belongs to them. A server
// that is busy for half a minute without any is taken as it is.
func (p *process) settle(ctx context.Context) error {
	const quiet, patience = time.Second / 2, 30 * time.Second
	for begun := time.Now(); time.Since(begun) < patience; {
		before, err := p.cpu()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(quiet):
		}
		after, err := p.cpu()
		if err != nil {
			return err
		}
		if after-before <= quiet/50 { // a tick of the clock by which the kernel counts
			return nil
		}
	}
	return nil
}

// memory is how many bytes the family has in memory now, or had at most since the start.
func (p *process) memory(field string) (int64, error) {
	family, err := p.family()
	if err != nil {
		return 0, err
	}
	var total int64
	for _, id := range family {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", id))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if rest, ok := strings.CutPrefix(line, field+":"); ok {
				n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				if err != nil {
					return 0, err
				}
				total += n << 10
			}
		}
	}
	return total, nil
}

// Fields of memory.
const (
	memoryNow  = "VmRSS"
	memoryPeak = "VmHWM"
)

// freeAddress returns an address on loopback that nobody listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}
