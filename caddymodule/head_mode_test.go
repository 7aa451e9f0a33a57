package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestAStoredFileIsAsAvailableAsOneThatIsNotWhereHEADFails has a front that ignores ranges, and answers HEAD in its own way.
func TestAStoredFileIsAsAvailableAsOneThatIsNotWhereHEADFails(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"501": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotImplemented) },
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"403": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"401": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			front := frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
				r.Header.Del("Range")
				if r.Method == http.MethodHead {
					answer(w, r)
				}
				return r.Method == http.MethodHead
			})
			e := startEdge(t, front, "max_age 0\ngrant_ttl 0\noffline_grace 0")
			body := someBytes(100_000, 1)
			publishOld(gitlab, "app.bin", body)
			publishOld(gitlab, "other.bin", body)
			for range 3 {
				for _, token := range []string{developer, colleague} {
					e.mustGet(t, "app.bin", token, body)
					awaitNoFlight(t)
					if got := e.mustGet(t, "app.bin", token, body); strings.Contains(got.cacheStatus(), "fwd=miss") {
						t.Errorf("it isn't stored: %q", got.cacheStatus())
					}
				}
				if got := e.do(t, call{path: filePath("app.bin"), token: outsider}); got.StatusCode != http.StatusNotFound || !strings.Contains(string(got.body), "404") {
					t.Errorf("an outsider: %s, %q", got.Status, got.body)
				}
				e.mustGet(t, "other.bin", developer, body)
				putForward(40 * time.Minute) // past the hour in which HEAD isn't trusted, at the end
			}
		})
	}
}
