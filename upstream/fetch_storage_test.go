package upstream_test

import (
	"context"
	"crypto/md5" //nolint:gosec // what storages name
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// TestADamagedBodyIsNoticedByEachKindOfSum has a storage name the sum of a file and send it, or a damaged one, with or without its
// length.
func TestADamagedBodyIsNoticedByEachKindOfSum(t *testing.T) {
	body := fileOf(100_000)
	sha, long, short := sha256.Sum256(body), sha512.Sum512(body), md5.Sum(body) //nolint:gosec // as above
	crc := binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	encoded := base64.StdEncoding.EncodeToString
	for name, header := range map[string][2]string{
		"SHA-256": {"X-Amz-Checksum-Sha256", encoded(sha[:])},
		"SHA-512": {"Repr-Digest", "sha-512=:" + encoded(long[:]) + ":"},
		"CRC32C":  {"X-Goog-Hash", "crc32c=" + encoded(crc)},
		"MD5":     {"Content-Md5", encoded(short[:])},
	} {
		for _, damaged := range []bool{false, true} {
			for _, framing := range []string{"with its length", "in chunks"} {
				t.Run(name+" "+framing, func(t *testing.T) {
					sent := append([]byte(nil), body...)
					if damaged {
						sent[len(sent)-1] ^= 1
					}
					storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.URL.Path == "/" {
							return // the probe
						}
						w.Header().Set(header[0], header[1])
						w.Header().Set("Content-Disposition", "attachment")
						if framing == "with its length" {
							w.Header().Set("Content-Length", "100000")
						}
						_, _ = w.Write(sent)
					}))
					gitlab := httptest.NewServer(redirectsTo(storage.URL))
					client := newClient(t, gitlab.URL, nil, gitlab, storage)
					for _, verified := range []bool{false, true} {
						download, err := client.Fetch(context.Background(), callerWith(token), ref)
						if err != nil {
							t.Fatal(err)
						}
						download.Verified = verified
						if !download.HasSum() || (download.SHA256() != "") != (name == "SHA-256") {
							t.Errorf("a sum is known: %v, SHA-256 %q", download.HasSum(), download.SHA256())
						}
						got, err := io.ReadAll(download)
						_ = download.Close()
						// The reader compares a SHA-256 by itself, if it says so.
						noticed := damaged && (!verified || name != "SHA-256")
						if errors.Is(err, upstream.ErrChecksum) != noticed || (!noticed && err != nil) {
							t.Errorf("damaged: %v, verified by the reader: %v: %v", damaged, verified, err)
						}
						if noticed && framing == "with its length" && len(got) == len(body) {
							t.Error("the last bytes came all the same")
						}
					}
				})
			}
		}
	}
}

// TestASumIsTakenFromObjectStorageAlone: what stands before GitLab may name one of what it sends, and GitLab's own is stronger.
func TestASumIsTakenFromObjectStorageAlone(t *testing.T) {
	wrong := base64.StdEncoding.EncodeToString(make([]byte, md5.Size))
	answer := func(checksum string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if checksum != "" {
				w.Header().Set("X-Checksum-Sha256", checksum)
			}
			w.Header().Set("Content-MD5", wrong)
			aStoredFile(w, r)
		}
	}
	for name, test := range map[string]struct {
		checksum   string
		redirected bool
	}{"GitLab itself": {"", false}, "a storage, beside GitLab's checksum": {sums("a"), true}} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer(test.checksum))
			base := server
			if test.redirected {
				base = httptest.NewServer(redirectsTo(server.URL))
			}
			client := newClient(t, base.URL, nil, base, server)
			download, err := client.Fetch(context.Background(), callerWith(token), ref)
			if err != nil {
				t.Fatal(err)
			}
			defer download.Close()
			if got, err := io.ReadAll(download); err != nil || string(got) != "0123456789" || download.SHA256() != test.checksum {
				t.Errorf("%q, %v, SHA-256 %q", got, err, download.SHA256())
			}
		})
	}
}

// TestTroubleOfTheStorageIsNoRefusalOfGitLabs answers each way in which a storage gives no file.
func TestTroubleOfTheStorageIsNoRefusalOfGitLabs(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"refused":          answerWith(403),
		"not there":        answerWith(404),
		"not allowed":      answerWith(401),
		"too many":         answerWith(429),
		"broken":           answerWith(500),
		"a page":           answerWith(200, "Content-Type", "text/html; charset=utf-8"),
		"a page in XHTML":  answerWith(200, "Content-Type", "application/xhtml+xml"),
		"nothing":          answerWith(204),
		"a part of a page": answerWith(206, "Content-Type", "text/html", "Content-Range", "bytes 0-0/1"),
	} {
		t.Run(name, func(t *testing.T) {
			storage := httptest.NewServer(answer)
			gitlab := httptest.NewServer(redirectsTo(storage.URL))
			client := newClient(t, gitlab.URL, nil, gitlab, storage)
			_, err := client.Fetch(context.Background(), callerWith(token), ref)
			if trouble, ok := errors.AsType[*upstream.UnreachableError](err); !ok || trouble.Server != upstream.ServerStorage {
				t.Errorf("a fetch: %#v", err)
			}
			recorder, err := forwardsBy(http.MethodGet)(client, http.Header{"Private-Token": {token}}, "")
			if _, ok := errors.AsType[*upstream.UnreachableError](err); !ok || len(recorder.Header()) > 0 || recorder.Body.Len() > 0 {
				t.Errorf("forwarded: %v, %v", err, recorder.Header())
			}
		})
	}
}

// TestWhatAForwardedDownloadShowsOfTheStorage is what is about the file.
func TestWhatAForwardedDownloadShowsOfTheStorage(t *testing.T) {
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"X-Amz-Request-Id": "1", "Server": "AmazonS3", "Set-Cookie": "a=b", "Cache-Control": "public, max-age=9", "X-Amz-Meta-Key": "k",
			"Location": "https://s3.example.com/", "Strict-Transport-Security": "max-age=1", "Content-Type": "application/x-thing",
		} {
			w.Header().Set(name, value)
		}
		aStoredFile(w, r)
	}))
	gitlab := httptest.NewServer(redirectsTo(storage.URL))
	client := newClient(t, gitlab.URL, nil, gitlab, storage)
	recorder, err := forwardsBy(http.MethodGet)(client, http.Header{}, "")
	if err != nil || recorder.Body.String() != "0123456789" {
		t.Fatalf("%v, %q", err, recorder.Body)
	}
	want := map[string]string{
		"Accept-Ranges": "bytes", "Content-Disposition": "attachment", "Content-Length": "10", "Content-Type": "application/x-thing", "Etag": `"1"`,
		"Last-Modified": lastModified, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff",
	}
	for name := range recorder.Header() {
		if _, known := want[name]; !known && name != "Date" {
			t.Errorf("%s is shown", name)
		}
	}
	for name, value := range want {
		if recorder.Header().Get(name) != value {
			t.Errorf("%s: %q, want %q", name, recorder.Header().Get(name), value)
		}
	}
}

// TestAnAnswerThatNobodyAskedForIsNoDownload: a tool that is content with such a status would take nothing for the file.
func TestAnAnswerThatNobodyAskedForIsNoDownload(t *testing.T) {
	for name, test := range map[string]struct {
		status  int
		header  http.Header
		relayed bool
	}{
		"204":                             {204, http.Header{}, false},
		"205":                             {205, http.Header{}, false},
		"206 without a range":             {206, http.Header{}, false},
		"206 of a range":                  {206, http.Header{"Range": {"bytes=0-0"}}, true},
		"304 without a condition":         {304, http.Header{}, false},
		"304 of a tag":                    {304, http.Header{"If-None-Match": {`"1"`}}, true},
		"304 of a date":                   {304, http.Header{"If-Modified-Since": {lastModified}}, true},
		"304 with a condition of another": {304, http.Header{"If-Match": {`"1"`}}, false},
		"404":                             {404, http.Header{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := httptest.NewServer(answerWith(test.status, "X-Sendfile", "/var/opt/gitlab/x", "X-Its-Own", "yes"))
			client := newClient(t, gitlab.URL, nil, gitlab)
			recorder, err := forwardsBy(http.MethodGet)(client, test.header, "")
			if relayed := recorder.Header().Get("X-Its-Own") == "yes"; relayed != test.relayed {
				t.Errorf("relayed: %v, %v", relayed, err)
			}
			if recorder.Header().Get("X-Sendfile") != "" {
				t.Error("a path on GitLab's disk is shown")
			}
		})
	}
}
