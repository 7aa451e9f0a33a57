package caddymodule

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// transports are a handler's two ways out: to GitLab and to its object storage. Fills use them longer than the
// handler lives, so they are counted: the handler holds them once, each fetch once, and the last to let go closes
// their connections.
type transports struct {
	gitlab, storage http.RoundTripper
	// gitlabParts and storageParts carry parts of files there, each by a connection of its own; nil where that can't be.
	gitlabParts, storageParts http.RoundTripper
	// shared is a third, to the shared store; nil if there is none.
	shared http.RoundTripper
	// maxConnections is the setting max_conns_per_host of the transport to GitLab; 0 for no bound.
	maxConnections int

	holders atomic.Int64
	once    sync.Once
	close   context.CancelFunc
}

// defaultExpectContinue is how long a publish waits for GitLab's 100 Continue before its body is sent anyway. Caddy's
// transport doesn't wait by itself, and a refused publish would cost its whole body. What never answers 100 costs each
// publish as much.
const defaultExpectContinue = time.Second

// loadTransports loads both transports in a context of their own, since Caddy cleans up the modules of a handler's
// context when its config is replaced, and HTTP/3 connections would break under running fills.
func loadTransports(ctx caddy.Context, h *Handler) (*transports, error) {
	lasting := ctx
	lasting.Context = context.WithoutCancel(ctx.Context)
	lasting, end := caddy.NewContext(lasting)
	t := &transports{close: end}
	t.holders.Store(1)

	gitlab, err := loadTransport(lasting, "transport", h.TransportRaw)
	if err == nil {
		t.maxConnections = gitlab.MaxConnsPerHost
		t.gitlab, t.gitlabParts, err = t.connectBoth(gitlab)
	}
	var storage *reverseproxy.HTTPTransport
	if err == nil {
		storage, err = loadTransport(lasting, "storage_transport", h.StorageTransportRaw)
	}
	if err == nil {
		t.storage, t.storageParts, err = t.connectBoth(storage)
	}
	if err == nil && h.Cache != nil && h.Cache.SharedStore != nil {
		t.shared, err = loadSharedTransport(lasting, h.Cache.SharedStore)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// loadSharedTransport loads the transport to the shared store. It is no upstream.Connections: where a connection is dead the bucket
// is given up soon, and nobody waits for a second try.
func loadSharedTransport(ctx caddy.Context, shared *SharedStore) (http.RoundTripper, error) {
	transport, err := loadTransport(ctx, "shared_store transport", shared.TransportRaw)
	if err != nil {
		return nil, err
	}
	transport.Transport.DisableCompression = true // lengths are compared
	speakHTTP1(transport.Transport)               // or all objects would share one connection
	return isolatedTransport{next: transport}, nil
}

// isEmptyObject reports whether a part of the config says nothing: missing, null, or an object without fields.
func isEmptyObject(config json.RawMessage) bool {
	var fields map[string]json.RawMessage
	return len(config) == 0 || (json.Unmarshal(config, &fields) == nil && len(fields) == 0)
}

// loadTransport loads one transport; an empty config is Caddy's http transport as it comes.
func loadTransport(ctx caddy.Context, setting string, config json.RawMessage) (*reverseproxy.HTTPTransport, error) {
	if isEmptyObject(config) {
		config = caddyconfig.JSONModuleObject(struct{}{}, "protocol", "http", nil)
	}
	holder := struct {
		Raw json.RawMessage `caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`
	}{config}
	module, err := ctx.LoadModule(&holder, "Raw")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	transport, ok := module.(*reverseproxy.HTTPTransport)
	if !ok {
		return nil, fmt.Errorf("%s must be http, not %T", setting, module)
	}
	if transport.ProxyProtocol != "" {
		return nil, fmt.Errorf("%s: proxy_protocol needs a request to speak of, and files are fetched without one", setting)
	}
	if transport.TLS != nil && strings.Contains(transport.TLS.ServerName, "{http.") {
		return nil, fmt.Errorf("%s: tls_server_name must not depend on the request, since files are fetched without one", setting)
	}
	if transport.Transport == nil {
		return nil, errors.New("loading " + setting + ": no transport came of it")
	}
	if transport.Transport.ExpectContinueTimeout == 0 {
		transport.Transport.ExpectContinueTimeout = defaultExpectContinue
	}
	return transport, nil
}

// connectBoth returns what requests are given to that go by a transport, and what those for parts are given to.
func (t *transports) connectBoth(transport *reverseproxy.HTTPTransport) (all, parts http.RoundTripper, err error) {
	if all, err = t.connect(transport); err != nil {
		return nil, nil, err
	}
	parts, err = t.connectParts(transport)
	return all, parts, err
}

// connectParts is connect for parts of files: by HTTP/1.1, since all requests by HTTP/2 share one connection, and with that its
// window. It returns nil where the config allows no HTTP/1.1. Beyond max_conns_per_host a quarter of that number is for parts.
func (t *transports) connectParts(transport *reverseproxy.HTTPTransport) (http.RoundTripper, error) {
	if versions := transport.Versions; slices.Contains(versions, "3") || len(versions) > 0 && !slices.Contains(versions, "1.1") {
		return nil, nil
	}
	plain := transport.Transport.Clone()
	speakHTTP1(plain)
	if plain.MaxConnsPerHost > 0 {
		plain.MaxConnsPerHost = max(1, plain.MaxConnsPerHost/4)
	}
	return t.connectBy(plain, true)
}

// speakHTTP1 keeps a transport from speaking anything else.
func speakHTTP1(transport *http.Transport) {
	transport.ForceAttemptHTTP2, transport.TLSNextProto = false, make(map[string]func(string, *tls.Conn) http.RoundTripper)
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	if transport.TLSClientConfig != nil {
		transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
}

// connect returns what requests are given to that go by a transport. HTTP/3 has a transport of its own that can't be copied:
// there a request waits on a dead connection until QUIC gives that up.
func (t *transports) connect(transport *reverseproxy.HTTPTransport) (http.RoundTripper, error) {
	if slices.Contains(transport.Versions, "3") {
		return isolatedTransport{next: transport}, nil
	}
	return t.connectBy(transport.Transport, false)
}

func (t *transports) connectBy(transport *http.Transport, onlyHTTP1 bool) (http.RoundTripper, error) {
	connections, err := upstream.NewConnections(upstream.ConnectionsConfig{
		Transport: transport,
		Around:    func(copied http.RoundTripper) http.RoundTripper { return isolatedTransport{copied, onlyHTTP1} },
	})
	if err != nil {
		return nil, err
	}
	end := t.close
	t.close = func() {
		connections.CloseIdleConnections()
		end()
	}
	return connections, nil
}

// hold keeps the transports' connections open until release is called as often.
func (t *transports) hold() { t.holders.Add(1) }

func (t *transports) release() {
	if t.holders.Add(-1) == 0 {
		// A request of a handler that is gone may still come; it finds transports that keep no connections.
		t.once.Do(t.close)
	}
}

// isolatedTransport gives each request variables and placeholders of its own. Caddy's transport reads from the
// context where to dial and which proxy was chosen; what a reverse_proxy left there for its own upstream must not
// send our requests to another host, and fills have no such context at all.
type isolatedTransport struct {
	next http.RoundTripper
	// onlyHTTP1 keeps Caddy's own dialling from offering HTTP/2.
	onlyHTTP1 bool
}

// RoundTrip implements http.RoundTripper.
func (t isolatedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	variables := make(map[string]any)
	if t.onlyHTTP1 || request.Header.Get("Upgrade") != "" {
		// Caddy's own dialling, which a server name with a placeholder needs, would offer HTTP/2, where nothing is upgraded. This
		// is its tlsH1OnlyVarKey.
		variables["reverse_proxy.tls_h1_only"] = true
	}
	ctx := context.WithValue(request.Context(), caddyhttp.VarsCtxKey, variables)
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	return t.next.RoundTrip(request.WithContext(ctx))
}
