package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// honestBody is the content of a file, which tells its name and version in all of its pieces.
func honestBody(file string, version, size int) []byte {
	line := fmt.Appendf(nil, "%s: %s, version %d\n", honestMarker, file, version)
	return append(bytes.Repeat(line, size/len(line)+1)[:size], line...)
}

// byPathPrefix begins the names of files that are asked for by the project's path instead of its number.
const byPathPrefix = "bypath"

func honestPath(file string) string {
	if strings.HasPrefix(file, byPathPrefix) {
		return "/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/" + file
	}
	return filePath(file)
}

// honestFileOf is the honest callers' file that a path names.
func honestFileOf(path string) (file string, ok bool) {
	for _, prefix := range []string{filePath(""), honestPath(byPathPrefix)} {
		if rest, found := strings.CutPrefix(path, prefix); found && prefix == filePath("") {
			return rest, true
		} else if found {
			return byPathPrefix + rest, true
		}
	}
	return "", false
}

// maxColdFiles bounds the files that are published beside the edge in one run.
const maxColdFiles = 400

// honestFiles are those that GitLab has, beside those that callers publish themselves. Safe for concurrent use.
type honestFiles struct {
	gitlab *gitlabtest.Server
	stored map[string][]byte // never changes

	// mu guards all below.
	mu   sync.Mutex
	cold map[string][]byte
	got  map[string]bool // the cold files that somebody has downloaded
}

func newHonestFiles(gitlab *gitlabtest.Server) *honestFiles {
	files := &honestFiles{gitlab: gitlab, stored: make(map[string][]byte), cold: make(map[string][]byte), got: make(map[string]bool)}
	for i := range 24 {
		file, size := fmt.Sprintf("stored%d.bin", i), 1000<<(i%11)
		if i%6 == 5 {
			file = byPathPrefix + file
		}
		files.stored[file] = honestBody(file, 0, size)
		publishOld(gitlab, file, files.stored[file])
	}
	return files
}

// newCold has GitLab get a file that the edge hasn't seen. When there are enough of them it is an older one.
func (f *honestFiles) newCold(random *rand.Rand) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	number := len(f.cold)
	if number >= maxColdFiles {
		return coldName(random.IntN(number))
	}
	file := coldName(number)
	f.cold[file] = honestBody(file, 0, 500+random.IntN(150_000))
	publishOld(f.gitlab, file, f.cold[file])
	return file
}

func coldName(number int) string { return fmt.Sprintf("cold%d.bin", number) }

// newestCold is the cold file that was published last; attackers want it as well.
func (f *honestFiles) newestCold() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return coldName(max(0, len(f.cold)-1))
}

func (f *honestFiles) note(file string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got[file] = true
}

// isFetched reports whether the edge must have fetched a file once.
func (f *honestFiles) isFetched(file string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got[file] || f.stored[file] != nil
}

// all returns a copy of what GitLab has.
func (f *honestFiles) all() map[string][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := maps.Clone(f.stored)
	maps.Copy(all, f.cold)
	return all
}

func (f *honestFiles) body(file string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if body, ok := f.cold[file]; ok {
		return body
	}
	return f.stored[file]
}

// honestCaller is one CI job that keeps its connections.
type honestCaller struct {
	load    *hostileLoad
	number  int
	token   string
	address string
	client  *http.Client
	calls   int
	// versions counts the publishes of each file of its own, which only this caller publishes.
	versions map[string]int
}

func newHonestCaller(l *hostileLoad, number int) *honestCaller {
	return &honestCaller{
		load: l, number: number, token: fmt.Sprintf("glpat-honest%d", number), address: fmt.Sprintf("192.0.2.%d", number+1),
		client:   &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: time.Minute},
		versions: make(map[string]int),
	}
}

// maxVersions bounds the publishes of one caller.
const maxVersions = 60

// act does one thing of those that CI jobs do.
func (h *honestCaller) act(t *testing.T, random *rand.Rand) {
	switch random.IntN(8) {
	case 0, 1:
		h.download(t, h.load.files.newCold(random), random.IntN(3))
	case 2:
		file := fmt.Sprintf("own%d-%d.bin", h.number, random.IntN(4))
		published := 0
		for _, versions := range h.versions {
			published += versions
		}
		if published < maxVersions {
			h.publish(t, file)
		}
		if h.versions[file] > 0 {
			h.expect(t, file, h.body(file), random.IntN(2))
		}
	default:
		file := fmt.Sprintf("stored%d.bin", random.IntN(24))
		if h.load.files.stored[file] == nil {
			file = byPathPrefix + file
		}
		h.download(t, file, random.IntN(5))
	}
}

// body is the content of a file of its own.
func (h *honestCaller) body(file string) []byte {
	return honestBody(file, h.versions[file], 1000+h.versions[file]*7919%200_000)
}

// The ways to ask for a file: most numbers are plain downloads.
const (
	plainDownload = iota
	headOnly
	someRange
)

func (h *honestCaller) download(t *testing.T, file string, how int) {
	t.Helper()
	h.expect(t, file, h.load.files.body(file), how)
	if how != headOnly {
		h.load.files.note(file)
	}
}

// publish uploads the next version of a file of its own.
func (h *honestCaller) publish(t *testing.T, file string) {
	t.Helper()
	h.versions[file]++
	response, answer, err := h.send(http.MethodPut, file, nil, bytes.NewReader(h.body(file))) //nolint:bodyclose // send closes it
	if err != nil || response.StatusCode != http.StatusCreated {
		t.Errorf("publishing %s: %s", file, describeAnswer(response, answer, err))
	}
}

// expect asks for a file and makes sure that it is the right one.
func (h *honestCaller) expect(t *testing.T, file string, want []byte, how int) {
	t.Helper()
	method, status, header := http.MethodGet, http.StatusOK, http.Header{}
	switch how {
	case headOnly:
		method = http.MethodHead
	case someRange:
		header.Set("Range", "bytes=100-199")
		status, want = http.StatusPartialContent, want[100:200]
	}
	response, got, err := h.send(method, file, header, nil) //nolint:bodyclose // send closes it
	switch {
	case err != nil, response.StatusCode != status:
		t.Errorf("%s %s: %s", method, file, describeAnswer(response, got, err))
	case how == headOnly && response.ContentLength != int64(len(want)):
		t.Errorf("HEAD %s: length %d, want %d", file, response.ContentLength, len(want))
	case how != headOnly && !bytes.Equal(got, want):
		t.Errorf("%s: %d bytes %.80q, want %d bytes %.80q; %v", file, len(got), got, len(want), want, response.Header["Cache-Status"])
	}
}

func (h *honestCaller) send(method, file string, header http.Header, body io.Reader) (*http.Response, []byte, error) {
	h.calls++
	request, err := http.NewRequest(method, h.load.edge.url+honestPath(file), body)
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(request.Header, header)
	request.Header.Set("Private-Token", h.token)
	request.Header.Set("X-Forwarded-For", h.address)
	response, err := h.client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	return response, got, err
}

func describeAnswer(response *http.Response, body []byte, err error) string {
	if response == nil {
		return err.Error()
	}
	return fmt.Sprintf("%s, %v, %v; %.200q", response.Status, response.Header["Cache-Status"], err, body)
}
