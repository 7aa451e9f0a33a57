package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// countingTransport counts the requests that go by it.
type countingTransport struct {
	http.Transport

	requests atomic.Int64
}

func (c *countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	return c.Transport.RoundTrip(r)
}

// withParts gives a client transports for parts.
func withParts(t *testing.T, base string, servers ...interface{ Close() }) (client *upstream.Client, gitlab, storage *countingTransport) {
	t.Helper()
	gitlab, storage = new(countingTransport), new(countingTransport)
	client = newClient(t, base, func(c *upstream.Config) { c.PartTransport, c.PartStorageTransport = gitlab, storage }, servers...)
	t.Cleanup(func() {
		gitlab.CloseIdleConnections()
		storage.CloseIdleConnections()
	})
	return client, gitlab, storage
}

var bigBody = bytes.Repeat([]byte("0123456789abcdef"), 64<<10)

// mustFetch begins a download that may have parts.
func mustFetch(t *testing.T, client *upstream.Client) *upstream.Download {
	t.Helper()
	d, err := client.Fetch(context.Background(), callerWith(token), ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if !d.HasParts() {
		t.Fatalf("it has no parts: %+v", d.Identity)
	}
	d.Verified = true
	return d
}

func readPart(t *testing.T, d *upstream.Download, from, until int64) ([]byte, error) {
	t.Helper()
	part := d.Part(t.Context(), from, until)
	defer part.Close()
	return io.ReadAll(part)
}

func TestPartsComeFromWhereTheFileDoes(t *testing.T) {
	for name, mode := range map[string]gitlabtest.Mode{"GitLab's disk": gitlabtest.LocalDisk, "through GitLab": gitlabtest.Proxied, "the storage": gitlabtest.Redirect} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetMode(mode)
			gitlab.SetChecksums(true)
			gitlab.Publish(24, "pkg", "1.0.0", "app.bin", bigBody)
			client, toGitLab, toStorage := withParts(t, gitlab.URL, gitlab)
			d := mustFetch(t, client)
			first := make([]byte, 1000)
			if _, err := io.ReadFull(d, first); err != nil {
				t.Fatal(err)
			}
			var parts sync.WaitGroup
			for from := int64(1000); from < int64(len(bigBody)); from += 200_000 {
				parts.Go(func() {
					until := min(from+200_000, int64(len(bigBody)))
					if got, err := readPart(t, d, from, until); err != nil || !bytes.Equal(got, bigBody[from:until]) {
						t.Errorf("from %d on: %d bytes, %v", from, len(got), err)
					}
				})
			}
			parts.Wait()
			wantGitLab, wantStorage := int64(6), int64(0)
			if mode == gitlabtest.Redirect {
				wantGitLab, wantStorage = 0, 6
			}
			if toGitLab.requests.Load() != wantGitLab || toStorage.requests.Load() != wantStorage {
				t.Errorf("%d parts of GitLab, %d of the storage", toGitLab.requests.Load(), toStorage.requests.Load())
			}
			if mode == gitlabtest.Redirect && gitlab.Count(http.MethodGet) != 1 {
				t.Errorf("GitLab heard %d requests", gitlab.Count(http.MethodGet))
			}
		})
	}
}

func TestWhatNamesNoContentExactlyHasNoParts(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.Publish(24, "pkg", "1.0.0", "app.bin", bigBody)
	client, _, _ := withParts(t, gitlab.URL, gitlab)
	d, err := client.Fetch(context.Background(), callerWith(token), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.HasParts() {
		t.Errorf("%+v", d.Identity)
	}
}

// partServer is a GitLab that names an entity tag, and answers parts in its own way.
func partServer(answer http.HandlerFunc) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Disposition", "attachment")
		w.Header().Set("Etag", `"1"`)
		if r.Header.Get("Range") != "" {
			answer(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bigBody))
	}))
}

func TestAPartIsTakenOnlyIfItIsOne(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
		ends   bool
	}{
		"all of it": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bigBody) }, upstream.ErrNoParts, true},
		"all of another": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Etag", `"2"`)
			_, _ = w.Write(bigBody)
		}, upstream.ErrChanged, false},
		"another tag": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"2"`)
			r.Header.Del("If-Range")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bigBody))
		}, upstream.ErrChanged, false},
		"a weak tag": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `W/"1"`)
			r.Header.Del("If-Range")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bigBody))
		}, upstream.ErrNoParts, true},
		"of a file of unknown length": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 1000-1999/*")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(bigBody[1000:2000])
		}, upstream.ErrNoParts, true},
		"of a longer file": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 1000-1999/99999999")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(bigBody[1000:2000])
		}, upstream.ErrChanged, false},
		"encoded": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bigBody))
		}, upstream.ErrNoParts, true},
		"no tag": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Del("Etag")
			r.Header.Del("If-Range")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bigBody))
		}, upstream.ErrNoParts, true},
		"another length": {func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(append(bytes.Clone(bigBody), 'x')))
		}, upstream.ErrChanged, false},
		"another place": {func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", "bytes=5-9")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bigBody))
		}, upstream.ErrNoParts, true},
		"more than was asked for": {func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", strings.TrimRight(r.Header.Get("Range"), "0123456789"))
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bigBody))
		}, upstream.ErrNoParts, true},
		"too many requests": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, nil, true},
		"slow down":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			server := partServer(func(w http.ResponseWriter, r *http.Request) {
				asked++
				if r.Header.Get("If-Range") != `"1"` {
					t.Errorf("If-Range: %q", r.Header.Get("If-Range"))
				}
				test.answer(w, r)
			})
			client, _, _ := withParts(t, server.URL, server)
			got, err := readPart(t, mustFetch(t, client), 1000, 2000)
			if len(got) > 0 || err == nil || (test.want != nil && !errors.Is(err, test.want)) || upstream.EndsParts(err) != test.ends {
				t.Errorf("%d bytes, %v; ends parts: %v", len(got), err, upstream.EndsParts(err))
			}
			if asked != 1 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

func TestAPartThatBreaksOffGoesOnFromItsByte(t *testing.T) {
	var ranges []string
	server := partServer(func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range"))
		if len(ranges) == 1 {
			w.Header().Set("Content-Range", "bytes 1000-1999/1048576")
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(bigBody[1000:1300])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bigBody))
	})
	client, _, _ := withParts(t, server.URL, server)
	got, err := readPart(t, mustFetch(t, client), 1000, 2000)
	if err != nil || !bytes.Equal(got, bigBody[1000:2000]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if len(ranges) != 2 || ranges[0] != "bytes=1000-1999" || ranges[1] != "bytes=1300-1999" {
		t.Errorf("asked for %v", ranges)
	}
}

// TestAnExpiredURLIsRenewedOnceForAllParts lets the signature's life pass between the first answer and the parts.
func TestAnExpiredURLIsRenewedOnceForAllParts(t *testing.T) {
	var ahead atomic.Int64
	gitlab := newGitLab(t, gitlabtest.WithSignatureLife(10*time.Second))
	gitlab.SetClock(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	gitlab.SetMode(gitlabtest.Redirect)
	gitlab.Publish(24, "pkg", "1.0.0", "app.bin", bigBody)
	client, _, _ := withParts(t, gitlab.URL, gitlab)
	d := mustFetch(t, client)
	for range 2 {
		ahead.Add(int64(time.Minute))
		gitlab.ResetRequests()
		var parts sync.WaitGroup
		for i := range int64(8) {
			parts.Go(func() {
				if got, err := readPart(t, d, i*100_000, (i+1)*100_000); err != nil || !bytes.Equal(got, bigBody[i*100_000:(i+1)*100_000]) {
					t.Errorf("part %d: %d bytes, %v", i, len(got), err)
				}
			})
		}
		parts.Wait()
		if asked := gitlab.Count(http.MethodGet); asked != 1 {
			t.Errorf("GitLab was asked %d times", asked)
		}
	}
}

// TestADownloadGoesOnBehindWhatPartsBrought reads the beginning, takes in a part, and reads the rest, whose sum the storage has named.
func TestADownloadGoesOnBehindWhatPartsBrought(t *testing.T) {
	for name, wrong := range map[string]bool{"right": false, "wrong": true} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetMode(gitlabtest.Redirect)
			gitlab.SetStorageSums(gitlabtest.GoogleSums)
			gitlab.Publish(24, "pkg", "1.0.0", "app.bin", bigBody)
			client, _, _ := withParts(t, gitlab.URL, gitlab)
			d := mustFetch(t, client)
			got := make([]byte, 1000)
			if _, err := io.ReadFull(d, got); err != nil {
				t.Fatal(err)
			}
			taken, err := readPart(t, d, 1000, 500_000)
			if err != nil {
				t.Fatal(err)
			}
			if wrong {
				taken[5]++
			}
			if err := d.TakeIn(taken); err != nil || d.IsOpen() || d.Offset() != 500_000 {
				t.Errorf("%v, at %d", err, d.Offset())
			}
			rest, err := io.ReadAll(d)
			if wrong {
				if !errors.Is(err, upstream.ErrChecksum) {
					t.Errorf("%d bytes, %v", len(rest), err)
				}
				return
			}
			if got = append(append(got, taken...), rest...); err != nil || !bytes.Equal(got, bigBody) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// TestADownloadPassesOverWhatAPartBrought has the body that is open bring the same bytes, and others.
func TestADownloadPassesOverWhatAPartBrought(t *testing.T) {
	other := bytes.Clone(bigBody[:500_000])
	other[400_000]++
	for name, test := range map[string]struct {
		brought []byte
		want    error
		asked   int // how often GitLab was, in the end
	}{"the same": {bigBody[:500_000], nil, 1}, "others": {other, upstream.ErrChanged, 1}} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetChecksums(true)
			gitlab.Publish(24, "pkg", "1.0.0", "app.bin", bigBody)
			client, _, _ := withParts(t, gitlab.URL, gitlab)
			d := mustFetch(t, client)
			if err := d.PassOver(test.brought); !errors.Is(err, test.want) {
				t.Fatalf("%v, want %v", err, test.want)
			}
			if test.want == nil {
				if got, err := io.ReadAll(d); err != nil || !bytes.Equal(got, bigBody[500_000:]) {
					t.Errorf("behind it: %d bytes, %v", len(got), err)
				}
			}
			if asked := gitlab.Count(http.MethodGet); asked != test.asked {
				t.Errorf("GitLab was asked %d times", asked)
			}
		})
	}
}
