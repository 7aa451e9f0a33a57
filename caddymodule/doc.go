// Package caddymodule is the edge's Caddy face: the handler http.handlers.gitlab_packages with its directive
// gitlab_packages, the app gitlab_packages, the admin API admin.api.gitlab_packages, the log encoder gitlab_redacted, and
// the command `caddy gitlab-packages`.
//
// # The way of one GET
//
// ServeHTTP (serve.go) reads from the path which file is meant (exchange.go, package upstream). A path that names none
// is the next handler's. A project that is off (switches.go) and a name that the rules refuse end here (errors.go),
// before GitLab hears of them.
//
// A download then goes through attempt (serve.go) until it is answered:
//
//   - The caller has a fresh grant and the entry is fresh: the blob is sent (respond.go, content.go). GitLab isn't asked.
//   - There is an entry, or a fetch is under way, and anything is stale: one HEAD with the caller's own credential
//     (check.go). Yes, and the same content: the grant and the entry are renewed. No: the caller's request goes to
//     GitLab as it came and GitLab's answer is relayed (exchange.go). No answer: errors.go, or what is stored for those
//     whom GitLab allowed within offline_grace.
//   - The content is another one, or there is none: the caller leads a flight (flight.go), one GET whose body goes into
//     the store. Everybody who wants the file follows it (follow.go), each with GitLab's yes to themselves.
//
// When the disk fails under a download, stored or on its way in, it goes on from GitLab at its own place (disk_body.go).
//
// Each answer says what happened: its outcome (outcome.go), Cache-Status (cache_status.go), the metrics (metrics.go,
// collector.go). A PUT is publish.go. The body of any request is read no longer than its exchange lasts (body.go).
//
// # The admin's side
//
// The admin API (admin.go) looks up the app in force and answers from the admin_*.go beside it, one for each kind of call;
// failures.go remembers what went wrong, verify.go and warm.go do the long work. The verbs of the command line
// (command.go, command_show.go, command_work.go) call it; demo.go stands by itself. Switches at run time are in
// switch_store.go, and what decides is in switches.go. Events for Caddy's events app are in events.go. redact.go and
// redact_fields.go keep tokens out of logs; logger.go keeps logs from filling up.
//
// # What lives how long
//
// A Handler lives as long as its config. The App (app.go) marks when a config comes into force. What several configs
// use, one after another, is in state (state.go): the store, its regular verification (verify.go), the grants, the
// flights, the breakers that keep a dead GitLab from being asked. Transports (transport.go) live until their last fetch
// has ended.
package caddymodule
