package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

var (
	fleetTime  = flag.Duration("fleet", 2500*time.Millisecond, "how long edges with one bucket work under faults")
	fleetEdges = flag.Int("fleet-edges", 3, "how many edges have one bucket")
	fleetSeed  = flag.Uint64("fleet-seed", 0, "what the callers and the faults do; 0 for another each time")
)

const (
	fleetFiles, fleetCallers = 24, 12
	// fleetMaxAge is how old a yes of GitLab's may be in these edges, and fleetMargin how much longer a download may show the content
	// before: it may have begun then, and the machine may be slow.
	fleetMaxAge = time.Second
	fleetMargin = 3 * time.Second
	// mostPuts is how often a blob is written at most, as long as nobody harms its object.
	mostPuts = 2
)

// TestEdgesWithOneBucketServeTheRightBytesUnderFaults has processes that publish and download at random, while the bucket fails in all
// ways, its objects are damaged and removed, and edges are killed and lose their disks.
func TestEdgesWithOneBucketServeTheRightBytesUnderFaults(t *testing.T) {
	for name, gitlab := range map[string]func(*testing.T) *gitlabtest.Server{
		"GitLab sends": naming, "GitLab redirects": func(t *testing.T) *gitlabtest.Server { return redirecting(t, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			if *fleetTime < 10*time.Second && name != "GitLab redirects" {
				t.Skip("only with -args -fleet=60s, as .ci/run does")
			}
			seed := *fleetSeed
			if seed == 0 {
				seed = rand.Uint64() //nolint:gosec // no secret
			}
			t.Logf("again with: -args -fleet=%s -fleet-edges=%d -fleet-seed=%d", *fleetTime, *fleetEdges, seed)
			f := newFleet(t, gitlab(t), seed)
			f.run(t)
			f.checkBucket(t)
			f.checkNewEdge(t)
		})
	}
}

// fleet is one run of the test.
type fleet struct {
	seed    uint64
	gitlab  *gitlabtest.Server
	storage *buckettest.Server
	edges   []*fleetEdge
	files   []*fleetFile

	// right counts downloads that were whole and right, failed all that brought no whole file, published uploads that GitLab took.
	right, failed, published atomic.Int64
	// harmed is how often each object was damaged or removed; of the run's one goroutine that does it, until that has ended.
	harmed map[string]int
}

func newFleet(t *testing.T, gitlab *gitlabtest.Server, seed uint64) *fleet {
	t.Helper()
	f := &fleet{seed: seed, gitlab: gitlab, storage: newSharedStore(t), harmed: make(map[string]int)}
	for i := range fleetFiles {
		file := &fleetFile{name: fmt.Sprintf("f%d.bin", i)}
		f.files = append(f.files, file)
		body := file.next(f.random(i))
		publishOld(gitlab, file.name, body)
		file.isPublished(body, true)
	}
	for range *fleetEdges {
		f.edges = append(f.edges, f.newEdge(t))
	}
	for _, e := range f.edges {
		e.start(t)
	}
	return f
}

func (f *fleet) random(i int) *rand.Rand {
	return rand.New(rand.NewPCG(f.seed, uint64(i))) //nolint:gosec // a test's; i isn't negative
}

// run has callers and faults at work until the time is over. All that failed is well again then.
func (f *fleet) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), *fleetTime)
	defer cancel()
	var working sync.WaitGroup
	for i := range fleetCallers {
		// Ends with ctx, after a last request.
		working.Go(func() { f.call(ctx, t, f.random(1000+i)) })
	}
	// Ends with ctx.
	working.Go(func() { f.harm(ctx, t, f.random(2000)) })
	working.Wait()
	f.storage.ClearFaults()
	t.Logf("%d downloads were right, %d failed, %d uploads; %d objects were harmed", f.right.Load(), f.failed.Load(), f.published.Load(), len(f.harmed))
	if f.right.Load() < int64(fleetFiles) || f.published.Load() == 0 {
		t.Errorf("only %d downloads and %d uploads", f.right.Load(), f.published.Load())
	}
}

// call downloads and publishes at random edges, and publishes first: on a slow machine there may be few calls.
func (f *fleet) call(ctx context.Context, t *testing.T, random *rand.Rand) {
	latest := time.Now().Add(*fleetTime + time.Minute)
	for first := true; ctx.Err() == nil || (f.right.Load() < fleetFiles && time.Now().Before(latest)); first = false {
		file, edge := f.files[random.IntN(len(f.files))], f.edges[random.IntN(len(f.edges))]
		if first || random.IntN(30) == 0 {
			f.publish(edge, file, random)
			continue
		}
		f.download(t, edge, file)
	}
}

func (f *fleet) publish(edge *fleetEdge, file *fleetFile, random *rand.Rand) {
	if !file.publishing.TryLock() {
		return
	}
	defer file.publishing.Unlock()
	body := file.next(random)
	request, err := http.NewRequest(http.MethodPut, edge.url+filePath(file.name), bytes.NewReader(body))
	if err != nil {
		panic(err) // of a URL of ours
	}
	request.Header.Set("Private-Token", developer)
	response, err := testClient.Do(request)
	taken := err == nil && response.StatusCode == http.StatusCreated
	if err == nil {
		_ = response.Body.Close()
	}
	file.isPublished(body, taken)
	if taken {
		f.published.Add(1)
	}
}

func (f *fleet) download(t *testing.T, edge *fleetEdge, file *fleetFile) {
	request, err := http.NewRequest(http.MethodGet, edge.url+filePath(file.name), nil)
	if err != nil {
		panic(err) // of a URL of ours
	}
	request.Header.Set("Private-Token", developer)
	begun := time.Now()
	response, err := testClient.Do(request)
	if err != nil {
		f.failed.Add(1) // the edge was killed
		return
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	switch {
	case err != nil || response.StatusCode != http.StatusOK:
		f.failed.Add(1)
	case !file.mayBe(hexSHA256(body), begun):
		t.Errorf("%s of %s: %d bytes that look whole and aren't the file's, or were replaced long ago", edge.url, file.name, len(body))
	default:
		f.right.Add(1)
	}
}

// harm has the bucket fail, and edges end, one thing after another.
func (f *fleet) harm(ctx context.Context, t *testing.T, random *rand.Rand) {
	for pause(ctx, time.Duration(random.IntN(400))*time.Millisecond) == nil {
		switch kind := random.IntN(12); kind {
		case 0, 1:
			f.harmObject(random)
		case 2:
			f.edges[random.IntN(len(f.edges))].kill()
		case 3:
			edge := f.edges[random.IntN(len(f.edges))]
			edge.kill()
			if err := os.RemoveAll(edge.directory); err != nil {
				t.Error(err)
			}
		default:
			fault := fleetFaults[random.IntN(len(fleetFaults))]
			fault.Times = 1 + random.IntN(3)
			f.storage.Inject(fault)
		}
		for _, edge := range f.edges {
			if edge.process == nil {
				edge.start(t)
			}
		}
	}
}

var fleetFaults = []buckettest.Fault{
	{Hang: true},
	{Status: http.StatusInternalServerError, Code: "InternalError"},
	{Status: http.StatusForbidden, Code: "AccessDenied"},
	{Method: http.MethodPut, Status: http.StatusInsufficientStorage, Code: "InsufficientStorage"},
	{Status: http.StatusServiceUnavailable, Code: "SlowDown"},
	{Method: http.MethodGet, CutAt: 1},
	{Method: http.MethodGet, CutAt: 50_000},
	{Method: http.MethodGet, HangAt: 30_000},
}

// harmObject removes one of the objects, or changes a byte of it.
func (f *fleet) harmObject(random *rand.Rand) {
	objects := f.storage.Objects("edge/blobs/")
	if len(objects) == 0 {
		return
	}
	name := objects[random.IntN(len(objects))]
	f.harmed[name]++
	if random.IntN(2) == 0 {
		f.storage.Delete(name)
		return
	}
	if body := f.storage.Get(name); len(body) > 0 {
		body[random.IntN(len(body))]++
		f.storage.Set(name, body, time.Now())
	}
}

// checkBucket waits until nothing is owed any more, and looks at what was written.
func (f *fleet) checkBucket(t *testing.T) {
	t.Helper()
	awaitWithin(t, 2*time.Minute, func() bool { // the storage may have asked several times in a row to be left alone
		owed := 0
		for _, edge := range f.edges {
			owed += edge.owed(t)
		}
		return owed == 0
	})
	puts := make(map[string]int)
	for _, request := range f.storage.Requests(http.MethodPut, "/blobs/") {
		if request.Status == http.StatusOK {
			puts[request.Path[len("/"+buckettest.Name+"/"):]]++
		}
	}
	times := make(map[int]int)
	for name, count := range puts {
		times[count]++
		if count > mostPuts+f.harmed[name] {
			t.Errorf("%s was written %d times, and harmed %d times", name, count, f.harmed[name])
		}
	}
	t.Logf("of %d blobs so many were written so often: %v", len(puts), times)
	wrong := 0
	for _, name := range f.storage.Objects("edge/blobs/") {
		if filepath.Base(name) == hexSHA256(f.storage.Get(name)) {
			continue
		}
		if wrong++; f.harmed[name] == 0 {
			t.Errorf("%s has other bytes, and nobody harmed it", name)
		}
	}
	t.Logf("%d objects that were harmed weren't read since", wrong)
}

// checkNewEdge starts another edge with an empty disk, which has the files without GitLab's sending them.
func (f *fleet) checkNewEdge(t *testing.T) {
	t.Helper()
	another := f.newEdge(t)
	another.start(t)
	f.storage.ResetRequests()
	for _, file := range f.files {
		f.download(t, another, file)
	}
	var shared int
	for _, request := range f.storage.Requests(http.MethodGet, "/blobs/") {
		if request.Status == http.StatusOK {
			shared++
		}
	}
	if shared == 0 {
		t.Error("it had no file from the bucket")
	}
	t.Logf("a new edge had %d of %d files from the bucket", shared, len(f.files))
}

// fleetFile is a file, with all that it may be.
type fleetFile struct {
	name string
	// publishing is held while somebody publishes it.
	publishing sync.Mutex
	// mu guards all below.
	mu sync.Mutex
	// versions are all bodies by their sums, each with the time when another one took its place for sure; zero for not yet.
	versions map[string]time.Time
}

// next is another body of it.
func (*fleetFile) next(random *rand.Rand) []byte {
	body := make([]byte, 70_000+random.IntN(1<<20))
	for i := range body[:64] {
		body[i] = byte(random.UintN(256)) //nolint:gosec // G115: it fits
	}
	return body
}

// isPublished notes that GitLab has taken a body, or may have.
func (f *fleetFile) isPublished(body []byte, taken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.versions == nil {
		f.versions = make(map[string]time.Time)
	}
	if taken {
		for sum, replaced := range f.versions {
			if replaced.IsZero() {
				f.versions[sum] = time.Now()
			}
		}
	}
	f.versions[hexSHA256(body)] = time.Time{}
}

// mayBe reports whether a download that began then may have brought that content. One of an upload that is under way is no version yet.
func (f *fleetFile) mayBe(sum string, begun time.Time) bool {
	f.publishing.Lock() // then the upload's end is known
	defer f.publishing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	replaced, ok := f.versions[sum]
	return ok && (replaced.IsZero() || replaced.After(begun.Add(-fleetMaxAge-fleetMargin)))
}

// fleetEdge is an edge in a process of its own.
type fleetEdge struct {
	url, admin, directory, config string

	// process and stdin are those of the process that runs, if one does; of one goroutine.
	process *exec.Cmd
	stdin   io.Closer
}

func (f *fleet) newEdge(t *testing.T) *fleetEdge {
	t.Helper()
	root, address, admin := t.TempDir(), freeAddress(t), freeAddress(t)
	e := &fleetEdge{url: "http://" + address, admin: "http://" + admin, directory: filepath.Join(root, "cache"), config: filepath.Join(root, "config.json")}
	caddyfile := fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https off
	storage file_system %s
	log default {
		output file %s
	}
}
http://%s {
	bind 127.0.0.1
	gitlab_packages %s {
		max_age %s
		grant_ttl %s
		%s
	}
}
`, admin, filepath.Join(root, "storage"), filepath.Join(root, "logs"), address, f.gitlab.URL, fleetMaxAge, fleetMaxAge, sharedOptions(e.directory, f.storage, ""))
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("adapting: %v\n%s", err, caddyfile)
	}
	if err := os.WriteFile(e.config, adapted, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.kill)
	return e
}

// start starts the process, and waits until it answers.
func (e *fleetEdge) start(t *testing.T) {
	t.Helper()
	e.process = exec.Command(os.Args[0]) //nolint:gosec // this very program
	e.process.Env = append(os.Environ(), edgeConfigVariable+"="+e.config)
	e.process.Stderr = os.Stderr
	stdin, err := e.process.StdinPipe() // while it is open, the process runs
	if err != nil {
		t.Error(err)
		return
	}
	e.stdin = stdin
	if err := e.process.Start(); err != nil {
		t.Error(err)
		return
	}
	await(t, func() bool {
		response, err := testClient.Get(e.url)
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil
	})
}

// kill ends the process at once, if there is one.
func (e *fleetEdge) kill() {
	if e.process == nil {
		return
	}
	_ = e.process.Process.Kill()
	_ = e.process.Wait() // with the error that it was killed
	_ = e.stdin.Close()
	e.process = nil
}

// owed is how many files the edge has still to write to the bucket.
func (e *fleetEdge) owed(t *testing.T) (owed int) {
	t.Helper()
	response, err := testClient.Get(e.admin + adminapi.Path + adminapi.CallStatus)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var status adminapi.Status
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	for _, store := range status.Stores {
		if store.Loading {
			owed++
		}
		owed += store.SharedStore.OwedFiles
	}
	return owed
}
