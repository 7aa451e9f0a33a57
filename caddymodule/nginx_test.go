package caddymodule

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nginx is Debian's nginx on loopback, between an edge and GitLab. As nginx does unless told otherwise it holds a request
// back until its body is whole.
type nginx struct {
	url       string
	directory string
	address   string
	stdin     io.Closer // its end ends nginx
	process   *exec.Cmd
}

// nginxLines are further lines of its config, in the blocks of all HTTP, of the server, and of the one location.
type nginxLines struct{ http, server, location string }

// startNginx runs nginx in front of a GitLab. It ends with the test, and with the test's process. The test is skipped where
// there is no nginx.
func startNginx(t testing.TB, gitlab string, lines nginxLines) *nginx {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nginx") // which isn't on every user's path
	}
	if err != nil {
		t.Skip("needs nginx, Debian's package nginx-light")
	}
	n := &nginx{directory: t.TempDir(), address: freeAddress(t)}
	n.url = "http://" + n.address
	var temporary strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		_, _ = fmt.Fprintf(&temporary, "%s_temp_path %s;\n", kind, filepath.Join(n.directory, kind))
	}
	config := fmt.Sprintf(`daemon off;
master_process off;
worker_rlimit_nofile 4096;
pid %[1]s/pid;
error_log %[1]s/error.log;
events {
	worker_connections 2048;
}
http {
	%[2]s
	log_format asked '$request_method|$http_range|$status|$uri';
	access_log %[1]s/access.log asked;
	%[3]s
	server {
		listen %[4]s;
		client_max_body_size 0;
		%[5]s
		location / {
			proxy_pass %[6]s;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header Connection "";
			%[7]s
		}
	}
}
`, n.directory, temporary.String(), lines.http, n.address, lines.server, gitlab, lines.location)
	if err := os.WriteFile(n.configFile(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start(t, path)
	t.Cleanup(n.stop)
	return n
}

func (n *nginx) configFile() string { return filepath.Join(n.directory, "nginx.conf") }

// start runs nginx under a shell that ends it, by its process id, when this process lets go of the shell's input or ends.
func (n *nginx) start(t testing.TB, path string) {
	t.Helper()
	const untilInputEnds = `"$0" "$@" </dev/null & nginx=$!; read -r end; kill "$nginx"; wait "$nginx"`
	n.process = exec.Command("sh", "-c", untilInputEnds, path, "-e", filepath.Join(n.directory, "error.log"), "-c", n.configFile()) //nolint:gosec // the test's own config
	n.process.Stderr = os.Stderr
	stdin, err := n.process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.stdin = stdin
	if err := n.process.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		connection, err := net.Dial("tcp", n.address)
		if err != nil {
			return false
		}
		_ = connection.Close()
		return true
	})
}

// stop ends nginx at once, with its connections, and waits until it is gone.
func (n *nginx) stop() {
	_ = n.stdin.Close()
	_ = n.process.Wait() // says that it was killed
}

// restart starts it anew after stop, on the same address.
func (n *nginx) restart(t testing.TB) {
	t.Helper()
	n.start(t, n.process.Args[3])
}

// asked returns what nginx was asked for a file, one line for each request that has ended: method|range|status|path.
func (n *nginx) asked(t testing.TB, file string) (lines []string) {
	t.Helper()
	logged, err := os.ReadFile(filepath.Join(n.directory, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(logged)) {
		if line = strings.TrimSpace(line); strings.HasSuffix(line, "/"+file) {
			lines = append(lines, line)
		}
	}
	return lines
}
