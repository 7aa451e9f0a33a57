package pagetest

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// crowd is how many people look at one page, and maxViewers how many of them get a stream.
const crowd, maxViewers = 1000, 32

// TestAThousandViewersTakeNothingFromCallers opens that many streams at once, of which none is read on, and downloads meanwhile. Those who
// get no stream are told when to ask again.
func TestAThousandViewersTakeNothingFromCallers(t *testing.T) {
	e := startRealEdge(t, "")
	e.publish(t, projectID, published, content)
	e.mustGet(t, published, developer, content)
	connections := &http.Transport{MaxIdleConnsPerHost: crowd}
	defer connections.CloseIdleConnections()
	client := &http.Client{Transport: connections}
	var viewers sync.WaitGroup
	var mu sync.Mutex
	var streams []io.Closer
	answers := make(map[int]int)
	for range crowd {
		viewers.Go(func() {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.page+"events", nil)
			if err != nil {
				t.Error(err)
				return
			}
			response, err := client.Do(request)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answers[response.StatusCode]++
			if response.StatusCode == http.StatusOK {
				streams = append(streams, response.Body)
				return
			}
			if response.Header.Get("Retry-After") != "15" {
				t.Errorf("ask again after %q", response.Header.Get("Retry-After"))
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		})
	}
	begun := time.Now()
	for range 50 {
		e.mustGet(t, published, developer, content)
	}
	t.Logf("50 downloads beside %d viewers took %s", crowd, time.Since(begun))
	viewers.Wait()
	if answers[http.StatusOK] != maxViewers || answers[http.StatusServiceUnavailable] != crowd-maxViewers {
		t.Errorf("the answers are %v", answers)
	}
	for range crowd { // as those do who have no stream
		if status := e.status(t, e.page+"live?span=hour"); status != http.StatusOK {
			t.Fatal(status)
		}
	}
	t.Logf("and %d questions without a stream %s in all", crowd, time.Since(begun))
	// Those on which nothing was asked yet would keep any server of Go's for up to five seconds.
	connections.CloseIdleConnections()
	if took := e.stop(t); took > slack {
		t.Errorf("the stop took %s", took)
	}
	for _, stream := range streams {
		_ = stream.Close()
	}
}
