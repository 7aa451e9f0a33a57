package caddymodule

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// upgrades are offers to go on in another protocol.
var upgrades = map[string][]string{
	"websocket":             {"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"},
	"h2c":                   {"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
	"h2c, settings unnamed": {"Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
	"without Connection":    {"Upgrade: anything"},
}

// TestAnOfferToUpgradeIsIgnored: downloads with one are hits like any other, what is forwarded has none.
func TestAnOfferToUpgradeIsIgnored(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	host := strings.TrimPrefix(e.url, "http://")
	for name, offer := range upgrades {
		for target, status := range map[string]string{filePath("app.bin"): "hit", filePath("app.bin") + "?status=default": "fwd=bypass"} {
			gitlab.ResetRequests()
			// What comes after would be the tunnel's first bytes: it is a request of its own, and judged.
			answers := raw(t, e.url, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\n"+goodLine+"\r\n"+strings.Join(offer, "\r\n")+"\r\n\r\n"+spelled(filePath("app.bin"), host, wrongLine, ""))
			if len(answers) != 2 || !bytes.Equal(answers[0].body, body) || !strings.Contains(answers[0].header.Get("Cache-Status"), status) || answers[1].status != http.StatusUnauthorized {
				t.Errorf("%s, %s: %v", name, target, answers)
			}
			for _, asked := range gitlab.Requests() {
				for _, header := range []string{"Upgrade", "Connection", "Http2-Settings"} {
					if asked.Header.Get(header) != "" {
						t.Errorf("%s: GitLab is sent %s: %s", name, header, asked.Header.Get(header))
					}
				}
			}
		}
	}
}

// TestNoTunnelIsOpened has an upstream that switches protocols to whatever it is asked.
func TestNoTunnelIsOpened(t *testing.T) {
	setForTest(t, &process.breakerPause, time.Millisecond)
	upstream, _ := newRawUpstream(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nthe tunnel's first bytes")
	e := startEdge(t, upstream, "")
	host := strings.TrimPrefix(e.url, "http://")
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		for _, query := range []string{"", "?status=default"} {
			for name, offer := range upgrades {
				answers := raw(t, e.url, method+" "+filePath("app.bin")+query+" HTTP/1.1\r\nHost: "+host+"\r\n"+goodLine+"\r\n"+strings.Join(offer, "\r\n")+"\r\n\r\n"+spelled("/", host, ""))
				if len(answers) < 1 || answers[0].status < 500 || bytes.Contains(answers[0].body, []byte("tunnel")) {
					t.Errorf("%s %s: %v", method, name, answers)
				}
			}
		}
	}
}

// TestAnExtendedConnectIsRefused: over HTTP/2 a tunnel is asked for by CONNECT with :protocol (RFC 8441).
func TestAnExtendedConnectIsRefused(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	publishOld(gitlab, "app.bin", []byte("x"))
	host := strings.TrimPrefix(e.url, "http://")
	status, body := overHTTP2(t, host, filePath("app.bin"), hpack.HeaderField{Name: ":protocol", Value: "websocket"})
	if strings.HasPrefix(status, "2") || len(gitlab.Requests()) != 0 {
		t.Errorf("%q %s", status, body)
	}
	for _, target := range []string{filePath("app.bin"), host} {
		for _, answer := range raw(t, e.url, "CONNECT "+target+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n"+goodLine+"\r\n\r\n") {
			if target != host && answer.status != http.StatusMethodNotAllowed {
				t.Errorf("CONNECT %s: %d", target, answer.status)
			}
		}
	}
}
