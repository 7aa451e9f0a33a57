package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// partOptions have files of 1 MiB and more brought by several connections.
const partOptions = "fetch_connections 4\nfetch_parallel_from 1MiB\nretries 2"

// withSmallParts makes parts so small that files of a few MiB have some.
func withSmallParts(t *testing.T) {
	t.Helper()
	setForTest(t, &process.storagePart, 1<<20)
	setForTest(t, &process.gitLabPart, 1<<20)
	setForTest(t, &process.trialPause, 50*time.Millisecond)
	setForTest(t, &process.soonOver, 200*time.Millisecond)
	process.partServers = newPartServers(&process.environment)
}

// parts are the requests for parts that reached GitLab or its storage.
func partsAsked(gitlab *gitlabtest.Server, storage bool) (asked []gitlabtest.Request) {
	for _, request := range gitlab.Requests() {
		if request.Storage == storage && request.Method == http.MethodGet && strings.HasPrefix(request.Header.Get("Range"), "bytes=") && !strings.HasSuffix(request.Header.Get("Range"), "-") &&
			request.Header.Get("Range") != "bytes=0-0" {
			asked = append(asked, request)
		}
	}
	return asked
}

func TestAFileOverALongLineComesBySeveralConnections(t *testing.T) {
	withSmallParts(t)
	gitlab, body := redirecting(t, nil), someBytes(12<<20, 1)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetConnectionRate(2 << 20)
	e := startEdge(t, gitlab.URL, partOptions)
	before := series(t)
	var callers sync.WaitGroup
	for range 5 {
		callers.Go(func() { e.mustGet(t, "app.bin", developer, body) })
	}
	callers.Wait()
	awaitNoFlight(t)
	e.mustGet(t, "app.bin", developer, body)
	asked := partsAsked(gitlab, true)
	if len(asked) < 4 {
		t.Errorf("%d parts were asked for", len(asked))
	}
	remotes := make(map[string]bool)
	for _, request := range asked {
		remotes[request.Remote] = true
		if request.Proto != "HTTP/1.1" || request.Header.Get("If-Range") == "" {
			t.Errorf("%s, If-Range %q", request.Proto, request.Header.Get("If-Range"))
		}
	}
	if len(remotes) < 2 {
		t.Errorf("parts came by %d connections", len(remotes))
	}
	if fetches := gitlab.CountFetches(); fetches != 1 {
		t.Errorf("GitLab was asked for the file %d times", fetches)
	}
	if sent := bytesSent(gitlab); sent > int64(len(body))*5/4 {
		t.Errorf("%d bytes were sent of %d", sent, len(body))
	}
	if grown := since(t, before); grown["parts_total arrived"] != float64(len(asked)) || grown["part_connections"] != 0 {
		t.Errorf("%g parts are counted of %d, %g connections are left", grown["parts_total arrived"], len(asked), grown["part_connections"])
	}
}

func TestWhatIsSoonHereIsLeftToOneConnection(t *testing.T) {
	for _, test := range []struct {
		took       time.Duration
		came, left int64
		long       bool
	}{
		{firstLook - 1, 0, 1 << 30, false}, // nobody knows yet
		{firstLook, 0, 1 << 30, true},
		{firstLook, 100 << 20, 900 << 20, false},
		{firstLook, 100 << 20, 1100 << 20, true},
		{time.Minute, 600 << 20, 9 << 20, false},
		{time.Minute, 600 << 20, 11 << 20, true},
	} {
		if long := willTakeLong(test.took, test.came, test.left, time.Second); long != test.long {
			t.Errorf("%d bytes in %s and %d left: %v", test.came, test.took, test.left, long)
		}
	}
}

// TestGitLabItselfIsAskedForPartsOnlyWhereTheyHelp has a clock put forward, and the bytes made up.
func TestGitLabItselfIsAskedForPartsOnlyWhereTheyHelp(t *testing.T) {
	for name, test := range map[string]struct {
		after     int64 // bytes while a connection is on trial; 100 came in the same time without it
		meanwhile func(*partServer)
		stays     bool // the connection that was tried
		again     bool // whether another one is tried after a while
	}{
		"faster":                     {125, nil, true, true},
		"as fast":                    {100, nil, false, false},
		"hardly faster":              {115, nil, false, false},
		"with another file's bytes":  {200, func(s *partServer) { s.enter(&assembly{policy: partsMustHelp}) }, true, true},
		"while a connection is over": {80, func(s *partServer) { s.noteBody(slices.Collect(maps.Keys(s.users))[0], false) }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			var now time.Time
			server := newPartServers(&environment{clock: func() time.Time { return now }, trialPause: 2 * time.Second}).of("https://gitlab.example.com")
			file, other := &assembly{policy: partsMustHelp}, &assembly{policy: partsMustHelp}
			takes := func(a *assembly) bool {
				taken, _ := server.take(a, 32)
				return taken
			}
			server.enter(file)
			server.enter(other)
			if takes(file) {
				t.Error("a part is asked for at once")
			}
			server.received.Add(100)
			now = now.Add(2 * time.Second)
			if !takes(file) {
				t.Fatal("none is tried")
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			if takes(file) || takes(other) { // though the part hasn't begun yet
				t.Error("two are tried at a time")
			}
			beginTrial(server)
			if test.meanwhile != nil {
				test.meanwhile(server)
			}
			server.received.Add(test.after)
			now = now.Add(2 * time.Second)
			server.judge(&part{cancel: cancel})
			if stays := context.Cause(ctx) == nil; stays != test.stays {
				t.Errorf("it stays: %v", stays)
			}
			if proven := server.proven; (proven == 3) != (test.stays && test.meanwhile == nil) {
				t.Errorf("%d connections are known to be worth it", proven)
			}
			now = now.Add(2 * time.Second)
			if next := takes(file); next != test.again {
				t.Errorf("another one is tried: %v", next)
			}
			now = now.Add(noGainPause)
			if takes(file) && !test.again {
				t.Error("one is tried before the line was looked at anew")
			}
			now = now.Add(2 * time.Second)
			if !test.again && !takes(file) {
				t.Error("none is tried any more")
			}
		})
	}
}

// beginTrial is watch without a clock of its own.
func beginTrial(s *partServer) {
	s.measureLocked()
	s.disturbed = false
}

// TestAConnectionThatHasHelpedIsReplacedAtOnce has one end of those that were shown to be worth it.
func TestAConnectionThatHasHelpedIsReplacedAtOnce(t *testing.T) {
	var now time.Time
	server := newPartServers(&environment{clock: func() time.Time { return now }, trialPause: 2 * time.Second}).of("https://gitlab.example.com")
	file := &assembly{policy: partsMustHelp}
	server.enter(file)
	server.received.Add(100)
	now = now.Add(2 * time.Second)
	if taken, tried := server.take(file, 32); !taken || !tried {
		t.Fatal("none is tried")
	}
	beginTrial(server)
	server.received.Add(200)
	now = now.Add(2 * time.Second)
	server.judge(&part{cancel: func(error) { t.Error("it is given up") }})
	server.noteBody(file, false)
	if taken, tried := server.take(file, 32); !taken || tried {
		t.Errorf("in the place of the body: %v, on trial: %v", taken, tried)
	}
	if taken, _ := server.take(file, 32); taken {
		t.Error("one more is taken without a trial")
	}
}

// TestAConnectionThatIsGivenUpHarmsNoFile has further connections to GitLab itself tried, on lines where they help and where they don't.
func TestAConnectionThatIsGivenUpHarmsNoFile(t *testing.T) {
	for name, bound := range map[string]func(*gitlabtest.Server, int64){
		"each connection": (*gitlabtest.Server).SetConnectionRate, "all together": (*gitlabtest.Server).SetRate,
	} {
		t.Run(name, func(t *testing.T) {
			withSmallParts(t)
			gitlab, body := naming(t), someBytes(6<<20, 3)
			publishOld(gitlab, "app.bin", body)
			bound(gitlab, 4<<20)
			e := startEdge(t, gitlab.URL, partOptions)
			e.mustGet(t, "app.bin", developer, body)
			awaitNoFlight(t)
			if len(partsAsked(gitlab, false)) == 0 {
				t.Error("no part was asked for")
			}
		})
	}
}

// TestWhateverGoesWrongWithAPartTheFileComesWhole has a fault at every part, and at several.
func TestWhateverGoesWrongWithAPartTheFileComesWhole(t *testing.T) {
	for name, fault := range map[string]gitlabtest.Fault{
		"breaks off":        {CutEach: 300_000, Times: 3},
		"often breaks off":  {CutEach: 1_100_000, Times: -1},
		"too many requests": {Status: http.StatusTooManyRequests, Times: 2},
		"slow down":         {Status: http.StatusServiceUnavailable, Times: 2},
		"an error":          {Status: http.StatusInternalServerError, Times: 2},
		"forbidden":         {Status: http.StatusForbidden, Times: 2},
		"no answer":         {Reset: true, Times: 2},
		"all of it":         {IgnoreRange: true, Times: 2},
	} {
		for mode, gitlab := range map[string]*gitlabtest.Server{"GitLab sends": naming(t), "GitLab redirects": redirecting(t, nil)} {
			t.Run(name+", "+mode, func(t *testing.T) {
				withSmallParts(t)
				body := someBytes(6<<20, 4)
				publishOld(gitlab, "app.bin", body)
				gitlab.SetConnectionRate(8 << 20)
				e := startEdge(t, gitlab.URL, partOptions)
				first, rest := e.beginDownload(t, "app.bin", developer, 100_000)
				fault := fault
				fault.Method, fault.Storage = http.MethodGet, mode == "GitLab redirects"
				gitlab.Inject(fault)
				got, err := io.ReadAll(rest)
				if err != nil || !bytes.Equal(append(first, got...), body) {
					t.Errorf("%d bytes, %v", len(first)+len(got), err)
				}
				gitlab.ClearFaults()
				awaitNoFlight(t)
				e.mustGet(t, "app.bin", colleague, body)
			})
		}
	}
}

// TestAPartOfOtherContentEndsTheFetch publishes the file anew while its parts come.
func TestAPartOfOtherContentEndsTheFetch(t *testing.T) {
	withSmallParts(t)
	gitlab, body := naming(t), someBytes(8<<20, 5)
	gitlab.SetMode(gitlabtest.Proxied)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetConnectionRate(1 << 20)
	e := startEdge(t, gitlab.URL, partOptions)
	_, rest := e.beginDownload(t, "app.bin", developer, 1000)
	after := someBytes(8<<20, 6)
	publishOld(gitlab, "app.bin", after)
	if got, err := io.ReadAll(rest); err == nil {
		t.Errorf("%d bytes look whole", len(got))
	}
	gitlab.SetConnectionRate(0)
	await(t, func() bool {
		got := e.do(t, call{path: filePath("app.bin"), token: developer})
		if got.StatusCode == http.StatusOK && got.err == nil && !bytes.Equal(got.body, after) {
			t.Fatal("mixed or old bytes look whole")
		}
		return got.StatusCode == http.StatusOK && got.err == nil
	})
}

// TestAWrongByteInAPartNeverLooksWhole changes one in a part that comes before its time.
func TestAWrongByteInAPartNeverLooksWhole(t *testing.T) {
	withSmallParts(t)
	gitlab, body := naming(t), someBytes(8<<20, 7)
	gitlab.SetMode(gitlabtest.Proxied)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetConnectionRate(2 << 20)
	e := startEdge(t, gitlab.URL, strings.Replace(partOptions, "retries 2", "retries 0", 1))
	_, rest := e.beginDownload(t, "app.bin", developer, 1000)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, CorruptAt: 7<<20 + 5, Times: -1})
	if got, err := io.ReadAll(rest); err == nil {
		t.Errorf("%d bytes look whole", len(got))
	}
	gitlab.ClearFaults()
	gitlab.SetConnectionRate(0)
	awaitNoFlight(t)
	e.mustGet(t, "app.bin", developer, body)
}

// TestARangeInAPartThatHasArrivedIsServedFromIt asks for one ahead of the gap.
func TestARangeInAPartThatHasArrivedIsServedFromIt(t *testing.T) {
	withSmallParts(t)
	gitlab, body := redirecting(t, nil), someBytes(6<<20, 8)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetConnectionRate(1 << 20)
	e := startEdge(t, gitlab.URL, partOptions+"\nrange_wait 0")
	_, rest := e.beginDownload(t, "app.bin", developer, 1000)
	// The first answer brings its megabyte slowly, while the third part comes at the same time.
	await(t, func() bool { return len(partsAsked(gitlab, true)) >= 2 })
	asked := gitlab.CountFetches()
	got := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {"bytes=2097152-2097251"}}})
	for range 40 { // it may not have arrived yet, and is GitLab's then
		if gitlab.CountFetches() == asked {
			break
		}
		asked = gitlab.CountFetches()
		got = e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {"bytes=2097152-2097251"}}})
	}
	if got.StatusCode != http.StatusPartialContent || !bytes.Equal(got.body, body[2<<20:2<<20+100]) {
		t.Errorf("%s, %d bytes", got.Status, len(got.body))
	}
	if gitlab.CountFetches() != asked {
		t.Error("GitLab was asked for it each time")
	}
	gitlab.SetConnectionRate(0)
	if got, err := io.ReadAll(rest); err != nil || len(got) != len(body)-1000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestADiskThatFailsUnderPartsBreaksNoDownload has it fail while parts come.
func TestADiskThatFailsUnderPartsBreaksNoDownload(t *testing.T) {
	withSmallParts(t)
	disk := cachetest.NewFailingFS(nil)
	process.fileSystem = disk
	t.Cleanup(func() { process.fileSystem = nil }) // after the edge has ended
	gitlab, body := redirecting(t, nil), someBytes(6<<20, 9)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetConnectionRate(2 << 20)
	e := startEdge(t, gitlab.URL, partOptions)
	first, rest := e.beginDownload(t, "app.bin", developer, 1000)
	await(t, func() bool { return len(partsAsked(gitlab, true)) >= 2 })
	disk.Fail(0, 1, syscall.ENOSPC)
	gitlab.SetConnectionRate(0)
	whole, err := io.ReadAll(io.MultiReader(bytes.NewReader(first), rest))
	disk.Heal()
	if err != nil || !bytes.Equal(whole, body) {
		t.Errorf("%d bytes, %v", len(whole), err)
	}
}

// TestPartsEndWithTheEdge stops it, and reloads it, while parts come: nothing is left, and nobody gets wrong bytes.
func TestPartsEndWithTheEdge(t *testing.T) {
	withSmallParts(t)
	gitlab, body := redirecting(t, nil), someBytes(6<<20, 10)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetConnectionRate(1 << 20)
	e := startEdge(t, gitlab.URL, partOptions)
	first, rest := e.beginDownload(t, "app.bin", developer, 1000)
	await(t, func() bool { return len(partsAsked(gitlab, true)) >= 2 })
	e.reload(t, partOptions+"\nmax_age 2m")
	gitlab.SetConnectionRate(0)
	whole, err := io.ReadAll(io.MultiReader(bytes.NewReader(first), rest))
	if err == nil && !bytes.Equal(whole, body) {
		t.Errorf("%d bytes look whole", len(whole))
	}
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
}

// startWithSharedParts starts an edge with an empty disk that may have a file by parts from a bucket, which gives each connection so
// many bytes a second.
func startWithSharedParts(t *testing.T, gitlab *gitlabtest.Server, storage *buckettest.Server, body []byte, rate int64) *edge {
	t.Helper()
	withSmallParts(t)
	publishOld(gitlab, "app.bin", body)
	e := startSharing(t, gitlab, storage, "")
	e.mustGet(t, "app.bin", developer, body)
	awaitNothingOwed(t)
	storage.SetConnectionRate(rate)
	e.reload(t, sharedOptions(t.TempDir(), storage, "")+"\n"+partOptions)
	gitlab.ResetRequests()
	storage.ResetRequests()
	return e
}

// TestPartsOfASharedStoreComeFromThere has its connections bounded, as storages do.
func TestPartsOfASharedStoreComeFromThere(t *testing.T) {
	gitlab, storage, body := naming(t), newSharedStore(t), someBytes(6<<20, 11)
	e := startWithSharedParts(t, gitlab, storage, body, 1<<20)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	ranges := make(map[string]int)
	for _, request := range storage.Requests(http.MethodGet, "/blobs/") {
		ranges[request.Header.Get("Range")]++
	}
	if len(ranges) < 4 {
		t.Errorf("asked for %v", ranges)
	}
	if sent := bytesSent(gitlab); sent > 5<<20 {
		t.Errorf("GitLab sent %d bytes", sent)
	}
}

func TestConnectionsToAServerAreSharedEquallyAmongFiles(t *testing.T) {
	withSmallParts(t)
	server := process.partServers.of("https://storage.example.com")
	one, two := new(assembly), new(assembly)
	takeAll := func(a *assembly) (taken int) {
		for {
			if more, _ := server.take(a, 8); !more {
				return taken
			}
			taken++
		}
	}
	server.enter(one)
	if taken := takeAll(one); taken != 7 {
		t.Errorf("one alone has %d beside its first", taken)
	}
	server.enter(two)
	if taken := takeAll(two); taken != 0 {
		t.Errorf("the second took %d that weren't free", taken)
	}
	for range 5 {
		server.giveBack(one)
	}
	if taken := takeAll(one) + 10*takeAll(two); taken != 31 {
		t.Errorf("shared: %d", taken)
	}
	server.noteBody(two, false)
	if taken := takeAll(two); taken != 1 {
		t.Errorf("in the place of its own body the second has %d", taken)
	}
	server.rest(fmt.Errorf("%w", errNoGain))
	server.giveBack(two)
	if taken, _ := server.take(two, 8); taken {
		t.Error("a server that rests is asked")
	}
	putForward(partsPause + time.Second)
	if taken, _ := server.take(two, 8); !taken {
		t.Error("it rests for ever")
	}
}
