package ceiling

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestTheRecordedHeadersAndBytesAreSent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answer")
	recorded := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nEtag: \"abc\"\r\nX-Checksum-Sha256: abc\r\nServer: Caddy\r\nConnection: close\r\n\r\nbytes"
	if err := os.WriteFile(path, []byte(recorded), 0o600); err != nil {
		t.Fatal(err)
	}
	h := new(Handler)
	if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(directive + " " + path)); err != nil {
		t.Fatal(err)
	}
	if err := h.Provision(caddy.Context{Context: context.Background()}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds what the first left
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/any", nil), nil); err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusOK || w.Body.String() != "bytes" {
			t.Errorf("%d %q", w.Code, w.Body)
		}
		want := map[string]string{"Content-Length": "5", "Etag": `"abc"`, "X-Checksum-Sha256": "abc", "Server": "", "Connection": ""}
		for name, value := range want {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%s is %q, not %q", name, got, value)
			}
		}
	}
}

func TestAnAnswerThatIsCutShortIsNotServed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answer")
	if err := os.WriteFile(path, []byte("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &Handler{File: path}
	if err := h.Provision(caddy.Context{Context: context.Background()}); err == nil {
		t.Error("no error")
	}
}

func TestOneFileIsNamed(t *testing.T) {
	for _, text := range []string{directive, directive + " one two"} {
		if err := new(Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}
