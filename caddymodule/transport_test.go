package caddymodule

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestATransportToGitLabTrustsAPrivateCAAndOnlyThat(t *testing.T) {
	body := someBytes(100_000, 1)
	gitlab := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", "attachment")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	}))
	defer gitlab.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: gitlab.Certificate().Raw})
	if err := os.WriteFile(authority, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	e := startEdge(t, gitlab.URL, "transport http {\n tls_trust_pool file "+authority+"\n}")
	e.mustGet(t, "app.bin", developer, body)
	e.reload(t, "")
	if got := e.do(t, call{path: filePath("other.bin"), token: developer}); got.StatusCode != http.StatusBadGateway {
		t.Errorf("without the CA: %s", got.Status)
	}
}

func TestTransportsThatNeedARequestAreRefused(t *testing.T) {
	e := startEdge(t, "http://127.0.0.1:1", "")
	for option, complaint := range map[string]string{
		"transport http {\n proxy_protocol v2\n}":                         "transport: proxy_protocol",
		"storage_transport http {\n proxy_protocol v1\n}":                 "storage_transport: proxy_protocol",
		"transport http {\n tls\n tls_server_name {http.request.host}\n}": "tls_server_name must not depend on the request",
	} {
		err := caddy.Load(e.config(option), true)
		if err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%s: %v", option, err)
		}
	}
}

func TestAnEmptyPlaceholderIsAnErrorAndIsNotRepeated(t *testing.T) {
	e := startEdge(t, "http://127.0.0.1:1", "")
	err := caddy.Load(e.config("api_token {env.GITLAB_PACKAGES_TEST_UNSET}"), true)
	if err == nil || !strings.Contains(err.Error(), "placeholder") {
		t.Errorf("got %v", err)
	}
	t.Setenv("GITLAB_PACKAGES_TEST_DIRECTORY", filepath.Join(t.TempDir(), "by-placeholder"))
	e.reload(t, "cache {env.GITLAB_PACKAGES_TEST_DIRECTORY} {\n min_free 0\n}")
	if _, err := os.Stat(os.Getenv("GITLAB_PACKAGES_TEST_DIRECTORY")); err != nil {
		t.Error(err)
	}
}
