package caddymodule

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

var (
	partsTime = flag.Duration("parts", 200*time.Millisecond, "how long files that come in parts are downloaded under faults, in each of GitLab's modes")
	partsSeed = flag.Uint64("parts-seed", 0, "what the callers and the faults do; 0 for another each time")
)

const (
	partsCallers = 10
	// partsMaxAge is how old a yes of GitLab's may be in this edge, and partsMargin how much longer a download may show what was current
	// before: it follows a fetch that has begun then, over a line that is slow and breaks.
	partsMaxAge = time.Second
	partsMargin = 8 * time.Second
	// janitorsPace is how often a store's janitor tries again to remove what couldn't be removed. Shorter runs don't wait for it.
	janitorsPace = 30 * time.Second
	// partsFrom is from which length on files have parts, and partsStep how long these are.
	partsFrom, partsStep = 1 << 20, 512 << 10
)

// partsSizes have their end, the beginning of what is held back, and the bound of what has parts at, just before and just behind the
// bounds of parts.
var partsSizes = []int{
	partsFrom - 1, partsFrom, partsFrom + 1, 2<<20 + 64<<10, 2<<20 + 64<<10 - 1, 3<<20 - 1, 4 << 20, 5<<20 + 12345,
}

// TestFilesInPartsAreRightUnderFaults has callers who download, ask for ranges, leave and publish at random, while GitLab and its storage
// fail in all ways at any part, the disk fails, tokens lose their rights, and the edge is reloaded and stopped. Whoever got a whole answer
// has the right bytes, and in the end nothing is left of it all.
func TestFilesInPartsAreRightUnderFaults(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (gitlab *gitlabtest.Server, storage, corrupts bool){
		"GitLab sends":             func(t *testing.T) (*gitlabtest.Server, bool, bool) { return naming(t), false, false },
		"GitLab sends wrong bytes": func(t *testing.T) (*gitlabtest.Server, bool, bool) { return naming(t), false, true },
		"GitLab passes on": func(t *testing.T) (*gitlabtest.Server, bool, bool) {
			gitlab := newGitLab(t) // names an entity tag, and no sum
			gitlab.SetMode(gitlabtest.Proxied)
			return gitlab, false, false
		},
		"GitLab redirects": func(t *testing.T) (*gitlabtest.Server, bool, bool) { return redirecting(t, nil), true, false },
		"GitLab redirects to wrong bytes": func(t *testing.T) (*gitlabtest.Server, bool, bool) {
			return redirecting(t, gitlabtest.GoogleSums), true, true
		},
		"GitLab redirects to what expires": func(t *testing.T) (*gitlabtest.Server, bool, bool) {
			gitlab := newGitLab(t, gitlabtest.WithSignatureLife(time.Second))
			gitlab.SetMode(gitlabtest.Redirect)
			return gitlab, true, false
		},
	} {
		t.Run(name, func(t *testing.T) {
			if *partsTime < time.Second && name != "GitLab redirects to wrong bytes" {
				t.Skip("only with -args -parts=20s, as .ci/run does")
			}
			gitlab, storage, corrupts := start(t)
			c := newPartFaults(t, gitlab, storage, corrupts, nil)
			c.run(t)
			c.checkEnd(t)
		})
	}
	// What the bucket has is compared before it looks whole, and so is a range of it.
	t.Run("a bucket has wrong bytes", func(t *testing.T) {
		if *partsTime < time.Second {
			t.Skip("only with -args -parts=20s, as .ci/run does")
		}
		c := newPartFaults(t, naming(t), false, false, newSharedStore(t))
		c.run(t)
		c.checkEnd(t)
	})
}

// partFaults is one run of the test.
type partFaults struct {
	seed   uint64
	gitlab *gitlabtest.Server
	// storage says that the bytes come from the object storage, and corrupts that some are wrong. The whole file's sum is known then, and
	// what was compared with it is right: no range of a file on its way in, and nothing that streams uncached.
	storage, corrupts bool
	bucket            *buckettest.Server // nil for none
	disk              *cachetest.FailingFS
	edge              *edge
	directory         string
	files             []*partsFile
	before            map[string]float64

	// lostRights is since when jobToken may read nothing, in Unix nanoseconds; 0 while it may.
	lostRights atomic.Int64
	// right counts answers that were whole and right, failed all that weren't whole, published uploads that GitLab took.
	statuses                                  sync.Map
	right, ranges, failed, published, reloads atomic.Int64
}

func newPartFaults(t *testing.T, gitlab *gitlabtest.Server, storage, corrupts bool, bucket *buckettest.Server) *partFaults {
	t.Helper()
	seed := *partsSeed
	if seed == 0 {
		seed = rand.Uint64() //nolint:gosec // no secret
	}
	t.Logf("again with: -args -parts=%s -parts-seed=%d", *partsTime, seed)
	withSmallParts(t)
	setForTest(t, &process.storagePart, partsStep)
	setForTest(t, &process.gitLabPart, partsStep)
	setForTest(t, &process.rangePatience, time.Second)
	c := &partFaults{
		seed: seed, gitlab: gitlab, storage: storage, corrupts: corrupts, disk: cachetest.NewFailingFS(nil), directory: t.TempDir(), bucket: bucket,
	}
	process.fileSystem = c.disk
	t.Cleanup(func() { process.fileSystem = nil }) // after the edge has ended
	for i, size := range partsSizes {
		file := &partsFile{name: fmt.Sprintf("f%d.bin", i), size: size}
		c.files = append(c.files, file)
		version := file.next(c.random(i))
		publishOld(gitlab, file.name, version.body(size))
		file.isPublished(version, true)
	}
	gitlab.SetConnectionRate(2 << 20)
	if bucket != nil {
		bucket.SetConnectionRate(2 << 20)
	}
	c.edge = startEdge(t, gitlab.URL, c.options(4))
	c.before = series(t)
	return c
}

// options are the edge's with so many connections. Not all of the files fit into its cache.
func (c *partFaults) options(connections int) string {
	shared := ""
	if c.bucket != nil {
		shared = fmt.Sprintf(`shared_store s3://%s/edge {
				endpoint %s
				access_key key
				secret_key {env.S3_SECRET_KEY}
				secret {env.EDGES_SECRET}
				first_byte 300ms
			}`, buckettest.Name, c.bucket.URL)
	}
	return fmt.Sprintf(`cache %s {
			max_size 14MiB
			min_free 0
			memory 1MiB
			%s
		}
		fetch_connections %d
		fetch_parallel_from %d
		fetch_connections_total 12
		retries 2
		range_wait 256KiB
		header_timeout 500ms
		check_timeout 500ms
		stall_timeout 300ms
		max_age %s
		grant_ttl %s
		offline_grace 0`, c.directory, shared, connections, partsFrom, partsMaxAge, partsMaxAge)
}

func (c *partFaults) random(i int) *rand.Rand {
	return rand.New(rand.NewPCG(c.seed, uint64(i))) //nolint:gosec // a test's; i isn't negative
}

// run has callers and faults at work until the time is over. All that failed is well again then.
func (c *partFaults) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), *partsTime)
	defer cancel()
	var working sync.WaitGroup
	for i := range partsCallers {
		// Ends soon after ctx.
		working.Go(func() { c.call(ctx, t, c.random(1000+i)) })
	}
	// Ends with ctx.
	working.Go(func() { c.harm(ctx, t, c.random(2000)) })
	working.Wait()
	c.gitlab.ClearFaults()
	if c.bucket != nil {
		c.bucket.ClearFaults()
		c.bucket.SetConnectionRate(0)
	}
	// On a slow machine, or with a fault at the wrong time, there may be little yet to look at.
	c.load(t, 4)
	c.edge.awaitOneListener(t)
	c.gitlab.SetConnectionRate(2 << 20)
	random := c.random(3000)
	for latest := time.Now().Add(time.Minute); time.Now().Before(latest) &&
		(c.right.Load() == 0 || since(t, c.before)["parts_total "+string(partArrived)] == 0); c.forgetRests() {
		file := c.files[len(c.files)-1]
		c.publishPastTheEdge(file, random)
		_ = pause(t.Context(), partsMaxAge)
		c.downloadAs(t, file, developer, "", false, random)
	}
	c.gitlab.SetConnectionRate(0)
	c.gitlab.SetRole(jobToken, project, gitlabtest.Developer)
	c.lostRights.Store(0)
	c.disk.Heal()
}

func (c *partFaults) call(ctx context.Context, t *testing.T, random *rand.Rand) {
	for ; ctx.Err() == nil; _ = pause(ctx, time.Duration(random.IntN(20))*time.Millisecond) {
		file := c.files[random.IntN(len(c.files))]
		token := []string{developer, colleague, jobToken}[random.IntN(3)]
		switch kind := random.IntN(40); {
		case kind == 0:
			c.publish(file, random)
		case kind == 1:
			c.publishPastTheEdge(file, random)
		case kind < 4:
			c.downloadAs(t, file, outsider, "", false, random)
		case kind < 8:
			c.downloadAs(t, file, token, "", true, random)
		case kind < 20:
			c.downloadAs(t, file, token, partsRange(file.size, random), random.IntN(6) == 0, random)
		default:
			c.downloadAs(t, file, token, "", false, random)
		}
	}
}

// partsRange is a range of all kinds: within a part, over the bounds of several, at the file's end, and several of these.
func partsRange(size int, random *rand.Rand) string {
	one := func() string {
		switch start := random.IntN(size); random.IntN(6) {
		case 0:
			return fmt.Sprintf("-%d", 1+random.IntN(128<<10))
		case 1:
			return fmt.Sprintf("%d-", start)
		case 2: // around the bound of a part
			bound := partsStep * (1 + random.IntN(max(size/partsStep, 1)))
			return fmt.Sprintf("%d-%d", max(bound-10, 0), bound+10)
		case 3: // around what is held back
			return fmt.Sprintf("%d-%d", size-64<<10-10, size-64<<10+10)
		default:
			return fmt.Sprintf("%d-%d", start, start+random.IntN(1<<20))
		}
	}
	if random.IntN(8) == 0 {
		return "bytes=" + one() + ", " + one()
	}
	return "bytes=" + one()
}

// downloadAs asks for a file, or a range of it, and checks what comes; leaves says that the caller doesn't stay to the end.
func (c *partFaults) downloadAs(t *testing.T, file *partsFile, token, asked string, leaves bool, random *rand.Rand) {
	header, method := http.Header{}, http.MethodGet
	if asked != "" {
		header.Set("Range", asked)
	} else if random.IntN(12) == 0 {
		method = http.MethodHead
	}
	begun, lost := time.Now(), c.lostRights.Load()
	response, err := c.edge.begin(call{method: method, path: filePath(file.name), token: token, header: header})
	if err != nil {
		c.failed.Add(1) // the edge was stopped
		return
	}
	defer response.Body.Close()
	gave := response.StatusCode == http.StatusOK || response.StatusCode == http.StatusPartialContent
	switch {
	case !gave:
		c.failed.Add(1)
		count, _ := c.statuses.LoadOrStore(response.Status, new(atomic.Int64))
		count.(*atomic.Int64).Add(1)
		return
	case token == outsider:
		t.Errorf("%s of %s is given to a stranger", asked, file.name)
		return
	case token == jobToken && lost != 0 && c.lostRights.Load() == lost && begun.Sub(time.Unix(0, lost)) > partsMaxAge+time.Second:
		t.Errorf("%s of %s is given to who has lost the right to it %s ago", asked, file.name, begun.Sub(time.Unix(0, lost)))
		return
	case method == http.MethodHead:
		if response.ContentLength != int64(file.size) && !c.corrupts {
			t.Errorf("HEAD of %s names %d bytes", file.name, response.ContentLength)
		}
		return
	case leaves:
		_, _ = io.CopyN(io.Discard, response.Body, random.Int64N(int64(file.size)))
		return
	}
	body, err := io.ReadAll(response.Body)
	switch status := response.Header.Get("Cache-Status"); {
	case err != nil:
		c.failed.Add(1)
	case c.corrupts && !strings.Contains(status, "; hit") && (response.StatusCode == http.StatusPartialContent || !strings.Contains(status, "; stored")):
	case response.StatusCode == http.StatusOK:
		if !file.mayBe(begun, []filePiece{{0, body}}) || len(body) != file.size {
			t.Errorf("%s: %d bytes of %d that look whole and aren't the file's, or were replaced long ago (%q, %s)", file.name, len(body), file.size, asked, status)
			return
		}
		c.right.Add(1)
	default:
		pieces, err := piecesOf(response.Header, body)
		if err != nil || !file.mayBe(begun, pieces) {
			t.Errorf("%s of %s: %d bytes that aren't the file's, or were replaced long ago: %v (%s)", asked, file.name, len(body), err, status)
			return
		}
		c.ranges.Add(1)
	}
}

func (c *partFaults) publish(file *partsFile, random *rand.Rand) {
	if !file.publishing.TryLock() {
		return
	}
	defer file.publishing.Unlock()
	version := file.next(random)
	response, err := c.edge.begin(call{method: http.MethodPut, path: filePath(file.name), token: developer, body: bytes.NewReader(version.body(file.size))})
	taken := err == nil && response.StatusCode == http.StatusCreated
	if err == nil {
		_ = response.Body.Close()
	}
	file.isPublished(version, taken)
	if taken {
		c.published.Add(1)
	}
}

// publishPastTheEdge gives GitLab another content of the same length, of which the edge hears nothing.
func (c *partFaults) publishPastTheEdge(file *partsFile, random *rand.Rand) {
	if !file.publishing.TryLock() {
		return
	}
	defer file.publishing.Unlock()
	version := file.next(random)
	c.gitlab.Publish(project, "pkg", "1.0.0", file.name, version.body(file.size))
	file.isPublished(version, true)
}

// harm has GitLab, its storage, the disk and the edge fail, one thing after another.
func (c *partFaults) harm(ctx context.Context, t *testing.T, random *rand.Rand) {
	disk := func() {}
	for pause(ctx, time.Duration(random.IntN(250))*time.Millisecond) == nil {
		disk()
		disk = func() {}
		c.forgetRests()
		switch kind := random.IntN(40); {
		case kind == 0 && !c.corrupts && *partsTime >= janitorsPace:
			// After that the rest comes from GitLab, which nobody compares. A part that couldn't be removed waits for the janitor.
			c.disk.Fail(random.IntN(5), 1+random.IntN(3), []error{syscall.ENOSPC, syscall.EIO}[random.IntN(2)])
			disk = c.disk.Heal
		case kind == 1:
			if err := caddy.Stop(); err != nil {
				t.Error(err)
			}
			c.load(t, 4)
		case kind < 4:
			c.load(t, []int{1, 2, 4, 8}[random.IntN(4)])
		case kind == 4:
			c.gitlab.ClearFaults()
		case kind == 5:
			c.gitlab.SetConnectionRate(int64(1+random.IntN(4)) << 20)
		case kind == 6 && c.lostRights.Load() == 0:
			c.gitlab.SetRole(jobToken, project, gitlabtest.NoRole)
			c.lostRights.Store(time.Now().UnixNano())
		case kind < 9:
			if lost := c.lostRights.Load(); lost != 0 && time.Since(time.Unix(0, lost)) > partsMaxAge+2*time.Second {
				c.lostRights.Store(0)
				c.gitlab.SetRole(jobToken, project, gitlabtest.Developer)
			}
		case c.bucket != nil && kind < 28:
			c.harmBucket(random)
		default:
			c.gitlab.Inject(c.someFault(random))
		}
	}
}

// harmBucket has the bucket fail, or changes a byte of one of its objects.
func (c *partFaults) harmBucket(random *rand.Rand) {
	if objects := c.bucket.Objects("edge/blobs/"); len(objects) > 0 && random.IntN(2) == 0 {
		name := objects[random.IntN(len(objects))]
		if body := c.bucket.Get(name); len(body) > 0 {
			body[random.IntN(len(body))]++
			c.bucket.Set(name, body, time.Now())
		}
		return
	}
	fault := fleetFaults[random.IntN(len(fleetFaults))]
	fault.Times = 1 + random.IntN(3)
	c.bucket.Inject(fault)
}

// someFault is a fault of the next few downloads' answers, be they parts or not.
func (c *partFaults) someFault(random *rand.Rand) gitlabtest.Fault {
	at := int64(1 + random.IntN(2<<20))
	faults := []gitlabtest.Fault{
		{CutAfter: at},
		{CutEach: at},
		{StallAfter: at},
		{Reset: true},
		{Hang: true},
		{IgnoreRange: true},
		{Latency: time.Duration(random.IntN(200)) * time.Millisecond},
		{Status: http.StatusTooManyRequests},
		{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"1"}}},
		{Status: http.StatusInternalServerError},
		{Status: http.StatusForbidden},
		{Status: http.StatusNotFound},
		{Status: http.StatusUnauthorized},
		{Header: http.Header{"Etag": {`W/"weak"`}}},
		{Header: http.Header{"Accept-Ranges": {"none"}}},
	}
	if c.corrupts {
		faults = append(faults, gitlabtest.Fault{CorruptAt: at}, gitlabtest.Fault{ClaimLength: at})
	}
	fault := faults[random.IntN(len(faults))]
	fault.Method, fault.Times = http.MethodGet, 1+random.IntN(3)
	fault.Storage = c.storage && random.IntN(4) > 0
	return fault
}

// load reloads the edge, or starts it again. The address may still be another's.
func (c *partFaults) load(t *testing.T, connections int) {
	t.Helper()
	if err := caddy.Load(c.edge.config(c.options(connections)), true); err != nil {
		t.Error(err)
	}
	c.reloads.Add(1)
}

// forgetRests has servers asked for parts again that wanted fewer requests, or gave none: else the test would soon have no parts.
func (*partFaults) forgetRests() {
	servers := process.partServers
	servers.mu.Lock()
	defer servers.mu.Unlock()
	for _, server := range servers.known.Values() {
		server.mu.Lock()
		server.restUntil, server.noneUntil = time.Time{}, time.Time{}
		server.mu.Unlock()
	}
}

// checkEnd looks at what is left when all faults are over: files that are right, and nothing else.
func (c *partFaults) checkEnd(t *testing.T) {
	t.Helper()
	t.Logf("%d files and %d ranges were right, %d failed, %d uploads, %d reloads", c.right.Load(), c.ranges.Load(), c.failed.Load(), c.published.Load(), c.reloads.Load())
	awaitNoFlight(t)
	grown := since(t, c.before)
	c.statuses.Range(func(status, count any) bool {
		t.Logf("%s: %d", status, count.(*atomic.Int64).Load())
		return true
	})
	for _, result := range allPartResults {
		t.Logf("%g parts %s", grown["parts_total "+string(result)], result)
	}
	if grown["parts_total "+string(partArrived)] == 0 || c.right.Load() == 0 {
		t.Error("no part has arrived, or no file")
	}
	for _, file := range c.files {
		got := answer{}
		await(t, func() bool { // GitLab's breaker, or a file that rests, may want a moment
			begun := time.Now()
			got = c.edge.do(t, call{path: filePath(file.name), token: developer})
			return got.StatusCode == http.StatusOK && got.err == nil && file.mayBe(begun, []filePiece{{0, got.body}})
		})
	}
	awaitNoFlight(t)
	isClear := func() bool {
		stats := runningState().store.Load().Stats()
		return stats.Fills == 0 && stats.Reserved == 0 && stats.Lingering == 0
	}
	for latest := time.Now().Add(janitorsPace); *partsTime >= janitorsPace && !isClear() && time.Now().Before(latest); {
		_ = pause(t.Context(), 100*time.Millisecond)
	}
	await(t, isClear)
	if stats := runningState().store.Load().Stats(); stats.Copies != 0 || stats.CopyBytes != 0 {
		t.Errorf("%+v", stats)
	}
	if parts, _ := filepath.Glob(filepath.Join(c.directory, "fills", "*")); len(parts) > runningState().store.Load().Stats().Beginnings {
		t.Errorf("left behind: %q", parts)
	}
	servers := process.partServers
	servers.mu.Lock()
	defer servers.mu.Unlock()
	if left := servers.underWay.Load(); left != 0 {
		t.Errorf("%d parts are counted that are over", left)
	}
	for _, server := range servers.known.Values() {
		server.mu.Lock()
		if len(server.users) != 0 || server.total != 0 {
			t.Errorf("%d files, %d connections are counted that are over", len(server.users), server.total)
		}
		server.mu.Unlock()
	}
	if now := series(t); now["part_connections"] != 0 {
		t.Errorf("%g connections are left", now["part_connections"])
	}
}
