//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// startEdge runs the edge with its defaults, a minute for grants and for files among them.
func startEdge(ctx context.Context, b *bench, at place) (*process, error) {
	return startEdgeWith(ctx, b, at, "")
}

func startEdgeWith(ctx context.Context, b *bench, at place, option string) (*process, error) {
	return startCaddyfile(ctx, b, at, b.caddy, `gitlab_packages `+b.gitlab.URL+` {
		cache `+filepath.Join(at.directory, "cache")+` {
			max_size 20GiB
			min_free 0
			`+option+`
		}
	}`)
}

// respond is Caddy's handler of that name, with a body of that size for whatever is asked.
func respond(size int64) peer {
	return peer{"`respond`", columnCaddy, func(ctx context.Context, b *bench, at place) (*process, error) {
		return startCaddyfile(ctx, b, at, b.caddy, fmt.Sprintf(`respond "%0*d"`, size, 1))
	}}
}

// fileServer is Caddy's handler of that name, with a file of that size.
func fileServer(file string, size int64) peer {
	return peer{"`file_server`", columnCaddy, func(ctx context.Context, b *bench, at place) (*process, error) {
		root := filepath.Join(at.directory, "www")
		path := filepath.Join(root, filepath.FromSlash(filePath(file)))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		made, err := os.Create(path) //nolint:gosec // below our own directory
		if err != nil {
			return nil, err
		}
		if err := made.Truncate(size); err != nil {
			return nil, err
		}
		if err := made.Close(); err != nil {
			return nil, err
		}
		return startCaddyfile(ctx, b, at, b.caddy, "root "+root+"\n\tfile_server")
	}}
}

func startReverseProxy(ctx context.Context, b *bench, at place) (*process, error) {
	return startCaddyfile(ctx, b, at, b.caddy, "reverse_proxy "+b.gitlab.URL)
}

// startCaddyfile runs a Caddy with one site, and with an admin endpoint only where a profile is to be taken.
func startCaddyfile(ctx context.Context, b *bench, at place, caddy, site string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	admin := "off"
	if b.profiles != "" {
		if admin, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if at.protocol.tls {
		site = "tls " + b.certificate.file + " " + b.certificate.key + "\n\t" + site
	}
	server, err := b.startConfigured(ctx, at, "Caddyfile", fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https off
	storage file_system %s
	log default {
		level ERROR
	}
}
%s://%s {
	%s
}
`, admin, filepath.Join(at.directory, "storage"), at.protocol.scheme(), address, site), address, caddy, "run", "--adapter", "caddyfile", "--config")
	if err != nil {
		return nil, err
	}
	server.admin = admin
	return server, nil
}
