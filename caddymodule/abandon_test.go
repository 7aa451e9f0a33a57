package caddymodule

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestACallerWhoOnlyEndsItsSendingNeverReadsAnEmptyYes has callers who close their half of the connection while GitLab
// thinks, and read on. To net/http they have left. Of an upload that GitLab has got whole the edge awaits the answer, and
// relays that.
func TestACallerWhoOnlyEndsItsSendingNeverReadsAnEmptyYes(t *testing.T) {
	asked, left := make(chan struct{}), make(chan struct{})
	gitlab := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Disposition", "attachment")
		if r.Header.Get("Private-Token") == developer {
			_, _ = w.Write([]byte("x")) // fetched before all
			return
		}
		asked <- struct{}{}
		if r.Method == http.MethodPut {
			<-left
			w.WriteHeader(http.StatusConflict)
			return
		}
		<-r.Context().Done() // an answer comes too late for the caller
	})
	setForTest(t, &process.closePatience, 0)
	e := startEdge(t, gitlab, "")
	e.mustGet(t, "stored.bin", developer, []byte("x"))
	awaitNoFlight(t)
	for name, test := range map[string]struct{ request, more string }{
		"a file that isn't here": {"GET " + filePath("cold.bin"), ""},
		"a stored file":          {"GET " + filePath("stored.bin"), ""},
		"a forwarded download":   {"GET " + filePath("stored.bin"), "Origin: http://example.com\r\n"},
		"an upload":              {"PUT " + filePath("new.bin"), "Content-Length: 3\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			connection, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			if err := connection.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			request := test.request + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(e.url, "http://") + "\r\nPrivate-Token: " + colleague + "\r\n" + test.more + "\r\n"
			if strings.HasPrefix(request, http.MethodPut) {
				request += "abc"
			}
			if _, err := io.WriteString(connection, request); err != nil {
				t.Fatal(err)
			}
			<-asked
			if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			isUpload := strings.HasPrefix(request, http.MethodPut)
			if isUpload {
				await(t, func() bool { return answersAwaited() == 1 })
				close(left)
			}
			got, _ := io.ReadAll(connection)
			if status := strings.HasPrefix(string(got), "HTTP/1.1 409"); status != isUpload || (!isUpload && len(got) > 0) { // a reset is as good
				t.Errorf("answered %q", got)
			}
		})
	}
	await(t, func() bool { return strings.Count(e.log(t), `"outcome":"abandoned"`) == 3 })
}

// answersAwaited is how many uploads' answers are awaited whose callers have left.
func answersAwaited() int {
	waits := &runningState().answerWaits
	waits.mu.Lock()
	defer waits.mu.Unlock()
	return waits.all
}
