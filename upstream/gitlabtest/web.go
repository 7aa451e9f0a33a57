package gitlabtest

import (
	"context"
	"crypto/sha1" //nolint:gosec // what RFC 6455 asks for
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	dashboardPath = "/dashboard/projects"
	cablePath     = "/-/cable"
	receivePack   = "/git-receive-pack"
)

// serveWeb answers what isn't of the API but passes an edge as well, if a request is for it: a page that sends who isn't signed
// in to the log-in page by GitLab's own name, the WebSocket of GitLab's pages, which here sends back what it gets, and a push
// of Git's, of which only the bytes are counted.
func (s *Server) serveWeb(w http.ResponseWriter, c *call) bool {
	switch {
	case c.path == dashboardPath && c.reads():
		scheme := "http"
		if c.TLS != nil {
			scheme = "https"
		}
		w.Header().Set("Set-Cookie", "_gitlab_session=1; path=/; HttpOnly")
		w.Header().Set("Location", scheme+"://"+c.Host+s.settings.basePath+signInPath)
		w.WriteHeader(http.StatusFound)
	case c.path == cablePath && strings.EqualFold(c.Header.Get("Upgrade"), "websocket"):
		serveCable(w, c)
	case strings.HasSuffix(c.path, receivePack) && c.Method == http.MethodPost:
		received, err := io.Copy(io.Discard, c.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = fmt.Fprintf(w, "%d bytes\n", received)
	default:
		return false
	}
	return true
}

// serveCable opens a WebSocket (RFC 6455, section 4.2.2). It ends with the caller, or with the server.
func serveCable(w http.ResponseWriter, c *call) {
	connection, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		plain(http.StatusUpgradeRequired, "426 Upgrade Required\n").write(w)
		return
	}
	defer connection.Close()
	defer context.AfterFunc(c.Context(), func() { _ = connection.Close() })()
	accepted := sha1.Sum([]byte(c.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	_, _ = fmt.Fprintf(connection, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(accepted[:]))
	_, _ = io.Copy(connection, buffered)
}
