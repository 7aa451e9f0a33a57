package redactlog

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// BenchmarkAnEntryOfTheAccessLog encodes what Caddy logs of a runner's download: with Caddy's own encoder, and redacted.
func BenchmarkAnEntryOfTheAccessLog(b *testing.B) {
	request := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/api/v4/projects/group%2Fapp/packages/generic/app/1.0.0/app-linux-amd64.tar.gz?select=package_file", nil)
	for name, value := range map[string]string{
		"User-Agent": "curl/8.5.0", "Accept": "*/*", "Accept-Encoding": "gzip, deflate", "If-None-Match": `"5d41402abc4b2a76b9719d911017c592"`,
		"Private-Token": "glpat-Abcdefghijklmnopqr12", "Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	} {
		request.Header.Set(name, value)
	}
	answer := http.Header{
		"Content-Type": {"application/octet-stream"}, "Etag": {`"5d41402abc4b2a76b9719d911017c592"`}, "Last-Modified": {"Mon, 02 Jan 2006 15:04:05 GMT"},
		"Cache-Status": {"GitLab; hit; ttl=60; detail=grant"}, "Content-Disposition": {`attachment; filename="app-linux-amd64.tar.gz"`},
	}
	fields := []zap.Field{
		zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: request}), zap.Int("bytes_read", 0), zap.String("user_id", ""),
		zap.Duration("duration", time.Millisecond), zap.Int("size", 1<<20), zap.Int("status", http.StatusOK),
		zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: answer}),
	}
	redacted := redactedEncoder(b, `{}`)
	for name, encoder := range map[string]zapcore.Encoder{"plain": redacted.wrapped, "redacted": redacted} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				line, err := encoder.EncodeEntry(zapcore.Entry{LoggerName: "http.log.access", Message: "handled request"}, fields)
				if err != nil {
					b.Fatal(err)
				}
				line.Free()
			}
		})
	}
}
