package upstream_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// brokenAt is where the first answer of these tests breaks off.
const brokenAt = 250_000

// lastModified is long ago, so that it names a content together with a length.
var (
	lastModifiedTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	lastModified     = lastModifiedTime.Format(http.TimeFormat)
)

// answersInTurn serves a body's beginning with these headers, then cuts the line; whatever is asked for after that is answered by
// rest. asked returns the headers of all requests but the probe's.
func answersInTurn(t *testing.T, body []byte, first http.Header, rest http.HandlerFunc) (server *httptest.Server, asked func() []http.Header) {
	t.Helper()
	var mu sync.Mutex // guards requests
	var requests []http.Header
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isProbe(r) {
			return // of GitLab or of the storage
		}
		mu.Lock()
		requests = append(requests, r.Header.Clone())
		isFirst := len(requests) == 1
		mu.Unlock()
		w.Header().Set("Content-Disposition", "attachment")
		if !isFirst {
			rest(w, r)
			return
		}
		for name := range first {
			w.Header().Set(name, first.Get(name))
		}
		_, _ = w.Write(body[:brokenAt])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	return server, func() []http.Header {
		mu.Lock()
		defer mu.Unlock()
		return requests
	}
}

// aPart answers by a part of a body, with these headers besides.
func aPart(header http.Header, contentRange string, part []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name := range header {
			w.Header().Set(name, header.Get(name))
		}
		if contentRange != "" {
			w.Header().Set("Content-Range", contentRange)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(part)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(part)
	}
}

// allOf answers by a whole body.
func allOf(header http.Header, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name := range header {
			w.Header().Set(name, header.Get(name))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}
}

// TestOnlyTheRestOfTheSameContentIsJoinedToABeginning answers the second request in many ways. Whatever isn't the rest ends the
// body, and no byte of it is given out.
func TestOnlyTheRestOfTheSameContentIsJoinedToABeginning(t *testing.T) {
	body := fileOf(1 << 20)
	size := len(body)
	other := bytes.Repeat([]byte("other"), size/5+1)[:size]
	tag := http.Header{"Etag": {`"1"`}}
	sum, otherSum := http.Header{"X-Checksum-Sha256": {sums("a")}}, http.Header{"X-Checksum-Sha256": {sums("b")}}
	dated, otherwiseDated := http.Header{"Last-Modified": {lastModified}}, http.Header{"Last-Modified": {time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC).Format(http.TimeFormat)}}
	span := func(from, to, total int) string { return fmt.Sprintf("bytes %d-%d/%d", from, to-1, total) }
	rest := func(from int) string { return span(from, size, size) }
	for name, test := range map[string]struct {
		first  http.Header
		answer http.HandlerFunc
		joined bool
	}{
		"the rest":                          {tag, aPart(tag, rest(brokenAt), body[brokenAt:]), true},
		"the rest by its checksum":          {sum, aPart(sum, rest(brokenAt), body[brokenAt:]), true},
		"the rest by its date and length":   {dated, aPart(dated, rest(brokenAt), body[brokenAt:]), true},
		"all of it, whose beginning is cut": {tag, allOf(tag, body), true},

		"a part from the beginning on":        {tag, aPart(tag, rest(0), body), false},
		"a part from a byte before":           {tag, aPart(tag, rest(brokenAt-1), body[brokenAt-1:]), false},
		"a part from a byte behind":           {tag, aPart(tag, rest(brokenAt+1), body[brokenAt+1:]), false},
		"a part of no range":                  {tag, aPart(tag, "", body[brokenAt:]), false},
		"a part of a malformed range":         {tag, aPart(tag, "bytes x-/y", body[brokenAt:]), false},
		"a part of a range in other units":    {tag, aPart(tag, "lines 250000-/1048576", body[brokenAt:]), false},
		"a part of a longer file":             {tag, aPart(tag, span(brokenAt, size, size+1), body[brokenAt:]), false},
		"a part of a shorter file":            {tag, aPart(tag, span(brokenAt, size-1, size-1), body[brokenAt:size-1]), false},
		"a part of a file of no known length": {tag, aPart(tag, fmt.Sprintf("bytes %d-%d/*", brokenAt, size-1), body[brokenAt:]), false},
		"a part of another tag's":             {tag, aPart(http.Header{"Etag": {`"2"`}}, rest(brokenAt), other[brokenAt:]), false},
		"a part of a weak tag's":              {tag, aPart(http.Header{"Etag": {`W/"1"`}}, rest(brokenAt), other[brokenAt:]), false},
		"a part that names nothing":           {tag, aPart(nil, rest(brokenAt), other[brokenAt:]), false},
		"a part of another checksum's":        {sum, aPart(otherSum, rest(brokenAt), other[brokenAt:]), false},
		"a part of another date's":            {dated, aPart(otherwiseDated, rest(brokenAt), other[brokenAt:]), false},
		"a part that is encoded":              {tag, aPart(http.Header{"Etag": {`"1"`}, "Content-Encoding": {"gzip"}}, rest(brokenAt), other[brokenAt:]), false},

		"all of another tag's":      {tag, allOf(http.Header{"Etag": {`"2"`}}, other), false},
		"all of another checksum's": {sum, allOf(otherSum, other), false},
		"all of a longer file":      {tag, allOf(tag, append(bytes.Clone(body), 'x')), false},
		"all of a shorter file":     {tag, allOf(tag, body[:size-1]), false},
		"all of it, encoded":        {tag, allOf(http.Header{"Etag": {`"1"`}, "Content-Encoding": {"gzip"}}, body), false},
		"no such range":             {tag, answerWith(416, "Content-Range", "bytes */1"), false},
	} {
		t.Run(name, func(t *testing.T) {
			first := test.first.Clone()
			first.Set("Content-Length", strconv.Itoa(size))
			server, asked := answersInTurn(t, body, first, test.answer)
			client := newClient(t, server.URL, nil, server)
			download, err := client.Fetch(context.Background(), callerWith(token), ref)
			if err != nil {
				t.Fatal(err)
			}
			defer download.Close()
			got, err := io.ReadAll(download)
			switch {
			case test.joined && (err != nil || !bytes.Equal(got, body) || download.Resumed != 1):
				t.Errorf("%d bytes of which all are right: %v; %v, resumed %d times", len(got), bytes.Equal(got, body), err, download.Resumed)
			case !test.joined && (!errors.Is(err, upstream.ErrChanged) || !bytes.Equal(got, body[:brokenAt])):
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if len(asked()) != 2 {
				t.Errorf("asked %d times: what has changed is asked for no more", len(asked()))
			}
		})
	}
}

// TestARestIsAskedForFromItsByteAndOnlyOfTheSameContent looks at what a server is asked that could tell a changed file.
func TestARestIsAskedForFromItsByteAndOnlyOfTheSameContent(t *testing.T) {
	body := fileOf(1 << 20)
	for name, test := range map[string]struct {
		header  http.Header
		ifRange string
	}{
		"a strong tag":             {http.Header{"Etag": {`"1"`}}, `"1"`},
		"a strong tag and a date":  {http.Header{"Etag": {`"1"`}, "Last-Modified": {lastModified}}, `"1"`},
		"a date":                   {http.Header{"Last-Modified": {lastModified}}, lastModified},
		"a weak tag and a date":    {http.Header{"Etag": {`W/"1"`}, "Last-Modified": {lastModified}}, lastModified},
		"a checksum, and no other": {http.Header{"X-Checksum-Sha256": {sums("a")}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			first := test.header.Clone()
			first.Set("Content-Length", strconv.Itoa(len(body)))
			rest := aPart(test.header, fmt.Sprintf("bytes %d-%d/%d", brokenAt, len(body)-1, len(body)), body[brokenAt:])
			server, asked := answersInTurn(t, body, first, rest)
			client := newClient(t, server.URL, nil, server)
			download, err := client.Fetch(context.Background(), callerWith(token), ref)
			if err != nil {
				t.Fatal(err)
			}
			defer download.Close()
			if got, err := io.ReadAll(download); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			again := asked()[1]
			if again.Get("Range") != "bytes=250000-" || again.Get("If-Range") != test.ifRange || again.Get("Private-Token") != token {
				t.Errorf("asked for the rest with %v", again)
			}
		})
	}
}

// TestAFetchTakesNothingButAWholeFile: what isn't the file's own bytes is told, and a part is none.
func TestAFetchTakesNothingButAWholeFile(t *testing.T) {
	body := fileOf(1000)
	part := httptest.NewServer(aPart(http.Header{"Content-Disposition": {"attachment"}, "Etag": {`"1"`}}, "bytes 0-999/2000", body))
	client := newClient(t, part.URL, nil, part)
	if download, err := client.Fetch(context.Background(), callerWith(token), ref); err == nil {
		_ = download.Close()
		t.Error("a part that nobody asked for is taken for the file")
	}
	for name, test := range map[string]struct {
		encoding string
		storable bool
	}{"plain": {"", true}, "identity": {"identity", true}, "in other letters": {"Identity", true}, "gzip": {"gzip", false}, "zstd": {"zstd", false}} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Disposition", "attachment")
				if test.encoding != "" {
					w.Header().Set("Content-Encoding", test.encoding)
				}
				if test.encoding == "gzip" {
					compressed := gzip.NewWriter(w)
					_, _ = compressed.Write(body)
					_ = compressed.Close()
					return
				}
				_, _ = w.Write(body)
			}))
			client := newClient(t, server.URL, nil, server)
			download, err := client.Fetch(context.Background(), callerWith(token), ref)
			if err != nil {
				t.Fatal(err)
			}
			defer download.Close()
			if download.Storable() != test.storable || (download.ContentEncoding == "") != test.storable {
				t.Errorf("storable: %v, encoded by %q", download.Storable(), download.ContentEncoding)
			}
		})
	}
}

// sums is a SHA-256 of one digit.
func sums(digit string) string { return string(bytes.Repeat([]byte(digit), 64)) }
