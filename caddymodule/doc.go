// Package caddymodule is the edge's Caddy face: the handler http.handlers.gitlab_packages with its directive
// gitlab_packages, the app gitlab_packages, and the admin API admin.api.gitlab_packages. Each build with the handler also has
// the log encoder gitlab_redacted (package redactlog) and the command `caddy gitlab-packages` (package command), which know
// nothing of it; leaves.go imports them.
//
// # The way of one GET
//
// ServeHTTP (serve.go) reads from the path which file is meant (exchange.go, package upstream); the key under which the
// store has it is made in file_target.go. A path that names no file goes to GitLab as it is (other_requests.go), or is the
// next handler's; a target that is no path is refused (plain_target.go). A project that is off (switches.go) and a name that the rules refuse (publish.go) end here
// (errors.go), before a body is waited for and before GitLab hears of them. Then the body of a request that is no upload is
// read (small_body.go). Where GitLab never said which project a name belongs to (names.go, aliases.go), it is asked after
// its yes to the caller and before a byte (admission.go).
//
// A download then goes through attempt (serve.go) until it is answered:
//
//   - The caller has a fresh grant and the entry is fresh: the blob is sent (respond.go, content.go; memory_body.go, and piece.go
//     where bytes have to be copied). GitLab isn't asked.
//   - There is an entry, or a fetch is under way, and anything is stale: one question with the caller's own credential, a GET
//     of the first byte (check.go), which serves all callers who are alike (ask.go). Yes, and the same content: the grant and
//     the entry are renewed. No: GitLab's answer is relayed (respond.go). No answer: errors.go, or what is stored for those
//     whom GitLab allowed within offline_grace.
//   - There is neither, or the content is another one: the caller leads a flight (lead.go, flight.go), one GET of the
//     file (fetch.go, beginning.go) whose answer is also that to the question about the caller, and whose body goes into the
//     store. Everybody who wants the file follows it (follow.go), each with GitLab's yes to themselves. A caller with many
//     fetches waits their turn (turns.go). A condition
//     that can't be judged yet is none (conditions.go). A file whose fetches fail rests (rest.go); what arrived of one whose
//     body broke off is where the next fetch goes on (beginning.go). What doesn't fit in the end is remembered for a while
//     (outgrown.go).
//   - A HEAD of a file that isn't here is answered by a question that follows GitLab to its storage (check.go).
//
// What GitLab's yes to a caller is good for is in grant.go. When the disk fails under a download, stored or on its way in, it
// goes on from GitLab at its own place (disk_body.go). The words of a stored file's head are made once (file_head.go). A body that isn't stored keeps its end back until its sum is right
// (verified_body.go). Where GitLab redirects, and so names no SHA-256, that of an upload counts (published_sums.go). An
// answer that breaks off ends with a reset (hang_up.go, which finds the connection by caller_connection.go). By HTTP/1 head and bytes
// leave in as few packets as they fill (cork.go; cork_linux.go, cork_other.go), and by HTTP/2 and 3 requests are answered on goroutines
// that are kept (workers.go).
//
// With a shared store (shared_store.go, package bucket) there are three ways to bytes that GitLab has named: GitLab, the bucket, and
// GitLab again where the bucket's break off.
//
//	flight.ask     GitLab's head names the content ──┐
//	flight.decide  its bytes are here: linked        │
//	               else a fill begins, and           ▼
//	               openShared ── in the bucket? ── yes: TakeFrom (upstream), and GitLab's body is closed
//	flight.pump    reads the Download: the object, and from where that breaks off on GitLab (upstream.Download.resume)
//
// Callers are sent bytes of the shared store before they are compared, and join nothing to those that never were (uncompared.go).
// shared_read.go has this side, and shared_write.go the other one: what the bucket is owed is written there from the disk, later.
//
// A large file over a long line comes by several connections (assembly.go). All that brings bytes answers to "from byte N of this
// content": the body, which is resumed there, and the parts (partSource), of which each is resumed like the body:
//
//	                                   ┌── upstream.Download ──── GitLab, or its storage by a signed URL
//	flight.move ── assembly.run ─ body ┤
//	                  │                └── bucket.Object ──────── the shared store; after trouble GitLab, from byte N
//	                  │                ┌── downloadParts ──────── upstream.Download.Part: byte N to M of the same content there
//	                  └── parts, ahead ┤
//	                      (cache.Ahead)└── sharedParts ────────── bucket.OpenPart: byte N to M of the same object
//
// What each server can take, and whether more connections to it help, is in part_server.go, how a part may end in part_result.go; the settings' defaults in handler.go, the
// bucket's side in shared_parts.go, the metrics in part_metrics.go.
//
// Each answer says what happened: its outcome (outcome.go), Cache-Status (cache_status.go), the metrics (metrics.go,
// shared_metrics.go, collector.go). A PUT is publish.go. The body of any request is read no longer than its exchange lasts (body.go).
//
// # What a request changes for others
//
// docs/who-may-change-what.md has the table. What GitLab says to one caller is taken in by hear (hear.go), what becomes of a
// publish by change (change.go). For seconds after a publish GitLab's replicas may lag (former.go). Those from whom GitLab
// took an upload lately, and answers that are waited for after their callers left, are counted in publishers.go. What is
// found out about a GitLab holds for one way of reaching it (access.go).
//
// # The admin's side
//
// The admin API (admin.go) looks up the app in force and answers from the admin_*.go beside it, one for each kind of call;
// its requests and answers are in package adminapi, and the verbs that call it in package command. A page of the same process makes
// the same calls without HTTP (admin_inside.go). What is going on is told by what flights and uploads (uploads.go) have counted
// (admin_activity.go). What was refused is remembered (refusals.go) in words of the edge's own (refusal_words.go). Names that callers have
// given are shown only of projects that GitLab has said yes to (known_projects.go). Whose files take the room is added up (usage.go) in a
// walk that those who ask share (usage_walk.go). The edge's own history (package history) is kept by keep_history.go, which reads the
// metrics once a minute (history_totals.go) and decides in which cache directory it lies; admin_history.go tells it. trouble.go tells what
// went wrong and failures.go remembers it; verify.go and warm.go do the long work:
// a warming fetches as a caller does (warm_file.go), and waits as long as GitLab asks (warm_wait.go); whoever asks for the same
// joins it (warm_joined.go). Switches at run time are in switch_store.go, which reads them by switch_reading.go and keeps copies of
// them for when they are damaged (switch_copies.go); what decides is in switches.go. Events for Caddy's events app are in events.go. logger.go keeps logs
// from filling up, and lru.go makes the memories of a fixed size.
//
// # What lives how long
//
// Settings come from the Caddyfile (caddyfile.go, caddyfile_check.go, cache_settings.go, size.go, literal_secret.go) or as JSON,
// whose fields are Handler's (handler.go, settings.go); placeholders.go and timeouts.go check what both can say. A Handler lives as long as its config. The App (app.go) marks when a config comes into force. What
// outlives a reload has one owner (process.go), which also holds the clock and the pauses that tests change. What several
// configs use of one directory, one after another, is in state (state.go): the store, which is opened anew when its directory
// is lost (state_store.go) and tells since when it is as it is (store_times.go), its regular verification (verify.go), its share of memory (memory_share.go), what the shared store is owed (shared_write.go), the grants, the flights, and the breakers that keep a dead
// GitLab from being asked. Transports (transport.go) live until their last fetch has ended. At its start a config is told of
// hosts that none of its sites answers (other_hosts.go), and of what it stands in front of: each GitLab is asked once whether
// it is there (start_answers.go).
package caddymodule
