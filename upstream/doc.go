// Package upstream is everything that speaks GitLab.
//
//   - What its URLs name: escaped_path.go, usual_port.go, ref.go, route.go, project.go, base_path.go. Which names are legal: rules.go.
//   - Who asks: credential.go, carrier_kinds.go, fingerprint.go. What is hidden of it in texts: secret_names.go and the files
//     redact*.go. Which headers of a caller's never pass: untrusted.go.
//   - How GitLab names a file's content: identity.go, and location.go of its object storage. What that names of a
//     file's bytes: sums.go.
//   - Whom GitLab allowed what, and for how long: grants.go, grant_life.go. Grants are changed by evidence alone (evidence.go).
//     No address takes more than its share of them (fair_table.go), nor of the notes about refusals (refusal_notes.go).
//   - The client (client.go) asks about one caller and one file, by the file's first byte (answer.go, judge.go) or, where
//     ranges are ignored, by HEAD (head.go), fetches (fetch.go, redirect.go, body.go), also what is missing of a file
//     (remainder.go), in parts (parts.go, storage_link.go), waits as long as a server asks for (retry_after.go), takes bytes that it has named from elsewhere (elsewhere.go), lists the files of a package (packages.go), and forwards (forward.go): what became of the body is in
//     delivery.go, the share of connections that strangers may take in standing.go, the upload's 100-continue in
//     expectation.go, and what is never repeated in repeats.go. What isn't about packages is forwarded by forward_other.go. Of offers to switch protocols it takes that of
//     a WebSocket there, and no other (upgrade.go).
//   - Which connections are trusted: connections.go. What a silent one carries is tried a second time (second_try.go), by the
//     share of who it is sent for (requester.go).
//   - The names of projects: aliases.go, remembered in alias_memory.go, within the budget of alias_budget.go.
//   - What is in trouble: trouble.go says whose trouble it is, own_limits.go which is the edge's own. breaker.go stops asking a server that is down, breakers.go
//     has one for GitLab and one for each host of its storage, and probe.go is the only request that opens one.
//   - What people are told of a server, and nothing depends on: the last answer (heard.go), and that to the start's question
//     (start_answer.go).
//
// It knows neither Caddy nor the store, and turns nothing into an answer to a caller.
package upstream
