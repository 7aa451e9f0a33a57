//go:build linux

package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// peer is one of the servers that are compared.
type peer struct {
	name string
	// column is where the table shows it: several of Caddy's handlers share one.
	column string
	// start runs it with an empty cache, or with what an earlier run left at that place.
	start func(ctx context.Context, b *bench, at place) (*process, error)
}

// place is where a server keeps its files, and how callers speak to it.
type place struct {
	directory string
	protocol  protocol
}

// id is the name as a file's name can have it.
func (p peer) id() string {
	return strings.ToLower(strings.NewReplacer(" ", "-", "`", "").Replace(p.name))
}

// Columns of the table.
const (
	columnNginx   = "nginx"
	columnVarnish = "Varnish"
	columnCaddy   = "Caddy's own"
	columnModule  = "least module"
	columnEdge    = "the edge"
)

var (
	theNginx   = peer{columnNginx, columnNginx, startNginx}
	theVarnish = peer{columnVarnish, columnVarnish, startVarnish}
	theEdge    = peer{columnEdge, columnEdge, startEdge}
	// edgeFromDisk is the edge without its memory tier.
	edgeFromDisk = peer{columnEdge, columnEdge, func(ctx context.Context, b *bench, at place) (*process, error) {
		return startEdgeWith(ctx, b, at, "memory 0")
	}}
	reverseProxy = peer{"`reverse_proxy`", columnCaddy, startReverseProxy}
)

// isEdge reports whether a peer is the edge, with whatever settings.
func (p peer) isEdge() bool { return p.column == columnEdge }

// keepsFiles reports whether a peer fetches files from GitLab and keeps them.
func (p peer) keepsFiles() bool { return p.column != columnCaddy && p.column != columnModule }

// caches are the servers that fetch from GitLab, keep files, and ask who may have them. Varnish speaks no TLS.
func caches(p protocol) []peer {
	if p.tls {
		return []peer{theNginx, theEdge}
	}
	return []peer{theNginx, theVarnish, theEdge}
}

// with runs a server in a directory of its own, while use uses it.
func (b *bench) with(ctx context.Context, p peer, protocol protocol, use func(*process) error) error {
	directory, err := os.MkdirTemp(b.directory, "server-")
	if err != nil {
		return err
	}
	defer emptyFiles(directory)
	server, err := p.start(ctx, b, place{directory, protocol})
	if err != nil {
		return err
	}
	defer server.stop()
	return use(server)
}

// emptyFiles gives back what files hold of the disk, and lets the files themselves be until the program ends: for some seconds
// after others were removed ext4 looks through all of these before it makes a new one in their place (recently_deleted in the
// kernel's fs/ext4/ialloc.c), so that the next server's fills would take twice the time.
func emptyFiles(directory string) {
	_ = filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			_ = os.Truncate(path, 0) // else the room is given back with the directory
		}
		return nil
	})
}

// warm has a server fetch and keep a file, if it's one that does. Files enter the edge's memory at their second use.
func (p peer) warm(ctx context.Context, server *process, file string, size int64) error {
	if !p.keepsFiles() {
		return nil
	}
	for range 2 {
		if _, err := server.whole(ctx, call{file: file, token: token(1)}, size); err != nil {
			return err
		}
	}
	return nil
}

// startConfigured writes a config and runs a server with it; its path is the command's last argument.
func (b *bench) startConfigured(ctx context.Context, at place, name, config, address, command string, arguments ...string) (*process, error) {
	path := filepath.Join(at.directory, name)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	server, err := startProcess(ctx, address, command, append(arguments, path)...)
	if err != nil {
		return nil, err
	}
	server.directory, server.protocol, server.certificate = at.directory, at.protocol, b.certificate
	return server, nil
}
