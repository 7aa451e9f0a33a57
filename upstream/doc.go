// Package upstream is everything that speaks GitLab: what its URLs name (ref.go, route.go, project.go), which names are
// legal (rules.go), who asks (credential.go, fingerprint.go), how GitLab names a file's content (identity.go), whom it
// allowed what (grants.go), and the client that asks (client.go, answer.go), fetches (fetch.go, redirect.go, body.go),
// forwards (forward.go), finds the names of projects (aliases.go), and stops asking who is down (breaker.go).
//
// It knows neither Caddy nor the store, and turns nothing into an answer to a caller.
package upstream
