//go:build linux

package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAHitLeavesInAsFewPacketsAsItFills counts at the client what the edge has sent. net/http writes a head and a body by two writes at
// least, and TLS each 16 KiB by one; each would be a packet by itself.
func TestAHitLeavesInAsFewPacketsAsItFills(t *testing.T) {
	gitlab := naming(t)
	certificate, key := certificateFiles(t)
	secure := freeAddress(t)
	e := startEdge(t, gitlab.URL, "", around{outside: "https://" + secure + " {\n tls " + certificate + " " + key + "\n gitlab_packages " + gitlab.URL + "\n}"})
	for name, test := range map[string]struct {
		tls                 bool
		size, packets, hits int
	}{
		"4 KiB":           {false, 4 << 10, 1, 5},
		"7 KiB":           {false, 7 << 10, 1, 5},
		"16 KiB":          {false, 16 << 10, 1, 5},
		"4 KiB over TLS":  {true, 4 << 10, 1, 5},
		"16 KiB over TLS": {true, 16 << 10, 1, 5},
		// Pieces of 512 KiB, each of 32 records, from the disk. A packet has up to 64 KiB here; less where windows are small.
		"2 MiB over TLS": {true, 2 << 20, 100, 2},
	} {
		t.Run(name, func(t *testing.T) {
			file := strings.ReplaceAll(name, " ", "-") + ".bin"
			body := someBytes(test.size, 1)
			publishOld(gitlab, file, body)
			address := strings.TrimPrefix(e.url, "http://")
			if test.tls {
				address = secure
			}
			tcp, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer tcp.Close()
			connection := tcp
			if test.tls {
				connection = tls.Client(tcp, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // loopback
			}
			reader := bufio.NewReader(connection)
			get := func() {
				t.Helper()
				got, err := getOver(connection, reader, filePath(file))
				if err != nil || string(got) != string(body) {
					t.Fatalf("%d of %d bytes: %v", len(got), len(body), err)
				}
			}
			begun := packetsOver(t, tcp)
			get()                                                                    // fetched
			if got := packetsOver(t, tcp) - begun; !test.tls && got > test.packets { // TLS begins with packets of its own
				t.Errorf("when it was fetched, it came in %d packets, want %d at most", got, test.packets)
			}
			awaitNoFlight(t)
			get() // and into memory
			get()
			before := packetsOver(t, tcp)
			for range test.hits {
				get()
			}
			if got := packetsOver(t, tcp) - before; got > test.packets*test.hits {
				t.Errorf("%d hits came in %d packets, want %d at most", test.hits, got, test.packets*test.hits)
			}
		})
	}
}

// getOver sends a GET over a connection that is kept.
func getOver(connection net.Conn, reader *bufio.Reader, path string) ([]byte, error) {
	if _, err := fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: %s\r\nPrivate-Token: %s\r\n\r\n", path, connection.RemoteAddr(), developer); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

// packetsOver is how many packets with data have come over a connection.
func packetsOver(t *testing.T, connection net.Conn) int {
	t.Helper()
	packets := 0
	control(t, connection, func(descriptor int) error {
		info, err := unix.GetsockoptTCPInfo(descriptor, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			packets = int(info.Data_segs_in)
		}
		return err
	})
	return packets
}

func control(t *testing.T, connection net.Conn, look func(descriptor int) error) {
	t.Helper()
	raw, err := connection.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := errors.Join(raw.Control(func(descriptor uintptr) { failed = look(int(descriptor)) }), failed); err != nil { //nolint:gosec // a descriptor
		t.Fatal(err)
	}
}

// TestNothingIsHeldBackAfterAWrite: a connection that stays corked would keep the end of each later answer for 200 ms. That holds after a
// Write that failed, too, and after a panic of a writer in front.
func TestNothingIsHeldBackAfterAWrite(t *testing.T) {
	server, client := tcpPair(t)
	held := func() (held bool) {
		control(t, server, func(descriptor int) error {
			value, err := unix.GetsockoptInt(descriptor, unix.IPPROTO_TCP, unix.TCP_CORK)
			held = value != 0
			return err
		})
		return held
	}
	request := (&http.Request{ProtoMajor: 1, TLS: new(tls.ConnectionState)}).
		WithContext(context.WithValue(t.Context(), connectionKey{}, newCallerConnection(server)))
	for name, write := range map[string]func([]byte) (int, error){
		"written": client.Write,
		"failed":  func([]byte) (int, error) { return 0, io.ErrClosedPipe },
		"panics":  func([]byte) (int, error) { panic(http.ErrAbortHandler) },
	} {
		for kind, send := range map[string]func(*exchange, []byte){
			"at once": func(x *exchange, data []byte) { _, _ = x.writeAtOnce(data) },
			"in pieces": func(x *exchange, data []byte) {
				_, _ = sendPieces(atOnce{x}, bytes.NewReader(data), int64(len(data)), nil)
			},
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				wasHeld := false
				x := &exchange{r: request, w: writerOf{write: func(p []byte) (int, error) {
					wasHeld = held()
					return write(p)
				}}}
				func() {
					defer func() { _ = recover() }()
					send(x, make([]byte, 20<<10))
				}()
				if !wasHeld {
					t.Error("nothing was held back meanwhile")
				}
				if held() {
					t.Error("it is still held back")
				}
			})
		}
	}
}

// writerOf is a ResponseWriter that writes as it is told, and can't flush.
type writerOf struct {
	http.ResponseWriter
	write func([]byte) (int, error)
}

func (w writerOf) Write(p []byte) (int, error) { return w.write(p) }

// tcpPair returns both ends of a connection, of which one drops what comes.
func tcpPair(t *testing.T) (server, client net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if client, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	go func() { _, _ = io.Copy(io.Discard, server) }() // ends with the connection
	return server, client
}

// TestTheConnectionIsFoundBelowThePROXYProtocol: what can't be found is neither held back nor reset.
func TestTheConnectionIsFoundBelowThePROXYProtocol(t *testing.T) {
	gitlab := naming(t)
	body := someBytes(16<<10, 1)
	publishOld(gitlab, "app.bin", body)
	e := startEdge(t, gitlab.URL, "", around{servers: "listener_wrappers {\n proxy_protocol {\n allow 127.0.0.0/8\n }\n}"})
	tcp, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	if _, err := io.WriteString(tcp, "PROXY TCP4 127.0.0.2 127.0.0.1 4000 80\r\n"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(tcp)
	for range 3 {
		before := packetsOver(t, tcp)
		got, err := getOver(tcp, reader, filePath("app.bin"))
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%d of %d bytes: %v", len(got), len(body), err)
		}
		if packets := packetsOver(t, tcp) - before; packets != 1 {
			t.Errorf("an answer came in %d packets", packets)
		}
	}
}

// TestHTTP2IsNeverHeldBack: its frames are written by another goroutine, at times that the handler doesn't know.
func TestHTTP2IsNeverHeldBack(t *testing.T) {
	server, _ := tcpPair(t)
	request := (&http.Request{ProtoMajor: 2, TLS: new(tls.ConnectionState)}).
		WithContext(context.WithValue(t.Context(), connectionKey{}, newCallerConnection(server)))
	if x := (&exchange{r: request}); x.corkable() != nil {
		t.Error("it can be held back")
	}
}
