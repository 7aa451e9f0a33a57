//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// peer is one of the servers that are compared.
type peer struct {
	name string
	// start runs it with an empty cache in directory, or with what an earlier run left there.
	start func(ctx context.Context, b *bench, directory string) (*process, error)
}

// id is the name as a file's name can have it.
func (p peer) id() string {
	return strings.ToLower(strings.NewReplacer(" ", "", "'", "").Replace(p.name))
}

const edgeName = "the edge"

// edgeFromDisk is the edge without its memory tier.
var edgeFromDisk = peer{edgeName, func(ctx context.Context, b *bench, directory string) (*process, error) {
	return startEdgeWith(ctx, b, directory, "memory 0")
}}

var (
	theEdge    = peer{edgeName, startEdge}
	theNginx   = peer{"nginx", startNginx}
	theVarnish = peer{"Varnish", startVarnish}
	plainCaddy = peer{"Caddy's own", startCaddy}
)

// startEdge runs the edge with its defaults, a minute for grants and for files among them.
func startEdge(ctx context.Context, b *bench, directory string) (*process, error) {
	return startEdgeWith(ctx, b, directory, "")
}

func startEdgeWith(ctx context.Context, b *bench, directory, option string) (*process, error) {
	return startCaddyfile(ctx, b, directory, `gitlab_packages `+b.gitlab.URL+` {
		cache `+filepath.Join(directory, "cache")+` {
			max_size 20GiB
			min_free 0
			`+option+`
		}
	}`)
}

// startCaddy runs Caddy's own handlers: respond at /4k, file_server at /files/, and reverse_proxy for all else.
func startCaddy(ctx context.Context, b *bench, directory string) (*process, error) {
	files := filepath.Join(directory, "www", "files")
	if err := os.MkdirAll(files, 0o700); err != nil {
		return nil, err
	}
	for name, size := range map[string]int64{"1m": 1 << 20, "256m": 256 << 20} {
		file, err := os.Create(filepath.Join(files, name)) //nolint:gosec // below our own directory
		if err != nil {
			return nil, err
		}
		if err := file.Truncate(size); err != nil {
			return nil, err
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
	return startCaddyfile(ctx, b, directory, fmt.Sprintf(`handle /4k {
		respond "%0*d"
	}
	handle /files/* {
		root %s
		file_server
	}
	handle {
		reverse_proxy %s
	}`, 4<<10, 1, filepath.Join(directory, "www"), b.gitlab.URL))
}

func startCaddyfile(ctx context.Context, b *bench, directory, site string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return b.startConfigured(ctx, directory, "Caddyfile", fmt.Sprintf(`{
	admin off
	persist_config off
	storage file_system %s
	log default {
		level ERROR
	}
}
http://%s {
	%s
}
`, filepath.Join(directory, "storage"), address, site), address, b.caddy, "run", "--adapter", "caddyfile", "--config")
}

// startNginx runs nginx as an admin would set it up for this: each credential is asked about by a HEAD to GitLab, whose
// answer is remembered for a minute, and files are kept on disk.
func startNginx(ctx context.Context, b *bench, directory string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	gitlab, err := url.Parse(b.gitlab.URL)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"files", "grants", "body", "proxy"} {
		if err := os.MkdirAll(filepath.Join(directory, name), 0o777); err != nil { //nolint:gosec // nginx's workers have a user of their own
			return nil, err
		}
	}
	return b.startConfigured(ctx, directory, "nginx.conf", fmt.Sprintf(`daemon off;
user root;
worker_processes 2;
worker_rlimit_nofile 65536;
pid %[1]s/nginx.pid;
error_log stderr crit;
events {
	worker_connections 8192;
}
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 100000000;
	client_max_body_size 0;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	proxy_cache_path %[1]s/files levels=1:2 keys_zone=files:64m max_size=20g inactive=1d use_temp_path=off;
	proxy_cache_path %[1]s/grants levels=1:2 keys_zone=grants:64m max_size=1g inactive=1h use_temp_path=off;
	proxy_http_version 1.1;
	proxy_set_header Connection "";
	proxy_ignore_headers Cache-Control Expires Set-Cookie Vary X-Accel-Expires;
	proxy_cache_lock on;
	proxy_cache_lock_timeout 10m;
	proxy_cache_lock_age 10m;
	upstream gitlab {
		server %[2]s;
		keepalive 64;
	}
	server {
		listen %[3]s backlog=4096;
		location / {
			auth_request /check;
			proxy_cache files;
			proxy_cache_key $uri;
			proxy_cache_valid 200 1d;
			proxy_pass http://gitlab;
		}
		location = /check {
			internal;
			proxy_method HEAD;
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
			proxy_set_header Range "";
			proxy_cache grants;
			proxy_cache_key "$http_private_token $request_uri";
			proxy_cache_convert_head off;
			proxy_cache_valid 200 1m;
			proxy_pass http://gitlab$request_uri;
		}
	}
}
`, directory, gitlab.Host, address), address, "nginx", "-c")
}

// startVarnish runs Varnish with its store in memory. A request is first a question about its credential, whose answer
// is remembered for a minute, and then, begun again, a look for the file.
func startVarnish(ctx context.Context, b *bench, directory string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	gitlab, err := url.Parse(b.gitlab.URL)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(gitlab.Host)
	if err != nil {
		return nil, err
	}
	return b.startConfigured(ctx, directory, "default.vcl", fmt.Sprintf(`vcl 4.1;
backend gitlab {
	.host = "%s";
	.port = "%s";
	.max_connections = 1000;
}
sub vcl_recv {
	if (req.restarts == 0) {
		set req.http.X-Step = "check";
		if (req.http.Range) {
			set req.http.X-Range = req.http.Range;
			unset req.http.Range;
		}
	} else {
		set req.http.X-Step = "file";
		if (req.http.X-Range) {
			set req.http.Range = req.http.X-Range;
		}
	}
	return (hash);
}
sub vcl_hash {
	hash_data(req.url);
	hash_data(req.http.X-Step);
	if (req.http.X-Step == "check") {
		hash_data(req.http.Private-Token);
	}
	return (lookup);
}
sub vcl_backend_fetch {
	if (bereq.http.X-Step == "check") {
		set bereq.method = "HEAD";
	}
}
sub vcl_backend_response {
	unset beresp.http.Set-Cookie;
	unset beresp.http.Vary;
	if (beresp.status != 200) {
		set beresp.uncacheable = true;
		set beresp.ttl = 0s;
	} else if (bereq.http.X-Step == "check") {
		set beresp.ttl = 60s;
		set beresp.grace = 0s;
	} else {
		set beresp.ttl = 1d;
		set beresp.do_stream = true;
	}
	return (deliver);
}
sub vcl_deliver {
	if (req.http.X-Step == "check" && resp.status == 200) {
		return (restart);
	}
}
`, host, port), address, "varnishd", "-j", "none", "-F", "-n", filepath.Join(directory, "run"), "-a", address, "-s", "malloc,6g", "-s", "Transient=malloc,1g",
		"-p", "thread_pool_min=50", "-t", "86400", "-f")
}

// startConfigured writes a config and runs a server with it; its path is the command's last argument.
func (b *bench) startConfigured(ctx context.Context, directory, name, config, address, command string, arguments ...string) (*process, error) {
	path := filepath.Join(directory, name)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return startProcess(ctx, address, command, append(arguments, path)...)
}
