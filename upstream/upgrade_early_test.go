package upstream

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// lettingGo is a server's writer that had read something of what follows the head when it let go of the connection.
type lettingGo struct {
	*httptest.ResponseRecorder
	connection net.Conn
	early      string
}

func (w lettingGo) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	reader := bufio.NewReader(io.MultiReader(strings.NewReader(w.early), w.connection))
	_, err := reader.Peek(len(w.early))
	return w.connection, bufio.NewReadWriter(reader, bufio.NewWriter(w.connection)), err
}

// TestWhatACallerSendsAtOnceAfterTheSwitchIsNotLost: net/http may have read the first bytes of it, or all.
func TestWhatACallerSendsAtOnceAfterTheSwitchIsNotLost(t *testing.T) {
	for _, early := range []string{"", "h", "hello"} {
		caller, server := net.Pipe()
		w := &tunnelWriter{ResponseWriter: lettingGo{httptest.NewRecorder(), server, early}, head: make(http.Header)}
		connection, _, err := w.Hijack()
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ends with the connection
			_, _ = io.WriteString(caller, strings.TrimPrefix("hello", early)+", world")
			_ = caller.Close()
		}()
		if got, err := io.ReadAll(connection); err != nil || string(got) != "hello, world" {
			t.Errorf("%q was read already: %q, %v", early, got, err)
		}
		w.end()
	}
}
