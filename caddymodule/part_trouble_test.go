package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket"
	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// isForPart reports whether a request asks for a part, and not for a rest.
func isForPart(r *http.Request) bool {
	asked := r.Header.Get("Range")
	return r.Method == http.MethodGet && strings.HasPrefix(asked, "bytes=") && !strings.HasSuffix(asked, "-") && asked != "bytes=0-0"
}

// inFrontOf stands before a stand-in. instead may answer requests by itself, which it then says, and other changes answers; both may be nil.
func inFrontOf(t *testing.T, server string, instead func(http.ResponseWriter, *http.Request) bool, other func(*http.Response)) string {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.ModifyResponse = func(r *http.Response) error {
		if other != nil {
			other(r)
		}
		return nil
	}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if instead == nil || !instead(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	return front.URL
}

// inFrontOfStorage stands before a GitLab that redirects, and before its storage as inFrontOf does.
func inFrontOfStorage(t *testing.T, gitlab string, instead func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	var front *url.URL
	var once sync.Once
	return inFrontOf(t, gitlab, nil, func(r *http.Response) {
		location := r.Header.Get("Location")
		if location == "" {
			return
		}
		to, _ := url.Parse(location) // the stand-in's own
		once.Do(func() { front, _ = url.Parse(inFrontOf(t, to.Scheme+"://"+to.Host, instead, nil)) })
		to.Host = front.Host
		r.Header.Set("Location", to.String())
	})
}

// partsSince is how many parts have ended in what way.
func partsSince(t *testing.T, before map[string]float64) map[string]float64 {
	t.Helper()
	ended, grown := make(map[string]float64), since(t, before)
	for _, result := range allPartResults {
		if n := grown["parts_total "+string(result)]; n > 0 {
			ended[string(result)] = n
		}
	}
	return ended
}

func hangs(_ http.ResponseWriter, r *http.Request) bool {
	if !isForPart(r) {
		return false
	}
	<-r.Context().Done()
	return true
}

// TestPartsThatNeverComeHoldUpNoFile has a storage, and a GitLab, that answer nothing beside the first answer. A part is waited for as
// long as header_timeout says else, a minute, several times.
func TestPartsThatNeverComeHoldUpNoFile(t *testing.T) {
	for name, front := range map[string]func(*testing.T) (*gitlabtest.Server, string){
		"GitLab": func(t *testing.T) (*gitlabtest.Server, string) {
			g := naming(t)
			return g, inFrontOf(t, g.URL, hangs, nil)
		},
		"storage": func(t *testing.T) (*gitlabtest.Server, string) {
			g := redirecting(t, nil)
			return g, inFrontOfStorage(t, g.URL, hangs)
		},
	} {
		t.Run(name, func(t *testing.T) {
			withSmallParts(t)
			setForTest(t, &process.partPatience, 100*time.Millisecond)
			gitlab, address := front(t)
			body := someBytes(4<<20, 41)
			gitlab.SetConnectionRate(6 << 20)
			e := startEdge(t, address, partOptions)
			for i, wantTried := range []bool{true, false} {
				file := fmt.Sprintf("app%d.bin", i)
				publishOld(gitlab, file, body)
				before := series(t)
				e.mustGet(t, file, developer, body)
				awaitNoFlight(t)
				if ended := partsSince(t, before); (ended["failed"]+ended["no_gain"] > 0) != wantTried {
					t.Errorf("file %d: parts ended as %v", i, ended)
				}
			}
			if fetches := gitlab.CountFetches(); fetches != 2 {
				t.Errorf("GitLab was asked %d times for two files", fetches)
			}
		})
	}
}

// TestAnAnswerThatShowsLessThanTheFirstEndsThePartsAndNotTheFile has parts that may be of other content, for all that they say.
func TestAnAnswerThatShowsLessThanTheFirstEndsThePartsAndNotTheFile(t *testing.T) {
	for name, less := range map[string]func(http.Header){
		"no tag, no sum": func(h http.Header) { h.Del("Etag"); h.Del("X-Checksum-Sha256") },
		"weak tag":       func(h http.Header) { h.Set("Etag", "W/"+h.Get("Etag")); h.Del("X-Checksum-Sha256") },
	} {
		t.Run(name, func(t *testing.T) {
			withSmallParts(t)
			gitlab, body := naming(t), someBytes(4<<20, 42)
			publishOld(gitlab, "app.bin", body)
			gitlab.SetConnectionRate(6 << 20)
			e := startEdge(t, inFrontOf(t, gitlab.URL, nil, func(r *http.Response) {
				if isForPart(r.Request) {
					less(r.Header)
				}
			}), partOptions)
			before := series(t)
			e.mustGet(t, "app.bin", developer, body)
			awaitNoFlight(t)
			if ended := partsSince(t, before); ended["whole"] == 0 || ended["changed"] != 0 {
				t.Errorf("parts ended as %v", ended)
			}
		})
	}
}

// breaking is an answer that breaks off when a channel is closed.
type breaking struct {
	http.ResponseWriter
	when <-chan struct{}
}

func (b breaking) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (b breaking) Write(p []byte) (int, error) {
	select {
	case <-b.when:
		panic(http.ErrAbortHandler)
	default:
		return b.ResponseWriter.Write(p)
	}
}

// TestARefusalOfAPartIsOfWhomItWasAskedFor has a token revoked while a file comes in its name, and GitLab say so to a part when the file
// itself goes on in the name of a follower.
func TestARefusalOfAPartIsOfWhomItWasAskedFor(t *testing.T) {
	withSmallParts(t)
	setForTest(t, &process.gitLabPart, 2<<20)
	gitlab, body := naming(t), someBytes(6<<20, 43)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetConnectionRate(2 << 20)
	revoked, late, partBegun := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var other, first sync.Once
	var refusals atomic.Int32
	direct, _ := url.Parse(gitlab.URL) // httptest's own
	behind := httputil.NewSingleHostReverseProxy(direct)
	behind.FlushInterval = -1
	behind.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	e := startEdge(t, inFrontOf(t, gitlab.URL, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method != http.MethodGet || r.Header.Get("Range") == "bytes=0-0":
			return false
		case r.Header.Get("Private-Token") == colleague:
			other.Do(func() { close(late) })
			return false
		}
		select {
		case <-revoked:
			refusals.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		default:
		}
		if isForPart(r) {
			first.Do(func() { close(partBegun) })
			behind.ServeHTTP(breaking{w, late}, r)
		} else {
			behind.ServeHTTP(breaking{w, revoked}, r)
		}
		return true
	}, nil), partOptions+"\nmax_age 10m\ngrant_ttl 10m")
	_, rest := e.beginDownload(t, "app.bin", developer, 1000)
	_, others := e.beginDownload(t, "app.bin", colleague, 1000)
	var leaders sync.WaitGroup
	leaders.Go(func() { _, _ = io.Copy(io.Discard, rest) })
	<-partBegun
	close(revoked)
	if got, err := io.ReadAll(others); err != nil || len(got) != len(body)-1000 {
		t.Errorf("the follower: %d bytes, %v", len(got), err)
	}
	leaders.Wait()
	awaitNoFlight(t)
	if refusals.Load() == 0 {
		t.Fatal("the leader was never refused")
	}
	asked := len(gitlab.Requests())
	if got := e.mustGet(t, "app.bin", colleague, body); len(gitlab.Requests()) != asked {
		t.Errorf("the follower's own yes has ended: %q", got.cacheStatus())
	}
}

// TestARevokedTokenIsFollowedByAnother has a token revoked while parts come in its name: the file goes on in the other's, also where
// nothing is tried again.
func TestARevokedTokenIsFollowedByAnother(t *testing.T) {
	for _, retries := range []int{0, 2} {
		t.Run(fmt.Sprint("retries ", retries), func(t *testing.T) {
			withSmallParts(t)
			gitlab, body := naming(t), someBytes(5<<20, 44)
			publishOld(gitlab, "app.bin", body)
			gitlab.SetConnectionRate(4 << 20)
			e := startEdge(t, gitlab.URL, fmt.Sprintf("fetch_connections 4\nfetch_parallel_from 1MiB\nretries %d", retries))
			_, rest := e.beginDownload(t, "app.bin", developer, 1000)
			first, others := e.beginDownload(t, "app.bin", colleague, 1000)
			var leaders sync.WaitGroup
			leaders.Go(func() { _, _ = io.Copy(io.Discard, rest) })
			await(t, func() bool { return len(partsAsked(gitlab, false)) >= 1 })
			gitlab.RevokeToken(developer)
			if got, err := io.ReadAll(others); err != nil || !bytes.Equal(append(first, got...), body) {
				t.Errorf("%d bytes, %v", len(got)+1000, err)
			}
			leaders.Wait()
			awaitNoFlight(t)
			refused := 0
			for _, request := range gitlab.Requests() {
				if request.Status == http.StatusUnauthorized {
					refused++
				}
			}
			if most := 2; refused > most { // parts that were asked for at the same time
				t.Errorf("GitLab was asked %d times with a token that it had refused", refused)
			}
		})
	}
}

// TestAServerThatLimitsRequestsIsWaitedFor has GitLab answer 429 to what is asked for after a part was taken in.
func TestAServerThatLimitsRequestsIsWaitedFor(t *testing.T) {
	withSmallParts(t)
	gitlab, body := naming(t), someBytes(5<<20, 45)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetConnectionRate(2 << 20)
	var limitedUntil atomic.Pointer[time.Time]
	e := startEdge(t, inFrontOf(t, gitlab.URL, func(w http.ResponseWriter, r *http.Request) bool {
		if until := limitedUntil.Load(); until == nil || time.Now().After(*until) {
			return false
		}
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}, nil), "fetch_connections 4\nfetch_parallel_from 1MiB\nretries 1")
	first, rest := e.beginDownload(t, "app.bin", developer, 1000)
	await(t, func() bool { return len(partsAsked(gitlab, false)) >= 2 })
	until := time.Now().Add(1500 * time.Millisecond)
	limitedUntil.Store(&until)
	if got, err := io.ReadAll(rest); err != nil || !bytes.Equal(append(first, got...), body) {
		t.Errorf("%d bytes, %v", len(got)+1000, err)
	}
	awaitNoFlight(t)
}

// TestFilesThatAreMoreThanConnectionsAskGitLabOnceEach has each file's own body end at a part, and no connection left for the next.
func TestFilesThatAreMoreThanConnectionsAskGitLabOnceEach(t *testing.T) {
	withSmallParts(t)
	gitlab := redirecting(t, nil)
	var bodies [6][]byte
	for i := range bodies {
		bodies[i] = someBytes(3<<20, byte(50+i))
		publishOld(gitlab, fmt.Sprintf("app%d.bin", i), bodies[i])
	}
	gitlab.SetConnectionRate(2 << 20)
	e := startEdge(t, gitlab.URL, partOptions+"\nfetch_connections_total 4")
	var callers sync.WaitGroup
	callers.Go(func() { e.mustGet(t, "app0.bin", developer, bodies[0]) })
	await(t, func() bool { return len(partsAsked(gitlab, true)) >= 2 })
	for i, body := range bodies[1:] {
		callers.Go(func() { e.mustGet(t, fmt.Sprintf("app%d.bin", i+1), developer, body) })
	}
	callers.Wait()
	awaitNoFlight(t)
	if fetches := gitlab.CountFetches(); fetches != len(bodies) {
		t.Errorf("GitLab was asked %d times for %d files", fetches, len(bodies))
	}
}

// TestAStorageThatTakesAURLOnceHasGitLabAskedOnceMore refuses all but the first request for each file.
func TestAStorageThatTakesAURLOnceHasGitLabAskedOnceMore(t *testing.T) {
	withSmallParts(t)
	gitlab, body := redirecting(t, nil), someBytes(4<<20, 46)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetConnectionRate(5 << 20)
	e := startEdge(t, inFrontOfStorage(t, gitlab.URL, func(w http.ResponseWriter, r *http.Request) bool {
		if isForPart(r) {
			w.WriteHeader(http.StatusForbidden)
		}
		return isForPart(r)
	}), partOptions)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	if fetches := gitlab.CountFetches(); fetches > 2 {
		t.Errorf("GitLab was asked %d times", fetches)
	}
}

// TestTroubleWithAPartOfTheSharedStoreCostsThatPart has one part of an object break off, and another storage ask for fewer requests.
func TestTroubleWithAPartOfTheSharedStoreCostsThatPart(t *testing.T) {
	for name, test := range map[string]struct {
		fault buckettest.Fault
		want  string
		most  int64 // of GitLab's, of which what was on its way when the bucket answered is lost
	}{
		"breaks off": {buckettest.Fault{CutAt: 300_000}, "arrived", 9 << 20},
		"slow down":  {buckettest.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}, "limited", math.MaxInt64}, // the rest is GitLab's
	} {
		t.Run(name, func(t *testing.T) {
			gitlab, storage, body := naming(t), newSharedStore(t), someBytes(7<<20, 47)
			e := startWithSharedParts(t, gitlab, storage, body, 2<<20)
			before := series(t)
			fault := test.fault
			fault.Method, fault.Ranged, fault.Times = http.MethodGet, true, 1
			storage.Inject(fault)
			e.mustGet(t, "app.bin", developer, body)
			awaitNoFlight(t)
			if ended := partsSince(t, before); ended[test.want] == 0 || ended["failed"] != 0 {
				t.Errorf("parts ended as %v", ended)
				for _, request := range storage.Requests(http.MethodGet, "/blobs/") {
					t.Log(request.Header.Get("Range"), request.Status)
				}
			}
			if sent := bytesSent(gitlab); sent > test.most {
				t.Errorf("GitLab sent %d bytes", sent)
			}
		})
	}
}

// TestAConnectionThatBroughtNothingLeavesTheFirstAnswer has a GitLab on a short line, which is asked for the file and for one part.
func TestAConnectionThatBroughtNothingLeavesTheFirstAnswer(t *testing.T) {
	withSmallParts(t)
	setForTest(t, &process.gitLabPart, 2<<20)
	setForTest(t, &process.trialPause, 200*time.Millisecond)
	gitlab, body := naming(t), someBytes(8<<20, 48)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetRate(4 << 20)
	e := startEdge(t, gitlab.URL, partOptions)
	before := series(t)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	if ended := partsSince(t, before); ended["no_gain"] != 1 || gitlab.CountFetches() != 2 {
		t.Errorf("GitLab was asked %d times; parts ended as %v", gitlab.CountFetches(), ended)
		for _, request := range gitlab.Requests() {
			t.Log(request.Header.Get("Range"), request.Sent)
		}
	}
}

func TestAServerRestsAsLongAsItAsksFor(t *testing.T) {
	for name, err := range map[string]error{
		"GitLab":          &upstream.RefusedError{RefusedAnswer: upstream.RefusedAnswer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"300"}}}},
		"storage":         &upstream.UnreachableError{Status: http.StatusServiceUnavailable, RetryAfter: "300"},
		"storage, a date": &upstream.UnreachableError{Status: http.StatusServiceUnavailable, RetryAfter: "Sun, 29 Nov 2026 12:05:00 GMT"},
	} {
		now := time.Date(2026, time.November, 29, 12, 0, 0, 0, time.UTC)
		server := newPartServers(&environment{clock: func() time.Time { return now }}).of("https://storage.example.com")
		file := new(assembly)
		server.enter(file)
		if result := partResultOf(err); result != partLimited {
			t.Errorf("%s: %s", name, result)
		}
		server.rest(err)
		for passed, want := range map[time.Duration]bool{299 * time.Second: false, 301 * time.Second: true} {
			now = time.Date(2026, time.November, 29, 12, 0, 0, 0, time.UTC).Add(passed)
			taken, _ := server.take(file, 32)
			if taken != want {
				t.Errorf("%s: after %s it is asked: %v", name, passed, taken)
			}
			if taken {
				server.giveBack(file)
			}
		}
	}
}

// TestAServerThatGivesNoPartsRestsForAnHour has one that sends all of a file to who asks for a part.
func TestAServerThatGivesNoPartsRestsForAnHour(t *testing.T) {
	var now time.Time
	server := newPartServers(&environment{clock: func() time.Time { return now }}).of("https://storage.example.com")
	file := new(assembly)
	server.enter(file)
	for _, err := range []error{upstream.ErrNoParts, bucket.ErrNoParts} {
		if result := partResultOf(err); result != partWhole {
			t.Errorf("%v: %s", err, result)
		}
		server.rest(err)
		now = now.Add(noPartsPause - time.Second)
		if taken, _ := server.take(file, 32); taken {
			t.Errorf("%v: it is asked within the hour", err)
		}
		now = now.Add(2 * time.Second)
		if taken, _ := server.take(file, 32); !taken {
			t.Errorf("%v: it rests for ever", err)
		}
	}
}

// TestPartsOfAllServersTogetherAreBounded counts the pieces of memory that they hold.
func TestPartsOfAllServersTogetherAreBounded(t *testing.T) {
	servers := newPartServers(&environment{clock: time.Now})
	taken := 0
	for _, origin := range []string{"https://one.example.com", "https://two.example.com"} {
		server, file := servers.of(origin), new(assembly)
		server.enter(file)
		for {
			if more, _ := server.take(file, 1000); !more {
				break
			}
			taken++
		}
	}
	if held := taken * pumpPiece; held > 64<<20 || taken != maxParts {
		t.Errorf("%d parts, which hold %d bytes", taken, held)
	}
}

// TestGitLabItselfIsTriedWhereItsStorageHasItsName has one server that is both.
func TestGitLabItselfIsTriedWhereItsStorageHasItsName(t *testing.T) {
	var now time.Time
	server := newPartServers(&environment{clock: func() time.Time { return now }, trialPause: time.Hour}).of("https://gitlab.example.com")
	stored, sent := &assembly{policy: partsHelp}, &assembly{policy: partsMustHelp}
	server.enter(stored)
	server.enter(sent)
	if taken, tried := server.take(stored, 32); !taken || tried {
		t.Error("its storage isn't asked for parts at once")
	}
	if taken, _ := server.take(sent, 32); taken {
		t.Error("GitLab itself is asked for parts without a trial")
	}
}
