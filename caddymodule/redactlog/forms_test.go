package redactlog

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// hiddenFields are written out here, so that a name that is lost in the code is missed.
var hiddenFields = []string{
	"Authorization", "Private-Token", "Job-Token", "Deploy-Token", "Cookie", "Sudo", "DPoP", "Set-Cookie", "Proxy-Authorization",
	"X-Gitlab-Static-Object-Token", "X-NuGet-ApiKey", "X-Gitlab-Token", "X-Gitlab-Feed-Token", "X-CSRF-Token", "Gitlab-Workhorse-Api-Request", "X-Private-Token",
	"X-Amz-Security-Token", "X-Forwarded-Authorization", "X-Original-Authorization", "X-Job-Token", "Runner-Token", "X-Gitlab-Oidc-Token", "X-Xsrf-Token",
	"Gitlab-Shell-Api-Request", "Gitlab-Kas-Api-Request", "Gitlab-Pages-Api-Request", "Gitlab-Shared-Secret", "X-Api-Key", "X-Auth-Token", "X-Access-Token", "X-Vault-Token",
	"X-Forwarded-Access-Token", "X-Auth-Request-Access-Token", "Cf-Access-Token", "Cf-Access-Client-Secret", "Cf-Access-Jwt-Assertion", "X-Amzn-Oidc-Accesstoken", "X-Amzn-Oidc-Data", "X-Goog-Iap-Jwt-Assertion",
	"private_token", "access_token", "bearer_token", "job_token", "token", "sudo", "feed_token", "rss_token", "deploy_token", "runner_token",
	"personal_access_token", "refresh_token", "id_token", "oauth_token", "authenticity_token", "client_secret", "code", "password", "api_key", "api_token",
	"registration_token", "agent_token", "trigger_token", "static_object_token", "incoming_email_token", "impersonation_token", "webhook_token", "secret_token", "auth_token", "session_token",
	"csrf_token", "confirmation_token", "invitation_token", "unlock_token", "reset_password_token", "remember_user_token", "ci_job_token", "ci_registry_password", "ci_deploy_password",
	"gitlab_token", "gitlab_edge_token", "client_assertion", "secret", "secret_key", "secret_access_key", "code_verifier", "device_code", "otp_attempt", "passwd", "new_password",
	"current_password", "password_confirmation",
}

func TestAFieldIsHiddenByItsName(t *testing.T) {
	const secret = "plain words"
	for _, name := range hiddenFields {
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "_", "-")} {
			logger, written := redactedLog(t, `{}`)
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			request.Header[spelled] = []string{secret, secret}
			logger.Info("", zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: request, ShouldLogCredentials: true}))
			logger.Info("", zap.Any("headers", request.Header), zap.Any("query", url.Values{spelled: {secret}}))
			logger.Info("", zap.String(spelled, secret), zap.ByteString(spelled, []byte(secret)), zap.Any("map", map[string]any{spelled: map[string]string{"a": secret}}))
			if strings.Contains(written.String(), secret) || strings.Count(written.String(), `"`+spelled+`"`) != 6 {
				t.Errorf("%s: %s", spelled, written)
			}
		}
	}
}

// TestTheFieldsOfCaddyStayReadable has the names that Caddy, its ACME client and this module give to fields.
func TestTheFieldsOfCaddyStayReadable(t *testing.T) {
	for _, name := range []string{
		"request", "remote_ip", "remote_port", "client_ip", "proto", "method", "host", "uri", "headers", "tls", "resumed", "version", "cipher_suite", "server_name", "ech", "client_common_name",
		"client_serial", "bytes_read", "user_id", "duration", "size", "status", "resp_headers", "err_id", "err_trace", "error", "msg", "upstream", "total_upstreams", "transfer_encoding",
		"challenge", "challenge_type", "authz", "authz_status", "authz_url", "identifier", "identifiers", "problem", "ca", "account", "account_id", "account_contact", "contact", "issuer", "issuer_key", "cert_key",
		"cert_hash", "key", "key_id", "lock_key", "storage_key", "asset_key", "site_key", "db_key", "policy", "signal", "exit_code", "status_code", "traceID", "spanID", "uuid", "location", "link", "sha256",
		"outcome", "project", "package", "file", "bytes_upstream", "first_byte", "upstream_wait", "directory", "subject", "sans", "serial", "stack", "response_headers", "Etag", "Accept", "User-Agent",
		"Cache-Status", "Content-Type", "If-None-Match", "Traceparent", "Referer", "X-Forwarded-For", "X-Request-Id", "Www-Authenticate",
	} {
		logger, written := redactedLog(t, `{}`)
		logger.Info("", zap.String(name, "kept text"), zap.Int(name, 42), zap.Strings(name, []string{"kept list"}), zap.Any(name, map[string]any{name: "kept value"}))
		for _, kept := range []string{"kept text", "42", "kept list", "kept value"} {
			if !strings.Contains(written.String(), kept) {
				t.Errorf("%s: %s", name, written)
			}
		}
	}
	logger, written := redactedLog(t, `{}`)
	logger.Info("", zap.Int("code", 404), zap.Any("answer", map[string]any{"code": 503}), zap.Reflect("code", 502))
	if got := written.String(); !strings.Contains(got, `"code":404`) || !strings.Contains(got, `{"code":503}`) || !strings.Contains(got, `"code":502`) {
		t.Errorf("a status under the name code: %s", got)
	}
}

// stringer is a value that zap and package fmt print by its method.
type stringer string

func (s stringer) String() string { return string(s) }

func TestATokenIsHiddenInEachPartOfAnEntry(t *testing.T) {
	const secret = "Abc_efghij-lmnopqr12"
	for _, token := range []string{
		"glpat-" + secret, "GLPAT-" + secret, "gldt-" + secret, "glcbt-" + secret, "glrt-" + secret, "glrtr-" + secret, "glft-" + secret, "gloas-" + secret,
		"glptt-" + secret, "glagent-" + secret, "glimt-" + secret, "glsoat-" + secret, "glffct-" + secret, "_gitlab_session=" + secret, "glpat%2D" + secret, "glpat-aaaaaa.01." + secret,
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + secret, "http://user:" + secret + "@host/", "HTTP://" + secret + "@host", "oauth2:" + secret + "@host", "http:%2F%2Fuser:" + secret + "%40host/",
		`{"private_token":"` + secret + `"}`, `{"a":"{\"private_token\":\"` + secret + `\"}"}`, "PRIVATE-TOKEN: " + secret, "Authorization: Bearer " + secret, "Authorization: Basic " + secret,
		"a\r\nJob-Token: " + secret + "\r\nb", "Set-Cookie: a=b; c=" + secret + "; Secure",
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		request.Method, request.Host, request.RequestURI = token, token, "/"+token+"/f"
		request.Header = http.Header{"User-Agent": {"curl " + token}, "If-None-Match": {token}, "Traceparent": {"00-" + token + "-01"}, "Referer": {"https://h/" + token}, "X-Other": {"a", token}, token: {"b"}}
		for _, config := range []string{`{}`, `{"wrap":{"format":"console"}}`} {
			logger, written := redactedLog(t, config)
			logger.Named(token).With(zap.String(token, token), zap.Namespace("in "+token)).Info("asked "+token+".",
				zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: request, ShouldLogCredentials: true}),
				zap.Any("headers", request.Header), zap.Any("struct", struct{ A, B any }{token, []string{token}}), zap.Any(token, map[string]any{token: token}),
				zap.ByteString(token, []byte(token)), zap.Any("bytes", []byte(token)), zap.Stringer(token, stringer(token)), zap.Error(fmt.Errorf("asking: %w", errors.New(token))),
				zap.Errors(token, []error{errors.New(token)}), zap.Strings(token, []string{token}), zap.Int(token, 1), zap.Bool(token, true), zap.Duration(token, time.Second),
				zap.Dict(token, zap.String(token, token)), zap.Reflect(token, 1), zap.Any("pointer", &token), zap.Stringers("stringers", []stringer{stringer(token)}), zap.Stack("stack"),
				zap.Reflect("fails", failing(token)),
			)
			if strings.Contains(strings.ToLower(written.String()), strings.ToLower(secret)) || written.Len() < 200 {
				t.Errorf("%s with %s: %s", token, config, written)
			}
		}
		line, err := redactedEncoder(t, `{}`).EncodeEntry(zapcore.Entry{Stack: "panic: " + token + "\nmain.go:1"}, nil)
		if err != nil || strings.Contains(line.String(), secret) {
			t.Errorf("%s in the stack: %s, %v", token, line, err)
		}
	}
}

// failing is a value that JSON can't show, and whose error tells why.
type failing string

// MarshalJSON fails.
func (f failing) MarshalJSON() ([]byte, error) { return nil, errors.New(string(f)) }
