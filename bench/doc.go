//go:build linux

// Command bench compares the edge with nginx, Varnish and Caddy's own handlers. bench/run builds it and runs it;
// bench/README.md tells what it measures. GitLab is a stand-in in its own process.
package main
