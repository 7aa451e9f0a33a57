package bucket

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// transport is a storage of one function.
type transport func(*http.Request) *http.Response

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r), nil }

// TestAStorageThatGivesNoPartsIsNotTakenForWrong has a proxy before the storage that takes ranges off requests, and one that gives another
// part than was asked for. The object is what it should be, and is read as a whole.
func TestAStorageThatGivesNoPartsIsNotTakenForWrong(t *testing.T) {
	body := bytes.Repeat([]byte("a part"), 1000)
	whole := http.Header{"Last-Modified": {time.Now().UTC().Format(http.TimeFormat)}}
	other := whole.Clone()
	other.Set("Content-Range", "bytes 0-999/6000")
	for name, answer := range map[string]func(*http.Request) (int, http.Header, []byte){
		"all of it":    func(*http.Request) (int, http.Header, []byte) { return http.StatusOK, whole, body },
		"another part": func(*http.Request) (int, http.Header, []byte) { return http.StatusPartialContent, other, body[:1000] },
	} {
		t.Run(name, func(t *testing.T) {
			b, err := New(Config{Name: "edges", AccessKey: "a", SecretKey: "b", Transport: transport(func(r *http.Request) *http.Response {
				status, header, sent := answer(r)
				if r.Header.Get("Range") == "" {
					status, header, sent = http.StatusOK, whole, body
				}
				header = header.Clone()
				header.Set("Content-Length", strconv.Itoa(len(sent)))
				return &http.Response{StatusCode: status, Header: header, Request: r, Body: io.NopCloser(bytes.NewReader(sent)), ContentLength: int64(len(sent))}
			})})
			if err != nil {
				t.Fatal(err)
			}
			content := contentOf(body)
			if _, err := b.OpenPart(t.Context(), content, 1000, 2000, b.FirstByte()); !errors.Is(err, ErrNoParts) {
				t.Errorf("a part: %v", err)
			}
			object, err := b.Open(t.Context(), content, 0, b.FirstByte())
			if err != nil {
				t.Fatal(err)
			}
			defer object.Close()
			if got, err := io.ReadAll(object); err != nil || !bytes.Equal(got, body) {
				t.Errorf("all of it: %d bytes, %v", len(got), err)
			}
		})
	}
}
