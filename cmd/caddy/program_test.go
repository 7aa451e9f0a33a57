package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runAsCaddy is the variable that makes this test's program the one that it tests.
const runAsCaddy = "GITLAB_PACKAGES_TEST_RUNS_AS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(runAsCaddy) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is a command that runs `caddy` with arguments, and leaves nothing in the home of whoever runs the tests.
func program(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	command := exec.CommandContext(ctx, self, args...) //nolint:gosec // this very program
	command.Env = append(os.Environ(), runAsCaddy+"=1", "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
	return command
}

// output runs a command and returns what it prints and its exit code.
func output(t *testing.T, command *exec.Cmd) (printed string, code int) {
	t.Helper()
	out, err := command.CombinedOutput()
	if command.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), command.ProcessState.ExitCode()
}

func TestAnUnknownVerbExitsWithOneAndNamesTheNearest(t *testing.T) {
	printed, code := output(t, program(t.Context(), t, "gitlab-packages", "prge", "24"))
	if code != 1 || printed != "Error: there is no verb \"prge\"; did you mean purge? caddy gitlab-packages --help lists all\n" {
		t.Errorf("exit code %d\n%s", code, printed)
	}
}

func TestTheVersionIsToldWithoutAnEdge(t *testing.T) {
	printed, code := output(t, program(t.Context(), t, "gitlab-packages", "version"))
	if code != 0 || !strings.HasPrefix(printed, "Module  "+readGoMod(t).Module.Path+" ") || !strings.Contains(printed, "\nCaddy   v2.") {
		t.Errorf("exit code %d\n%s", code, printed)
	}
}

// TestTheDemoShowsWhatItPromises: each of its steps fails by itself if anything is not as it should be.
func TestTheDemoShowsWhatItPromises(t *testing.T) {
	printed, code := output(t, program(t.Context(), t, "gitlab-packages", "demo", "--once"))
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, printed)
	}
	for _, line := range []string{"\n5  what was uploaded, by another token  200", "\n5  One question again and no body"} {
		if !strings.Contains(printed, line) {
			t.Errorf("no %q in\n%s", line, printed)
		}
	}
}

// TestTheDemoNamesItsPageFirst, before it shows anything, and the page is there.
func TestTheDemoNamesItsPageFirst(t *testing.T) {
	demo := program(t.Context(), t, "gitlab-packages", "demo")
	printed, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = demo.Process.Signal(os.Interrupt) // so that it removes its directory
		_, _ = io.Copy(io.Discard, printed)
		_ = demo.Wait() // it was broken off
	}()
	first, err := bufio.NewReader(printed).ReadString('\n')
	address, isPage := strings.CutPrefix(strings.TrimSpace(first), "A page to look at  ")
	if err != nil || !isPage || !strings.HasPrefix(address, "http://localhost:") {
		t.Fatalf("first it says %q, %v", first, err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), "Working.") {
		t.Errorf("%s, %v\n%s", response.Status, err, body)
	}
}

// TestBashCompletesWhatTheRunningEdgeKnows has bash itself run the script of `caddy completion`, by way of Debian's
// bash-completion.
func TestBashCompletesWhatTheRunningEdgeKnows(t *testing.T) {
	const library = "/usr/share/bash-completion/bash_completion"
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	if _, err := os.Stat(library); err != nil {
		t.Skip("there is no bash-completion")
	}
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gitlab_packages/projects":
			_, _ = io.WriteString(w, `{"projects":[{"project":"24","names":["group/app"],"state":"on"},{"project":"$(touch hacked)"}]}`)
		case "/gitlab_packages/entries":
			_, _ = io.WriteString(w, `{"entries":[{"package":"my_package","version":"1.0.0"},{"package":"other"}]}`)
		default:
			http.NotFound(w, r)
		}
	}))
	defer edge.Close()
	folder := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(folder, "caddy")); err != nil {
		t.Fatal(err)
	}
	// Bash itself cuts the words of a line at colons.
	host, port, _ := strings.Cut(strings.TrimPrefix(edge.URL, "http://"), ":")
	address := fmt.Sprintf("--address %s : %s", host, port)
	const script = `
		source "$LIBRARY" && source <(caddy completion bash) || exit
		eval "COMP_WORDS=($WORDS)"
		COMP_LINE="${COMP_WORDS[*]}" COMP_POINT=${#COMP_LINE} COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		__start_caddy 2>/dev/null # compopt belongs to a key that is pressed
		printf 'offered: %s\n' "${COMPREPLY[*]}"`
	for words, want := range map[string]string{
		"caddy gitlab-packages pu":                          "purge",
		"caddy gitlab-packages prge":                        "",
		"caddy gitlab-packages disable " + address + " ''":  "24 group/app",
		"caddy gitlab-packages disable " + address + " gr":  "group/app",
		"caddy gitlab-packages purge " + address + " 24 ''": "my_package other",
		"caddy gitlab-packages purge " + address + " 24 o":  "other",
		"caddy gitlab-packages warm 24 " + address + " my":  "my_package",
	} {
		command := exec.CommandContext(t.Context(), bash, "--norc", "-c", script) //nolint:gosec // found above
		command.Dir = folder
		command.Env = append(os.Environ(), runAsCaddy+"=1", "PATH="+folder+":"+os.Getenv("PATH"), "LIBRARY="+library, "WORDS="+words, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
		if printed, code := output(t, command); code != 0 || !strings.HasSuffix(printed, "offered: "+want+"\n") {
			t.Errorf("%s: exit code %d; want %q\n%s", words, code, want, printed)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "hacked")); err == nil {
		t.Error("bash has run the name of a project")
	}
}
