package caddymodule

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// BenchmarkHit measures whole hits over a real listener with one connection: 4 KiB from the memory tier, and 4 KiB,
// 1 MiB and 256 MiB from disk.
func BenchmarkHit(b *testing.B) {
	for _, test := range []struct {
		name   string
		size   int
		memory string
	}{{"4KiB/memory", 4 << 10, "256MiB"}, {"4KiB/disk", 4 << 10, "0"}, {"1MiB/memory", 1 << 20, "256MiB"}, {"1MiB/disk", 1 << 20, "0"}, {"256MiB/disk", 256 << 20, "0"}} {
		b.Run(test.name, func(b *testing.B) {
			gitlab := newGitLab(b)
			e := startEdge(b, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
			e.reload(b, "max_age 1h\ngrant_ttl 1h\ncache "+e.directory+" {\n memory "+test.memory+"\n min_free 0\n}")
			publishOld(gitlab, "app.bin", someBytes(test.size, 1))
			client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
			defer client.CloseIdleConnections()
			b.SetBytes(int64(test.size))
			for b.Loop() {
				request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, e.url+filePath("app.bin"), nil)
				if err != nil {
					b.Fatal(err)
				}
				request.Header.Set("Private-Token", developer)
				response, err := client.Do(request)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				if err != nil || n != int64(test.size) {
					b.Fatal(response.Status, n, err)
				}
			}
		})
	}
}

// BenchmarkHitHandlerAlone measures what the handler itself does for a hit of 4 KiB from memory, and beside it Caddy's
// own `respond` with the same bytes: the difference is ours.
func BenchmarkHitHandlerAlone(b *testing.B) {
	gitlab := newGitLab(b)
	e := startEdge(b, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
	body := someBytes(4<<10, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(b, "app.bin", developer, body)
	handler := handlerOfRunningEdge(b)
	respond := &caddyhttp.StaticResponse{Body: string(body)}
	for name, served := range map[string]caddyhttp.MiddlewareHandler{"edge": handler, "respond": respond} {
		b.Run(name, func(b *testing.B) {
			hit := hitWithoutServer(b, served, filePath("app.bin"), len(body))
			b.ReportAllocs()
			for b.Loop() {
				hit()
			}
		})
	}
}

// hitWithoutServer returns a function that has a handler answer one download of so many bytes, as Caddy's server would call it.
func hitWithoutServer(t testing.TB, handler caddyhttp.MiddlewareHandler, path string, size int) (hit func()) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Private-Token", developer)
	vars := map[string]any{caddyhttp.ClientIPVarKey: "127.0.0.1"}
	ctx := context.WithValue(request.Context(), caddyhttp.VarsCtxKey, vars)
	ctx = context.WithValue(ctx, caddyhttp.ExtraLogFieldsCtxKey, new(caddyhttp.ExtraLogFields))
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	return func() {
		// Each request has its own replacer, to which the edge adds.
		request := request.WithContext(context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer()))
		writer := discardingWriter{header: make(http.Header)}
		if err := handler.ServeHTTP(&writer, request, next); err != nil || writer.written != size {
			t.Fatal(err, writer.written)
		}
	}
}

type discardingWriter struct {
	header  http.Header
	written int
}

func (w *discardingWriter) Header() http.Header { return w.header }
func (w *discardingWriter) WriteHeader(int)     {}
func (w *discardingWriter) Write(p []byte) (int, error) {
	w.written += len(p)
	return len(p), nil
}

// handlerOfRunningEdge finds the handler that the running Caddy has provisioned.
func handlerOfRunningEdge(b testing.TB) *Handler {
	b.Helper()
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		b.Fatal(err)
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		for _, route := range server.Routes {
			if found := findHandler(route); found != nil {
				return found
			}
		}
	}
	b.Fatal("no handler is running")
	return nil
}

func findHandler(route caddyhttp.Route) *Handler {
	for _, handler := range route.Handlers {
		switch handler := handler.(type) {
		case *Handler:
			return handler
		case *caddyhttp.Subroute:
			for _, inner := range handler.Routes {
				if found := findHandler(inner); found != nil {
					return found
				}
			}
		}
	}
	return nil
}

// BenchmarkColdHerd measures 50 callers with 50 tokens who ask for a cold file of 64 MiB at once, until all have it.
func BenchmarkColdHerd(b *testing.B) {
	const callers, size = 50, 64 << 20
	gitlab := newGitLab(b)
	for i := range callers {
		gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: fmt.Sprintf("glpat-%d", i), Roles: map[int]gitlabtest.Role{project: gitlabtest.Guest}})
	}
	e := startEdge(b, gitlab.URL, "")
	body := someBytes(size, 1)
	b.SetBytes(callers * size)
	round := 0
	for b.Loop() {
		round++
		file := fmt.Sprintf("app%d.bin", round)
		publishOld(gitlab, file, body)
		done := make(chan error, callers)
		for i := range callers {
			go func() {
				response, err := e.begin(call{path: filePath(file), token: fmt.Sprintf("glpat-%d", i)})
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
				done <- err
			}()
		}
		for range callers {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
	}
}
