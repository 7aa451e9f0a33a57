package caddymodule

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestAnAnswerThatBreaksOffEndsWithAResetAndAWholeOneDoesNot reads what the connection says, as clients do that compare no
// lengths.
func TestAnAnswerThatBreaksOffEndsWithAResetAndAWholeOneDoesNot(t *testing.T) {
	for _, test := range []struct {
		name, query string
		fault       gitlabtest.Fault
		want        error
	}{
		{"whole", "", gitlabtest.Fault{}, nil},
		{"whole, forwarded", "?status=default", gitlabtest.Fault{}, nil},
		{"damaged", "", gitlabtest.Fault{CorruptAt: 1000}, syscall.ECONNRESET},
		{"cut, forwarded", "?status=default", gitlabtest.Fault{CutAfter: 500_000}, syscall.ECONNRESET},
	} {
		t.Run(test.name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetChecksums(true)
			e := startEdge(t, gitlab.URL, "")
			publishOld(gitlab, "app.bin", someBytes(1<<20, 1))
			release := make(chan struct{})
			test.fault.StallAfter, test.fault.Release = 200_000, release
			gitlab.Inject(test.fault)
			host := strings.TrimPrefix(e.url, "http://")
			connection, err := net.Dial("tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			_, _ = io.WriteString(connection, spelled(filePath("app.bin")+test.query, host, goodLine, ""))
			if _, err := io.ReadFull(connection, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			close(release) // the answer has begun, so the edge can't begin anew
			if _, err := io.Copy(io.Discard, connection); !errors.Is(err, test.want) {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}

// TestAResetIsNoOrderlyEndOfTLSEither: a close_notify would be one.
func TestAResetIsNoOrderlyEndOfTLSEither(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan struct{})
	go func() { // ends when the client has read the first byte
		defer close(done)
		accepted, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		secure := tls.Server(accepted, certified.TLS)
		_, _ = secure.Write([]byte("x"))
		_, _ = secure.Read(make([]byte, 1))
		newCallerConnection(secure).reset()
	}()
	client, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // loopback
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_, _ = client.Write([]byte("x"))
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the end is %v", err)
	}
	<-done
}
