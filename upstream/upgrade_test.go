package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// TestAnAnswerThatSwitchesProtocolsIsTrouble asks by check, fetch and forward.
func TestAnAnswerThatSwitchesProtocolsIsTrouble(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the listener
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(connection)); err == nil {
				_, _ = io.WriteString(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
			}
			_ = connection.Close()
		}
	}()
	client := newClient(t, "http://"+listener.Addr().String(), nil, closer(func() { _ = listener.Close() }))
	if answer := client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Follow: true}); answer.Verdict != upstream.Unreachable {
		t.Errorf("check: %v", answer.Verdict)
	}
	if _, err := client.Fetch(context.Background(), callerWith(token), ref); !isUnreachable(err) {
		t.Errorf("fetch: %v", err)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut} {
		recorder, request := httptest.NewRecorder(), httptest.NewRequest(method, ref.EscapedPath(), nil)
		request.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"h2c"}}
		err := client.Forward(recorder, request, upstream.Forwarding{Path: ref.EscapedPath(), Caller: callerWith(token)})
		if !isUnreachable(err) || recorder.Code == http.StatusSwitchingProtocols {
			t.Errorf("forward %s: %v, %d", method, err, recorder.Code)
		}
	}
}

func isUnreachable(err error) bool {
	_, ok := errors.AsType[*upstream.UnreachableError](err)
	return ok
}

// closer is a function that newClient calls at the end.
type closer func()

func (c closer) Close() { c() }
