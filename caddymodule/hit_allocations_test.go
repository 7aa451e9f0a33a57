package caddymodule

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// hitAllocations is how many allocations the handler may need for a hit of a small file from memory, more than what Caddy's
// server needs for any request. Whoever needs more should know what for.
const hitAllocations = 13

// TestAHitAllocatesNoMoreThanItMust holds the handler alone, without server and connection.
func TestAHitAllocatesNoMoreThanItMust(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector has pools drop what they hold")
	}
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
	body := someBytes(4<<10, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	hit := hitWithoutServer(t, handlerOfRunningEdge(t), filePath("app.bin"), len(body))
	nothing := hitWithoutServer(t, writesAtOnce(body), filePath("app.bin"), len(body))
	if edge, bare := testing.AllocsPerRun(1000, hit), testing.AllocsPerRun(1000, nothing); edge-bare > hitAllocations {
		t.Errorf("a hit takes %v allocations, and a handler that only writes the bytes %v; the difference should be %d at most", edge, bare, hitAllocations)
	}
}

// writesAtOnce is the least a handler can do.
type writesAtOnce []byte

func (w writesAtOnce) ServeHTTP(writer http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
	_, err := writer.Write(w)
	return err
}
