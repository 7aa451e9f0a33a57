package caddymodule

import (
	"bufio"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// hitAllocations is how many allocations the handler may need for a hit of a small file from memory, more than what Caddy's
// server needs for any request. Whoever needs more should know what for.
const hitAllocations = 13

// TestAHitAllocatesNoMoreThanItMust holds the handler alone, without server and connection: as it is by itself, beside a shared store that
// has the file, and beside a page that somebody watches. Neither adds anything to a hit.
func TestAHitAllocatesNoMoreThanItMust(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector has pools drop what they hold")
	}
	body := someBytes(4<<10, 1)
	const hits = "max_age 1h\ngrant_ttl 1h"
	for what, start := range map[string]func(*testing.T, string) *edge{
		"alone": func(t *testing.T, gitlab string) *edge { return startEdge(t, gitlab, hits) },
		"beside a shared store": func(t *testing.T, gitlab string) *edge {
			return startEdge(t, gitlab, sharedOptions(t.TempDir(), newSharedStore(t), "min_size 1")+"\n"+hits)
		},
		"beside a page that is watched": func(t *testing.T, gitlab string) *edge {
			address := freeAddress(t)
			e := startEdge(t, gitlab, hits, around{outside: "http://" + address + " {\n bind 127.0.0.1\n gitlab_packages_page\n}"})
			watchPageAt(t, address)
			return e
		},
	} {
		t.Run(what, func(t *testing.T) {
			gitlab := naming(t)
			publishOld(gitlab, "app.bin", body)
			e := start(t, gitlab.URL)
			e.mustGet(t, "app.bin", developer, body)
			awaitNothingOwed(t)
			hit := hitWithoutServer(t, handlerOfRunningEdge(t), filePath("app.bin"), len(body))
			nothing := hitWithoutServer(t, writesAtOnce(body), filePath("app.bin"), len(body))
			if edge, bare := allocationsOf(hit), allocationsOf(nothing); edge-bare > hitAllocations {
				t.Errorf("a hit takes %v allocations, and a handler that only writes the bytes %v; the difference should be %d at most", edge, bare, hitAllocations)
			}
		})
	}
}

// allocationsOf is how many allocations a call takes. What else goes on in the process counts too, such as what a page is told once a second,
// so it is the least of a few looks.
func allocationsOf(call func()) float64 {
	least := math.Inf(1)
	for range 5 {
		least = min(least, testing.AllocsPerRun(500, call))
	}
	return least
}

// watchPageAt watches a page until the test ends. It returns when the page has told something.
func watchPageAt(t *testing.T, address string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := testClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	for told := bufio.NewScanner(response.Body); told.Scan(); {
		if strings.HasPrefix(told.Text(), "data: ") {
			return
		}
	}
	t.Fatal("the page tells nothing: ", response.Status)
}

// writesAtOnce is the least a handler can do.
type writesAtOnce []byte

func (w writesAtOnce) ServeHTTP(writer http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
	_, err := writer.Write(w)
	return err
}
