// Package ceiling is a handler for Caddy that writes one recorded answer from memory and does nothing else: the least that a
// module of Caddy's can cost. bench builds it into a Caddy of its own; no edge has it.
package ceiling

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// directive is the handler's name in a Caddyfile: recorded_answer * FILE. Without the star Caddy takes an absolute path for a matcher.
const directive = "recorded_answer"

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective(directive, parse)
	httpcaddyfile.RegisterDirectiveOrder(directive, httpcaddyfile.Before, "respond")
}

// Handler answers every request with the same headers and the same bytes.
type Handler struct {
	// File is the path of the answer, as HTTP/1.1 has it. It is read into memory once.
	File string `json:"file"`

	status int
	header http.Header
	body   []byte
}

// CaddyModule implements caddy.Module.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers." + directive, New: func() caddy.Module { return new(Handler) }}
}

// Provision implements caddy.Provisioner. It reads the answer.
func (h *Handler) Provision(caddy.Context) error {
	file, err := os.Open(h.File)
	if err != nil {
		return fmt.Errorf("opening the recorded answer: %w", err)
	}
	defer file.Close()
	answer, err := http.ReadResponse(bufio.NewReader(file), nil)
	if err != nil {
		return fmt.Errorf("reading the recorded answer: %w", err)
	}
	defer answer.Body.Close()
	if h.body, err = io.ReadAll(answer.Body); err != nil {
		return fmt.Errorf("reading the recorded answer: %w", err)
	}
	h.status, h.header = answer.StatusCode, answer.Header
	// Those that Caddy and net/http write themselves.
	for _, name := range []string{"Alt-Svc", "Connection", "Date", "Server"} {
		h.header.Del(name)
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It never calls the next handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
	maps.Copy(w.Header(), h.header)
	w.WriteHeader(h.status)
	_, _ = w.Write(h.body) // a caller who left doesn't read it
	return nil
}

func parse(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&h.File) {
		return d.ArgErr()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
