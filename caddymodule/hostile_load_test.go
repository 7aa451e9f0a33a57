package caddymodule

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

var (
	hostileTime = flag.Duration("hostile", 1500*time.Millisecond, "how long honest callers are served beside hostile ones")
	hostileSeed = flag.Uint64("hostile-seed", 0, "what hostile callers do; 0 for another each time")
)

// The world of the load test beside the project of all tests.
const (
	openProject, openPath = 30, "group/open" // public
	offProject, offPath   = 31, "group/off"  // switched off by its number alone
	honestCallers         = 8
	hostileCallers        = 8
	intruder              = "glpat-intruder" //nolint:gosec // a stand-in's: a publisher in another project
	// offMarker begins the files of the project that is off, honestMarker those that only honest callers may have.
	offMarker, honestMarker = "bytes of a project that is off", "bytes for honest callers"
)

// TestHonestCallersAreServedBesideHostileOnes has eight connections attack in all known ways at random, while eight callers
// download, publish and download again. Afterwards GitLab is down, and all that was stored is served still.
func TestHonestCallersAreServedBesideHostileOnes(t *testing.T) {
	for name, front := range map[string]func(*testing.T, *gitlabtest.Server) string{
		"GitLab itself": func(_ *testing.T, gitlab *gitlabtest.Server) string { return gitlab.URL },
		"behind nginx": func(t *testing.T, gitlab *gitlabtest.Server) string {
			return startNginx(t, gitlab.URL, nginxLines{}).url
		},
	} {
		t.Run(name, func(t *testing.T) {
			seed := *hostileSeed
			if seed == 0 {
				seed = rand.Uint64() //nolint:gosec // no secret
			}
			t.Logf("again with: -args -hostile=%s -hostile-seed=%d", *hostileTime, seed)
			l := newHostileLoad(t, seed, front)
			l.run(t)
			l.checkSwitchedOff(t)
			l.checkFetches(t)
			l.checkAfterwardsWithGitLabDown(t)
			l.checkRoom(t)
		})
	}
}

// hostileLoad is one run of the test.
type hostileLoad struct {
	seed   uint64
	gitlab *gitlabtest.Server
	edge   *edge
	tally  fetchTally
	files  *honestFiles
	honest []*honestCaller

	openFiles, goroutines int // before the callers came
}

func newHostileLoad(t *testing.T, seed uint64, front func(*testing.T, *gitlabtest.Server) string) *hostileLoad {
	t.Helper()
	process.lastSwitches.Store(nil)
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	gitlab.AddProject(gitlabtest.Project{ID: openProject, Path: openPath, Visibility: gitlabtest.Public})
	gitlab.AddProject(gitlabtest.Project{ID: offProject, Path: offPath, Visibility: gitlabtest.Public})
	gitlab.AddToken(gitlabtest.Token{
		Kind: gitlabtest.PersonalToken, Secret: administrator, Username: "root", Admin: true,
		Roles: map[int]gitlabtest.Role{project: gitlabtest.Owner, offProject: gitlabtest.Owner},
	})
	gitlab.AddToken(gitlabtest.Token{
		Kind: gitlabtest.PersonalToken, Secret: intruder, Username: "intruder", Roles: map[int]gitlabtest.Role{otherProject: gitlabtest.Developer},
	})
	gitlab.Publish(offProject, "pkg", "1.0.0", "app.bin", []byte(offMarker))
	for i := range 10 {
		gitlab.Publish(openProject, "pkg", "1.0.0", fmt.Sprintf("open%d.bin", i), someBytes(200_000+i, byte(i)))
	}
	l := &hostileLoad{seed: seed, gitlab: gitlab, files: newHonestFiles(gitlab)}
	for i := range honestCallers {
		caller := newHonestCaller(l, i)
		t.Cleanup(caller.client.CloseIdleConnections)
		gitlab.AddToken(gitlabtest.Token{
			Kind: gitlabtest.PersonalToken, Secret: caller.token, Username: fmt.Sprintf("honest%d", i),
			Roles: map[int]gitlabtest.Role{project: gitlabtest.Developer},
		})
		l.honest = append(l.honest, caller)
	}
	root := t.TempDir()
	l.edge = startEdge(t, front(t, gitlab), `max_age 1s
		grant_ttl 1s
		offline_grace 1h
		api_token `+administrator+`
		cache `+root+` {
			max_size 256MiB
			min_free 0
		}
		projects on {
			off 31
		}`)
	// The edge has heard which project the path names; until then GitLab itself refuses whom it refuses.
	for _, name := range []string{"31", strings.ReplaceAll(offPath, "/", "%2F")} {
		if got := l.edge.do(t, call{path: "/api/v4/projects/" + name + "/packages/generic/pkg/1.0.0/app.bin"}); got.StatusCode != http.StatusNotFound {
			t.Fatalf("project %s, which is off: %s", name, got.Status)
		}
	}
	for _, caller := range l.honest {
		for file := range l.files.stored {
			caller.download(t, file, 0)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	awaitNoFlight(t)
	l.openFiles, l.goroutines = openFiles(t), runtime.NumGoroutine()
	return l
}

// run lets all callers do what they do until the time is over, and counts what GitLab sends meanwhile.
func (l *hostileLoad) run(t *testing.T) {
	t.Helper()
	end := time.Now().Add(*hostileTime)
	var callers, counting sync.WaitGroup
	over := make(chan struct{})
	// Ends when all callers have.
	counting.Go(func() {
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			l.tally.add(l.gitlab.TakeDone())
			l.checkWithinBounds(t)
			select {
			case <-ticker.C:
			case <-over:
				return
			}
		}
	})
	attackers := make([]*hostileCaller, hostileCallers)
	for i := range attackers {
		attackers[i] = newHostileCaller(l, i, end)
		callers.Go(func() { attackers[i].attackUntilEnd(t) }) // ends soon after end
	}
	for i, caller := range l.honest {
		random := rand.New(rand.NewPCG(l.seed, uint64(1000+i))) //nolint:gosec // to be the same each time
		// Ends soon after end, or with the first failure: what follows would be its echo.
		callers.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				caller.act(t, random)
			}
		})
	}
	callers.Wait()
	close(over)
	counting.Wait()
	awaitNoFlight(t)
	done, attacks := 0, 0
	for _, caller := range l.honest {
		done += caller.calls
	}
	for _, attacker := range attackers {
		attacks += attacker.attacks
	}
	t.Logf("%d honest calls beside %d attacks", done, attacks)
}

// Bounds of what the whole process holds, the stand-in for GitLab included, while it is attacked.
const (
	maxOpenFiles  = 1500
	maxGoroutines = 4000
	maxHeap       = 1 << 30
)

func (l *hostileLoad) checkWithinBounds(t *testing.T) {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	if files, running := openFiles(t), runtime.NumGoroutine(); files > maxOpenFiles || running > maxGoroutines || memory.HeapAlloc > maxHeap {
		t.Errorf("%d open files, %d goroutines, %d bytes on the heap", files, running, memory.HeapAlloc)
	}
}

// openFiles counts the file descriptors of this process; 0 where the system doesn't tell.
func openFiles(t *testing.T) int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	return len(files)
}

// checkSwitchedOff makes sure that the switch holds afterwards, by both names and for everybody.
func (l *hostileLoad) checkSwitchedOff(t *testing.T) {
	t.Helper()
	for _, name := range []string{"31", strings.ReplaceAll(offPath, "/", "%2F")} {
		for _, token := range []string{"", administrator, outsider} {
			path := "/api/v4/projects/" + name + "/packages/generic/pkg/1.0.0/app.bin"
			if got := l.edge.do(t, call{path: path, token: token}); got.StatusCode != http.StatusNotFound {
				t.Errorf("project %s, which is off: %s", name, got.Status)
			}
		}
	}
	if l.tally.intoOff > 0 {
		t.Errorf("GitLab took %d uploads into the project that is off", l.tally.intoOff)
	}
}

// checkFetches makes sure that no file was fetched twice. A publish of another file in the same slot of generations, of which
// the store has 262,144, makes a running fetch be done again; that is met once in some hundred runs.
func (l *hostileLoad) checkFetches(t *testing.T) {
	t.Helper()
	l.tally.add(l.gitlab.TakeDone())
	var repeated []string
	for file, fetches := range l.tally.fetches {
		most := 1
		for _, caller := range l.honest {
			if versions, owned := caller.versions[file]; owned {
				most = versions
			}
		}
		if fetches > most {
			repeated = append(repeated, fmt.Sprintf("%s was fetched %d times, want %d at most", file, fetches, most))
		}
	}
	if len(repeated) > 1 {
		t.Error(strings.Join(repeated, "; "))
	}
	for file := range l.files.all() {
		if l.files.isFetched(file) && l.tally.fetches[file] == 0 {
			t.Errorf("%s was never fetched", file)
		}
	}
}

// checkAfterwardsWithGitLabDown takes GitLab down: each honest caller is served each file that any of them has had. One file
// may be missing: an upload of another file in its slot may come between its only fetch and its being kept.
func (l *hostileLoad) checkAfterwardsWithGitLabDown(t *testing.T) {
	t.Helper()
	for _, caller := range l.honest {
		for file := range l.files.stored {
			caller.download(t, file, 0) // where a path names the project, a yes is for one file
		}
	}
	awaitNoFlight(t)
	l.gitlab.SetDown(true)
	putForward(10 * time.Second) // max_age and grant_ttl are over
	missing := l.missingOffline(t)
	for _, caller := range l.honest {
		for file := range l.files.all() {
			if l.files.isFetched(file) && file != missing {
				caller.download(t, file, 0)
			}
		}
		for _, other := range l.honest {
			for file := range other.versions {
				caller.expect(t, file, other.body(file), 0)
			}
		}
	}
	for _, c := range []call{{}, {token: outsider}, {token: "glpat-wrong"}, {token: intruder}} {
		for file := range l.files.stored {
			c.path = honestPath(file)
			if got := l.edge.do(t, c); got.StatusCode < 400 || strings.Contains(string(got.body), honestMarker) {
				t.Errorf("a stranger gets %s while GitLab is down: %s", file, got.Status)
			}
		}
	}
}

// missingOffline is the one file that isn't served while GitLab is down; "" where all are. More than one fail the test.
func (l *hostileLoad) missingOffline(t *testing.T) string {
	t.Helper()
	missing := ""
	for file := range l.files.all() {
		if !l.files.isFetched(file) {
			continue
		}
		response, body, err := l.honest[0].send(http.MethodGet, file, nil, nil) //nolint:bodyclose // send closes it
		if err == nil && response.StatusCode != http.StatusServiceUnavailable {
			continue
		}
		if missing != "" {
			t.Errorf("%s is missing while GitLab is down, and so is %s: %s", missing, file, describeAnswer(response, body, err))
		}
		missing = file
	}
	return missing
}

// checkRoom makes sure that what the attackers held is given back.
func (l *hostileLoad) checkRoom(t *testing.T) {
	t.Helper()
	for _, caller := range l.honest {
		caller.client.CloseIdleConnections()
	}
	await(t, func() bool { return openFiles(t) <= l.openFiles+50 && runtime.NumGoroutine() <= l.goroutines+100 })
}

// fetchTally counts what GitLab was asked for. It isn't safe for concurrent use.
type fetchTally struct {
	fetches map[string]int // of whole files, by the honest file
	intoOff int            // uploads that were taken into the project that is off
}

func (f *fetchTally) add(done []gitlabtest.Request) {
	if f.fetches == nil {
		f.fetches = make(map[string]int)
	}
	for _, request := range done {
		if request.Method == http.MethodPut && request.Status < 300 && strings.HasPrefix(request.Path, "/api/v4/projects/31/") {
			f.intoOff++
		}
		if request.Method != http.MethodGet || request.Status != http.StatusOK || request.Header.Get("Range") != "" {
			continue
		}
		if file, ok := honestFileOf(request.Path); ok {
			f.fetches[file]++
		}
	}
}
