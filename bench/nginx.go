//go:build linux

package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// startNginx runs nginx as an admin would set it up for this: each credential is asked about by a HEAD to GitLab, whose
// answer is remembered for a minute for all files of a project, as the edge does it, and files are kept on disk.
func startNginx(ctx context.Context, b *bench, at place) (*process, error) {
	return startNginxAsking(ctx, b, at, "$project")
}

// nginxAskingEach asks about each file anew, so that a cold one costs it two requests.
var nginxAskingEach = peer{columnNginx, columnNginx, func(ctx context.Context, b *bench, at place) (*process, error) {
	return startNginxAsking(ctx, b, at, "$request_uri")
}}

// startNginxAsking runs nginx with questions about what a variable of its names.
func startNginxAsking(ctx context.Context, b *bench, at place, about string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	gitlab, err := url.Parse(b.gitlab.URL)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"files", "grants", "body", "proxy"} {
		if err := os.MkdirAll(filepath.Join(at.directory, name), 0o777); err != nil { //nolint:gosec // nginx's workers have a user of their own
			return nil, err
		}
	}
	listen := address + " backlog=4096;"
	if at.protocol.tls {
		listen = address + ` ssl http2 backlog=4096;
		ssl_certificate ` + b.certificate.file + `;
		ssl_certificate_key ` + b.certificate.key + `;
		ssl_protocols TLSv1.3;
		# What Go's server takes of any client: else nginx would let wrk have AES-256.
		ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;`
	}
	return b.startConfigured(ctx, at, "nginx.conf", fmt.Sprintf(`daemon off;
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
	map $request_uri $project {
		~^/api/v4/projects/([^/]+)/ $1;
	}
	upstream gitlab {
		server %[2]s;
		keepalive 64;
	}
	server {
		listen %[3]s
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
			proxy_cache_key "$http_private_token %[4]s";
			proxy_cache_convert_head off;
			proxy_cache_valid 200 1m;
			proxy_pass http://gitlab$request_uri;
		}
	}
}
`, at.directory, gitlab.Host, listen, about), address, "nginx", "-c")
}
