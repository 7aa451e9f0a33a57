// Package command is `caddy gitlab-packages`, the edge's command line: a verb for each thing that admins do, and a demo.
//
// The verbs know the edge by its admin API alone (package adminapi), so that they work for a Caddy in another process, on another
// machine, or of another build. command.go registers the command with Caddy, calls the API and prints; show.go, activity.go, usage.go,
// refusals.go, entries.go, purge.go and unpin.go have the verbs that answer at once, work.go those that begin long work and show how far it is: verify and warm. What a verb prints
// is for people, and with --json the API's own answer. troubles.go says in words what status and its check have found. unknown.go
// refuses what isn't understood, completion.go completes what is begun by what the running edge knows, and version.go tells what
// this very program was built from.
//
// demo.go starts a stand-in for GitLab (package upstream/gitlabtest) and an edge in front of it in this very process, and shows
// what the edge does, in the steps of demo_steps.go. It runs the edge from a Caddyfile, and therefore needs a build that has the
// handler.
//
// Package caddymodule imports this package, so that each build with the handler has the command; this package must not import
// caddymodule. The tests here have a stand-in for the admin API and need no edge. What verbs do to a running edge is tested there:
// see admin_test.go, whose expectCLI runs a verb as people do.
package command
