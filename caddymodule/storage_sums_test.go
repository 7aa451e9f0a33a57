package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// redirecting starts a GitLab that sends callers to its object storage, which names sums.
func redirecting(t *testing.T, sums func(gitlabtest.Content) http.Header) *gitlabtest.Server {
	t.Helper()
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	gitlab.SetStorageSums(sums)
	return gitlab
}

// base64SHA256 is the SHA-256 of a file as headers have it.
func base64SHA256(content gitlabtest.Content) string {
	sum, _ := hex.DecodeString(gitlabtest.SHA256(content)) // it is hex
	return base64.StdEncoding.EncodeToString(sum)
}

// base64SHA512 is the like.
func base64SHA512(content gitlabtest.Content) string {
	sum := sha512.New()
	_, _ = io.Copy(sum, content.NewReader()) // from memory
	return base64.StdEncoding.EncodeToString(sum.Sum(nil))
}

// storageSums are the ways in which storages name the sum of a whole file.
var storageSums = map[string]func(gitlabtest.Content) http.Header{
	"Google":                    gitlabtest.GoogleSums,
	"Google, a composed object": gitlabtest.GoogleCompositeSum,
	"Azure":                     gitlabtest.AzureSum,
	"Amazon":                    gitlabtest.AmazonSum,
	"Amazon, CRC32C": func(content gitlabtest.Content) http.Header {
		return http.Header{"X-Amz-Checksum-Crc32c": {strings.TrimPrefix(gitlabtest.GoogleSums(content)["X-Goog-Hash"][0], "crc32c=")}}
	},
	"Repr-Digest": func(content gitlabtest.Content) http.Header {
		return http.Header{"Repr-Digest": {"sha-256=:" + base64SHA256(content) + ":"}}
	},
	"Repr-Digest, SHA-512": func(content gitlabtest.Content) http.Header {
		return http.Header{"Repr-Digest": {"sha-512=:" + base64SHA512(content) + ":"}}
	},
	"Digest": func(content gitlabtest.Content) http.Header {
		return http.Header{"Digest": {"SHA-256=" + base64SHA256(content)}}
	},
	"Digest, MD5": func(content gitlabtest.Content) http.Header {
		return http.Header{"Digest": {"MD5=" + gitlabtest.AzureSum(content)["Content-Md5"][0]}}
	},
}

// TestADamagedBodyFromObjectStorageIsNeverServedWhole damages one body of a large file, which has begun when that is seen, and
// one of a small file, whose caller gets a second try.
func TestADamagedBodyFromObjectStorageIsNeverServedWhole(t *testing.T) {
	for name, sums := range storageSums {
		t.Run(name, func(t *testing.T) {
			gitlab := redirecting(t, sums)
			e := startEdge(t, gitlab.URL, "")
			before := series(t)
			large, small := someBytes(1<<20, 1), someBytes(10_000, 2)
			publishOld(gitlab, "large.bin", large)
			publishOld(gitlab, "small.bin", small)
			release := make(chan struct{})
			gitlab.Inject(gitlabtest.Fault{CorruptAt: 1000, StallAfter: 200_000, Release: release})
			response, err := e.begin(call{path: filePath("large.bin"), token: developer})
			if err != nil {
				t.Fatal(err)
			}
			close(release) // its head is here, so it can't begin anew
			got, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err == nil || len(got) >= len(large) {
				t.Errorf("a damaged body looks whole: %s, %d bytes", response.Status, len(got))
			}
			awaitNoFlight(t)
			expectGrown(t, before, map[string]float64{"checksum_failures_total": 1, "stored_bytes_total": 0})
			e.mustGet(t, "large.bin", developer, large)
			gitlab.Inject(gitlabtest.Fault{CorruptAt: 9_999})
			e.mustGet(t, "small.bin", developer, small)
			awaitNoFlight(t)
			expectGrown(t, before, map[string]float64{"checksum_failures_total": 2})
			gitlab.ResetRequests()
			e.mustGet(t, "large.bin", developer, large)
			e.mustGet(t, "small.bin", developer, small)
			if n := gitlab.CountFetches(); n != 0 {
				t.Errorf("%d fetches of what is stored", n)
			}
		})
	}
}

// TestADamagedBodyFromObjectStorageThatIsNotStoredBreaksOffAsWell has a file that is too large to be stored.
func TestADamagedBodyFromObjectStorageThatIsNotStoredBreaksOffAsWell(t *testing.T) {
	for name, sums := range storageSums {
		t.Run(name, func(t *testing.T) {
			gitlab := redirecting(t, sums)
			e := storesAtMost1MiB(t, gitlab.URL)
			body := someBytes(2<<20, 1)
			publishOld(gitlab, "app.bin", body)
			gitlab.Inject(gitlabtest.Fault{CorruptAt: 1000})
			got := e.do(t, call{path: filePath("app.bin"), token: developer})
			if got.err == nil || len(got.body) > len(body)-verifiedHeldBack {
				t.Errorf("looks whole: %s, %d bytes; %s", got.Status, len(got.body), got.cacheStatus())
			}
			if got := e.mustGet(t, "app.bin", developer, body); strings.Contains(got.cacheStatus(), "stored") {
				t.Error(got.cacheStatus())
			}
		})
	}
}

// TestAFileThatTheObjectStorageHoldsDamagedIsRefusedAndCostsFewFetches has every body wrong.
func TestAFileThatTheObjectStorageHoldsDamagedIsRefusedAndCostsFewFetches(t *testing.T) {
	gitlab := redirecting(t, gitlabtest.GoogleSums)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(10_000, 1)
	publishOld(gitlab, "app.bin", body)
	gitlab.Inject(gitlabtest.Fault{CorruptAt: 500, Times: -1})
	got := e.do(t, call{path: filePath("app.bin"), token: developer})
	if got.StatusCode != http.StatusBadGateway || fetchesOf(gitlab, "app.bin") > maxBroken {
		t.Errorf("%s after %d fetches", got.Status, fetchesOf(gitlab, "app.bin"))
	}
	if !strings.Contains(e.log(t), "isn't the one that the object storage named (CRC32C)") {
		t.Error("the log doesn't tell why")
	}
	gitlab.ClearFaults()
	awaitNoFlight(t)
	putForward(restFor)
	e.mustGet(t, "app.bin", developer, body)
}

// TestWhatIsNoSumOfTheFileKeepsNobodyFromIt has a storage name what can't be compared with the bytes.
func TestWhatIsNoSumOfTheFileKeepsNobodyFromIt(t *testing.T) {
	wrong := base64.StdEncoding.EncodeToString(make([]byte, sha256.Size))
	for name, header := range map[string]http.Header{
		"malformed":      {"X-Goog-Hash": {"crc32c=,md5"}, "Content-Md5": {"?"}, "Repr-Digest": {"sha-256=::"}, "Digest": {"SHA-256="}},
		"of parts":       {"X-Amz-Checksum-Sha256": {wrong}, "X-Amz-Checksum-Type": {"COMPOSITE"}},
		"numbered":       {"X-Amz-Checksum-Sha256": {wrong + "-2"}},
		"stored encoded": {"X-Goog-Hash": {"crc32c=AAAAAA=="}, "X-Goog-Stored-Content-Encoding": {"gzip"}},
		"an entity tag":  {"Etag": {`"d41d8cd98f00b204e9800998ecf8427e"`}},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := redirecting(t, func(gitlabtest.Content) http.Header { return header })
			e := startEdge(t, gitlab.URL, "")
			body := someBytes(200_000, 1)
			publishOld(gitlab, "app.bin", body)
			for range 2 {
				e.mustGet(t, "app.bin", developer, body)
			}
		})
	}
}

// TestABodyThatIsResumedIsComparedAsAWhole cuts bodies, and damages one of them in the part that comes second.
func TestABodyThatIsResumedIsComparedAsAWhole(t *testing.T) {
	for name, sums := range storageSums {
		t.Run(name, func(t *testing.T) {
			gitlab := redirecting(t, sums)
			e := startEdge(t, gitlab.URL, "")
			body := someBytes(1<<20, 1)
			publishOld(gitlab, "app.bin", body)
			publishOld(gitlab, "bad.bin", body[1:])
			gitlab.Inject(gitlabtest.Fault{CutAfter: 500_000})
			e.mustGet(t, "app.bin", developer, body)
			gitlab.Inject(gitlabtest.Fault{CutAfter: 500_000})
			gitlab.Inject(gitlabtest.Fault{CorruptAt: 600_000})
			got := e.do(t, call{path: filePath("bad.bin"), token: developer})
			if got.err == nil || len(got.body) >= len(body)-1 {
				t.Errorf("looks whole: %s, %d bytes", got.Status, len(got.body))
			}
			e.mustGet(t, "bad.bin", developer, body[1:])
		})
	}
}

// TestASumOfTheStorageJoinsNoFiles has a storage name one file's sums for another one.
func TestASumOfTheStorageJoinsNoFiles(t *testing.T) {
	one, other := someBytes(10_000, 1), someBytes(10_000, 2)
	for name, sums := range storageSums {
		t.Run(name, func(t *testing.T) {
			gitlab := redirecting(t, func(gitlabtest.Content) http.Header { return sums(gitlabtest.Bytes(one)) })
			e := startEdge(t, gitlab.URL, "")
			publishOld(gitlab, "one.bin", one)
			publishOld(gitlab, "other.bin", other)
			e.mustGet(t, "one.bin", developer, one)
			got := e.do(t, call{path: filePath("other.bin"), token: developer})
			if got.StatusCode != http.StatusBadGateway || bytes.Contains(got.body, one[:16]) {
				t.Errorf("%s, %d bytes", got.Status, len(got.body))
			}
		})
	}
}

// TestASumShowsWhatNoFramingShows has bodies in chunks, and bodies that end with their connections, damaged or cut short, and
// one that is short by its own word.
func TestASumShowsWhatNoFramingShows(t *testing.T) {
	for name, sums := range map[string]func(gitlabtest.Content) http.Header{"CRC32C": gitlabtest.GoogleSums, "SHA-256": gitlabtest.AmazonSum} {
		for kind, fault := range map[string]gitlabtest.Fault{
			"chunked, damaged":  {Chunked: true, CorruptAt: 1000},
			"unframed, damaged": {Unframed: true, CorruptAt: 1000},
			"unframed, cut":     {Unframed: true, CutAfter: 500_000},
			"short, as it says": {ClaimLength: 500_000},
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				gitlab := redirecting(t, sums)
				e := startEdge(t, gitlab.URL, "")
				body := someBytes(1<<20, 1)
				publishOld(gitlab, "app.bin", body)
				gitlab.Inject(fault)
				if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.err == nil && !bytes.Equal(got.body, body) {
					t.Errorf("looks whole: %s, %d bytes", got.Status, len(got.body))
				}
				fault.CorruptAt, fault.CutAfter, fault.ClaimLength = 0, 0, 0
				gitlab.Inject(fault)
				e.mustGet(t, "app.bin", developer, body)
			})
		}
	}
}
