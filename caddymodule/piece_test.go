package caddymodule

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

var errLeft = errors.New("the client has left")

// leaves is a client that takes so many writes, then leaves, and remembers what memory it was shown.
type leaves struct {
	after int
	shown [][]byte
	bytes.Buffer
}

func (l *leaves) Write(p []byte) (int, error) {
	l.shown = append(l.shown, p)
	if len(l.shown) > l.after {
		return 0, errLeft
	}
	return l.Buffer.Write(p)
}

func TestAPieceWhoseWriteFailedIsNeverUsedAgain(t *testing.T) {
	for name, send := range map[string]func(w io.Writer, data []byte) (int64, error){
		"what comes piece by piece": func(w io.Writer, data []byte) (int64, error) {
			return sendPieces(w, bytes.NewReader(data), int64(len(data)), nil)
		},
		"what is in memory": sendCopied,
		"what can't be flushed": func(w io.Writer, data []byte) (int64, error) {
			return sendPieces(w, bytes.NewReader(data), int64(len(data)), func() error { return errLeft })
		},
	} {
		for _, size := range []int{1000, copyPiece, 300_000, 3 * writePiece} {
			client := &leaves{after: min(size/writePiece, 1)}
			if _, err := send(client, make([]byte, size)); !errors.Is(err, errLeft) {
				t.Fatalf("%s: %v", name, err)
			}
			lost := client.shown[len(client.shown)-1]
			// Whatever is taken from now on, also by others, is other memory.
			taken := make([]*piece, 300)
			for i := range taken {
				taken[i] = takePiece(int64(size))
				if &taken[i].bytes[0] == &lost[0] {
					t.Fatalf("%s: of %d bytes, memory that a frame may still be read from is used again", name, size)
				}
			}
			for _, p := range taken {
				p.giveBack(true)
			}
		}
	}
}

func TestPiecesAreLargeUntilSixtyFourMebibytesAreTaken(t *testing.T) {
	taken := make([]*piece, 0, 64<<20/writePiece+100)
	defer func() {
		for _, p := range taken {
			p.giveBack(true)
		}
		if p := takePiece(1 << 30); len(p.bytes) != writePiece {
			t.Errorf("when all are given back, a piece has %d bytes", len(p.bytes))
		} else {
			p.giveBack(false)
		}
		if n := writePieces.taken.Load(); n != 0 {
			t.Errorf("%d pieces count as taken", n)
		}
	}()
	if p := takePiece(copyPiece); len(p.bytes) != copyPiece {
		t.Errorf("a small file takes a piece of %d bytes", len(p.bytes))
	}
	for range 64 << 20 / writePiece {
		p := takePiece(1 << 30)
		taken = append(taken, p)
		if len(p.bytes) != writePiece {
			t.Fatalf("piece %d has %d bytes", len(taken), len(p.bytes))
		}
	}
	for range 100 {
		p := takePiece(1 << 30)
		taken = append(taken, p)
		if len(p.bytes) != copyPiece {
			t.Fatalf("one piece too many has %d bytes", len(p.bytes))
		}
	}
}

// trickle gives few bytes at a time, and fails in the end.
type trickle struct {
	left []byte
	end  error
}

func (s *trickle) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		return 0, s.end
	}
	n := copy(p[:min(len(p), 700)], s.left)
	s.left = s.left[n:]
	return n, nil
}

func TestPiecesAreWrittenAsTheyCome(t *testing.T) {
	data := make([]byte, 5000)
	for i := range data {
		data[i] = byte(i)
	}
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF} {
		client, flushed := &leaves{after: 100}, 0
		n, err := sendPieces(client, &trickle{data, end}, 5000, func() error { flushed++; return nil })
		if n != 5000 || !bytes.Equal(client.Bytes(), data) || len(client.shown) != 8 || flushed != 8 {
			t.Errorf("%d bytes in %d writes with %d flushes", n, len(client.shown), flushed)
		}
		if end == io.EOF && err != nil || end != io.EOF && err != end { //nolint:errorlint // as the source said it
			t.Errorf("the source ended with %v, sending with %v", end, err)
		}
		if _, left := errors.AsType[*writeError](err); left {
			t.Error("an error of the source counts as the client's")
		}
	}
}

// TestLargeFilesAreReadInPiecesOfWhichThereAreEightMebibytes: whoever comes when all are taken is served by the kernel.
func TestLargeFilesAreReadInPiecesOfWhichThereAreEightMebibytes(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
	body := someBytes(readPieceFrom+100_000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	var taken []*piece
	for p := readPieces.take(); p != nil; p = readPieces.take() {
		taken = append(taken, p)
	}
	if len(taken) != 8<<20/readPiece {
		t.Errorf("there are %d pieces", len(taken))
	}
	hit := func() {
		t.Helper()
		if got := e.mustGet(t, "app.bin", developer, body); !strings.Contains(got.cacheStatus(), "hit") {
			t.Errorf("served as %q", got.cacheStatus())
		}
		part := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {"bytes=1000-"}}})
		if part.StatusCode != http.StatusPartialContent || !bytes.Equal(part.body, body[1000:]) {
			t.Errorf("%s with %d bytes", part.Status, len(part.body))
		}
	}
	hit()
	for _, p := range taken {
		p.giveBack(true)
	}
	hit()
	await(t, func() bool { return readPieces.taken.Load() == 0 })
}
