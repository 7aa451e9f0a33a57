package upstream_test

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what a storage names
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// brokenOff fetches a file whose body breaks off, without further tries, and returns how far it has come.
func brokenOff(t *testing.T, client *upstream.Client) upstream.Progress {
	t.Helper()
	download, err := client.Fetch(context.Background(), callerWith(token), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer download.Close()
	if got, err := io.ReadAll(download); err == nil || len(got) != brokenAt {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	return download.Progress()
}

// withoutRetries leaves it to the test to ask for the rest.
func withoutRetries(c *upstream.Config) { c.Retries = 0 }

// TestARemainderOfWhatOthersWereGivenIsNamedByMoreThanItsTime: a date and a length prove nothing there.
func TestARemainderOfWhatOthersWereGivenIsNamedByMoreThanItsTime(t *testing.T) {
	body := fileOf(1 << 20)
	span := fmt.Sprintf("bytes %d-%d/%d", brokenAt, len(body)-1, len(body))
	tag, sum, dated := http.Header{"Etag": {`"1"`}}, http.Header{"X-Checksum-Sha256": {sums("a")}}, http.Header{"Last-Modified": {lastModified}}
	for name, test := range map[string]struct {
		first  http.Header
		answer http.HandlerFunc
		exact  bool
		// from is where the rest begins; -1 if there is none.
		from int64
	}{
		"by a tag":              {tag, aPart(tag, span, body[brokenAt:]), true, brokenAt},
		"by a checksum":         {sum, aPart(sum, span, body[brokenAt:]), true, brokenAt},
		"all by a tag":          {tag, allOf(tag, body), true, 0},
		"by date and length":    {dated, aPart(dated, span, body[brokenAt:]), false, -1},
		"all by its date":       {dated, allOf(dated, body), false, -1},
		"by another tag":        {tag, aPart(http.Header{"Etag": {`"2"`}}, span, body[brokenAt:]), true, -1},
		"by another checksum":   {sum, aPart(http.Header{"X-Checksum-Sha256": {sums("b")}}, span, body[brokenAt:]), true, -1},
		"by nothing":            {sum, aPart(nil, span, body[brokenAt:]), true, -1},
		"from another offset":   {tag, aPart(tag, fmt.Sprintf("bytes 0-%d/%d", len(body)-1, len(body)), body), true, -1},
		"of another length":     {tag, aPart(tag, fmt.Sprintf("bytes %d-%d/%d", brokenAt, len(body), len(body)+1), body[brokenAt:]), true, -1},
		"all, another length":   {tag, allOf(tag, body[1:]), true, -1},
		"beyond the file's end": {tag, answerWith(416, "Content-Range", "bytes */7"), true, -1},
	} {
		t.Run(name, func(t *testing.T) {
			first := test.first.Clone()
			first.Set("Content-Length", strconv.Itoa(len(body)))
			first.Set("Content-Disposition", `attachment; filename="first"`)
			server, _ := answersInTurn(t, body, first, test.answer)
			client := newClient(t, server.URL, withoutRetries, server)
			progress := brokenOff(t, client)
			if progress.Offset() != brokenAt || progress.IsExact() != test.exact {
				t.Fatalf("%d bytes have come, exactly: %v", progress.Offset(), progress.IsExact())
			}
			rest, err := client.FetchRemainder(context.Background(), callerWith(token), ref, progress)
			if test.from < 0 {
				if !errors.Is(err, upstream.ErrChanged) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer rest.Close()
			if rest.Offset() != test.from || (rest.Resumed == 1) != (test.from > 0) || rest.Length != int64(len(body)) {
				t.Errorf("from byte %d of %d on, resumed %d times", rest.Offset(), rest.Length, rest.Resumed)
			}
			if got, err := io.ReadAll(rest); err != nil || !bytes.Equal(got, body[test.from:]) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// TestASumOfTheStoragesHoldsOverSeveralFetches has it named by the first, and the beginning or the rest damaged.
func TestASumOfTheStoragesHoldsOverSeveralFetches(t *testing.T) {
	body := fileOf(1 << 20)
	sum := md5.Sum(body) //nolint:gosec // as above
	tag := http.Header{"Etag": {`"1"`}}
	damaged := func(at int) []byte {
		other := bytes.Clone(body)
		other[at] ^= 1
		return other
	}
	span := fmt.Sprintf("bytes %d-%d/%d", brokenAt, len(body)-1, len(body))
	for name, test := range map[string]struct {
		first  []byte
		answer http.HandlerFunc
		right  bool
	}{
		"all is right":             {body, aPart(tag, span, body[brokenAt:]), true},
		"all of it comes":          {body, allOf(tag, body), true},
		"the beginning is damaged": {damaged(7), aPart(tag, span, body[brokenAt:]), false},
		"the rest is damaged":      {body, aPart(tag, span, damaged(brokenAt + 7)[brokenAt:]), false},
		"the last byte is damaged": {body, aPart(tag, span, damaged(len(body) - 1)[brokenAt:]), false},
		"all of it comes, damaged": {body, allOf(tag, damaged(7)), false},
		"all comes in its place":   {damaged(7), allOf(tag, body), true},
	} {
		t.Run(name, func(t *testing.T) {
			first := http.Header{
				"Etag": {`"1"`}, "Content-Length": {strconv.Itoa(len(body))}, "Content-Md5": {base64.StdEncoding.EncodeToString(sum[:])},
			}
			storage, _ := answersInTurn(t, test.first, first, test.answer)
			gitlab := httptest.NewServer(redirectsTo(storage.URL))
			client := newClient(t, gitlab.URL, withoutRetries, gitlab, storage)
			rest, err := client.FetchRemainder(context.Background(), callerWith(token), ref, brokenOff(t, client))
			if err != nil {
				t.Fatal(err)
			}
			defer rest.Close()
			if !rest.HasSum() {
				t.Error("the sum is forgotten")
			}
			got, err := io.ReadAll(rest)
			if (err == nil) != test.right || (!test.right && !errors.Is(err, upstream.ErrChecksum)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// TestABodyGoesOnInTheNameOfSomebodyWhoMayStillReadIt has GitLab refuse the rest to the first caller.
func TestABodyGoesOnInTheNameOfSomebodyWhoMayStillReadIt(t *testing.T) {
	body := fileOf(1 << 20)
	tag := http.Header{"Etag": {`"1"`}, "Content-Length": {strconv.Itoa(len(body))}}
	const other = "glpat-of-another"
	for name, test := range map[string]struct {
		status  int
		another bool
		// goesOn says that the body comes whole, by whom the last request is, and ended that the first caller's grant ends.
		goesOn bool
		by     string
		ended  bool
	}{
		"another goes on":               {401, true, true, other, true},
		"another goes on after a 403":   {403, true, true, other, true},
		"there is no other":             {401, false, false, token, true},
		"too many requests aren't a no": {429, true, true, token, false},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			server, requests := answersInTurn(t, body, tag, func(w http.ResponseWriter, r *http.Request) {
				if asked++; asked == 1 {
					w.Header().Del("Content-Disposition")
					w.WriteHeader(test.status)
					return
				}
				aPart(http.Header{"Etag": {`"1"`}}, fmt.Sprintf("bytes %d-%d/%d", brokenAt, len(body)-1, len(body)), body[brokenAt:])(w, r)
			})
			client := newClient(t, server.URL, nil, server)
			download, err := client.Fetch(context.Background(), callerWith(token), ref)
			if err != nil {
				t.Fatal(err)
			}
			defer download.Close()
			ended := false
			download.OnRefused = func(caller upstream.Caller, refused *upstream.RefusedError) {
				sent := http.Header{}
				caller.Credential.AddTo(sent)
				ended = sent.Get("Private-Token") == token && refused.Status == test.status
			}
			download.OtherCaller = func() (upstream.Caller, bool) { return callerWith(other), test.another }
			got, err := io.ReadAll(download)
			if (err == nil) != test.goesOn || (test.goesOn && !bytes.Equal(got, body)) || ended != test.ended {
				t.Errorf("%d bytes, %v; a grant was ended: %v", len(got), err, ended)
			}
			if _, refused := errors.AsType[*upstream.RefusedError](err); !test.goesOn && !refused {
				t.Errorf("the reason isn't GitLab's no: %v", err)
			}
			all := requests()
			if last := all[len(all)-1]; last.Get("Private-Token") != test.by {
				t.Errorf("the last request was made as %q", last.Get("Private-Token"))
			}
		})
	}
}
