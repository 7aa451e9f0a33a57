package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// breakingOff serves the first bytes of a body without its length, then cuts the line; whatever is asked for from a byte on
// gets the rest from resume.
func breakingOff(t *testing.T, body []byte, header http.Header, resume func(w http.ResponseWriter, from int)) *httptest.Server {
	t.Helper()
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Disposition", "attachment")
		if ranges, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
			from, err := strconv.Atoi(strings.TrimSuffix(ranges, "-"))
			if err != nil {
				t.Error(err)
			}
			resume(w, from)
			return
		}
		for name := range header {
			w.Header().Set(name, header.Get(name))
		}
		_, _ = w.Write(body[:250_000])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
}

// TestAPartThatEndsBeforeTheFileIsNotItsEnd has files of unknown length whose rest comes in parts that are shorter than
// what was asked for.
func TestAPartThatEndsBeforeTheFileIsNotItsEnd(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	for name, test := range map[string]struct {
		total string
		whole bool
	}{
		"the total is named":     {strconv.Itoa(len(body)), true},
		"the total isn't named":  {"*", false},
		"the total is too short": {"600000", false},
	} {
		t.Run(name, func(t *testing.T) {
			server := breakingOff(t, body, http.Header{"Etag": {`"1"`}}, func(w http.ResponseWriter, from int) {
				w.Header().Set("Etag", `"1"`)
				to := min(from+300_000, len(body))
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%s", from, to-1, test.total))
				w.Header().Set("Content-Length", strconv.Itoa(to-from))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(body[from:to])
			})
			client := newClient(t, server.URL, nil, server)
			download, err := client.Fetch(context.Background(), callerWith(token), ref)
			if err != nil {
				t.Fatal(err)
			}
			defer download.Close()
			got, err := io.ReadAll(download)
			if (err == nil) != test.whole || !bytes.HasPrefix(body, got) || (test.whole && len(got) != len(body)) {
				t.Errorf("%d of %d bytes, %v", len(got), len(body), err)
			}
		})
	}
}

// TestARestWhoseEndCannotBeToldIsNotTaken resumes by an answer that ends with its connection.
func TestARestWhoseEndCannotBeToldIsNotTaken(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	server := breakingOff(t, body, http.Header{"Etag": {`"1"`}}, func(w http.ResponseWriter, _ int) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()
		_, _ = io.WriteString(connection, "HTTP/1.0 200 OK\r\nContent-Disposition: attachment\r\nEtag: \"1\"\r\n\r\n")
		_, _ = connection.Write(body[:400_000])
	})
	client := newClient(t, server.URL, nil, server)
	download, err := client.Fetch(context.Background(), callerWith(token), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer download.Close()
	if got, err := io.ReadAll(download); !errors.Is(err, upstream.ErrChanged) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestWhatProvesNothingContinuesABodyOnlyWhereItsChecksumIsVerified resumes by an answer that names neither the checksum nor
// anything else that the first named.
func TestWhatProvesNothingContinuesABodyOnlyWhereItsChecksumIsVerified(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	checksum := strings.Repeat("a", 64)
	server := breakingOff(t, body, http.Header{"X-Checksum-Sha256": {checksum}}, func(w http.ResponseWriter, from int) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(body[from:])
	})
	client := newClient(t, server.URL, nil, server)
	for _, verified := range []bool{false, true} {
		download, err := client.Fetch(context.Background(), callerWith(token), ref)
		if err != nil {
			t.Fatal(err)
		}
		download.Verified = verified
		got, err := io.ReadAll(download)
		_ = download.Close()
		if (verified && (err != nil || len(got) != len(body))) || (!verified && !errors.Is(err, upstream.ErrChanged)) {
			t.Errorf("verified %v: %d bytes, %v", verified, len(got), err)
		}
	}
	identity := upstream.Identity{SHA256: checksum, LastModified: time.Now(), Length: int64(len(body))}
	if rest, err := client.FetchFrom(context.Background(), callerWith(token), ref, 1000, identity); !errors.Is(err, upstream.ErrChanged) {
		t.Errorf("the rest of what is stored: %v", err)
		_ = rest.Close()
	}
}
