// Package fakeedge is an edge for tests of the page: it answers the calls of the admin API with what a test gives it, and remembers
// what was asked. Who imports it has it as Caddy's app gitlab_packages, in place of the real one.
package fakeedge
