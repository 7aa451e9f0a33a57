package page

import (
	"net/http"
	"strings"
	"testing"
)

// TestTheScriptIsSmall holds the only script to what a person can read at once.
func TestTheScriptIsSmall(t *testing.T) {
	script := assets[assetNames["page.js"]]
	if size := len(script.content); size == 0 || size >= 15_000 {
		t.Errorf("page.js has %d bytes", size)
	}
	for _, sink := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "setTimeout(\"", "DOMParser", "createContextualFragment", ".srcdoc", ".style"} {
		if strings.Contains(string(script.content), sink) {
			t.Errorf("page.js uses %s", sink)
		}
	}
}

func TestAssetsAreKeptUntilTheirContentChanges(t *testing.T) {
	p, edge := newPage(t, morning(), "", loopback...)
	for file, contentType := range map[string]string{"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"} {
		got := get(t, p, visit{target: "/" + assetNames[file]})
		tag := got.Header().Get("Etag")
		if got.Code != http.StatusOK || got.Header().Get("Content-Type") != contentType || got.Body.Len() == 0 || !strings.Contains(assetNames[file], strings.Trim(tag, `"`)) {
			t.Errorf("%s: %d, %v", file, got.Code, got.Header())
		}
		if cache := got.Header().Get("Cache-Control"); cache != "private, max-age=31536000, immutable" {
			t.Errorf("%s: %s", file, cache)
		}
		again := get(t, p, visit{target: "/" + assetNames[file], header: http.Header{"If-None-Match": {`"other", ` + tag}}})
		if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%s again: %d", file, again.Code)
		}
	}
	if calls := edge.Calls(""); len(calls) > 0 {
		t.Errorf("the edge was asked: %v", calls)
	}
}
