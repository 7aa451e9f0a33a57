// Package redactlog is the log encoder caddy.logging.encoders.gitlab_redacted, which keeps credentials out of Caddy's logs.
//
// encoder.go is the module: its settings, as JSON and in the Caddyfile, the encoder that it wraps, and an entry as a whole.
// fields.go is what happens to each field on its way to the wrapped encoder. Which names and texts are secrets is said by
// upstream.Redactor; nothing here knows GitLab.
//
// The encoder imports nothing of the handler gitlab_packages and works for any log. Package caddymodule imports this package,
// so that each build with the handler has the encoder. That no log of a running edge shows a credential is tested there, in
// redacted_logs_test.go and secrets_test.go.
package redactlog
