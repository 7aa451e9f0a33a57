package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func TestTurnsAreTakenInTheOrderOfAskingAndNeverTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		var mu sync.Mutex
		var order []int
		owner := turnOwner{address: "192.0.2.1"}
		first, waited, err := all.take(t.Context(), owner, 2)
		if waited || err != nil {
			t.Fatal(waited, err)
		}
		second, _, _ := all.take(t.Context(), owner, 2)
		if _, waited, _ := all.take(t.Context(), turnOwner{address: "192.0.2.2"}, 2); waited {
			t.Error("somebody else waits")
		}
		taken := make(chan *turn, 5)
		for i := range 5 {
			go func() { // ends with its turn
				got, _, _ := all.take(t.Context(), owner, 2)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
				taken <- got
			}()
			synctest.Wait()
		}
		if len(taken) != 0 {
			t.Errorf("%d turns too many", len(taken))
		}
		first.release()
		first.release() // counts once
		synctest.Wait()
		if len(taken) != 1 {
			t.Errorf("%d turns for one that was given back", len(taken))
		}
		second.release()
		synctest.Wait()
		for range 5 {
			(<-taken).release()
			synctest.Wait()
		}
		if !slices.IsSorted(order) || len(order) != 5 {
			t.Errorf("the order is %v", order)
		}
		if len(all.queues) != 1 {
			t.Errorf("%d callers are remembered; one has a turn", len(all.queues))
		}
	})
}

func TestWhoGivesUpWaitingHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		owner := turnOwner{address: "192.0.2.1"}
		first, _, _ := all.take(t.Context(), owner, 1)
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 2)
		go func() { // ends with ctx
			_, _, err := all.take(ctx, owner, 1)
			ended <- err
		}()
		synctest.Wait()
		go func() { // ends with its turn
			next, _, err := all.take(t.Context(), owner, 1)
			next.release()
			ended <- err
		}()
		synctest.Wait()
		cancel(gone)
		if err := <-ended; !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
		first.release()
		if err := <-ended; err != nil {
			t.Errorf("got %v", err)
		}
		if len(all.queues) != 0 {
			t.Error("somebody is remembered")
		}
		// A turn that comes at the very moment is given on.
		first, _, _ = all.take(t.Context(), owner, 1)
		waiter := all.enqueue(owner, 1)
		first.release()
		if all.withdraw(owner, waiter) {
			t.Error("who has a turn is taken out of the queue")
		}
	})
}

func TestAFlightThatSomebodyFollowsDoesNotCount(t *testing.T) {
	var all turns
	var flights flights
	owner := turnOwner{address: "192.0.2.1"}
	fl := newFlight("app.bin", cache.Generation{})
	flights.add(fl, nil)
	taken, _, _ := all.take(t.Context(), owner, 1)
	fl.count(taken)
	flights.end(fl)
	if len(all.queues) != 0 {
		t.Error("a flight that is over counts")
	}
	fl = newFlight("app.bin", cache.Generation{})
	flights.add(fl, nil)
	fl.followers = map[*exchange]reader{new(exchange): {}}
	taken, _, _ = all.take(t.Context(), owner, 1)
	fl.count(taken)
	if len(all.queues) != 0 {
		t.Error("a flight that was joined before it counted counts")
	}
	fl.count(nil) // of warming
	flights.end(fl)
}

// askForOneByte asks for a byte of a cold file and leaves, as somebody would who wants the edge to fetch all of it.
func (e *edge) askForOneByte(t *testing.T, file, token string) {
	t.Helper()
	got := e.do(t, call{path: filePath(file), token: token, header: http.Header{"Range": {"bytes=0-0"}}})
	if got.StatusCode != http.StatusPartialContent || len(got.body) != 1 {
		t.Fatalf("%s: %s", file, got.Status)
	}
}

// TestNobodyFillsTheLineAlone has one caller ask for one byte of each of many cold files, whose bodies stand still.
func TestNobodyFillsTheLineAlone(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "fetches_per_caller 2")
	body := someBytes(300_000, 1)
	release := make(chan struct{})
	for i := range 4 {
		publishOld(gitlab, fmt.Sprintf("%d.bin", i), body)
	}
	publishOld(gitlab, "other.bin", body)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 100_000, Release: release, Times: -1})
	e.askForOneByte(t, "0.bin", developer)
	e.askForOneByte(t, "1.bin", developer)

	waiting := make(chan answer, 1)
	go func() { waiting <- e.do(t, call{path: filePath("2.bin"), token: developer}) }() // ends with its turn
	await(t, func() bool { return turnsWaiting() == 1 })
	if n := gitlab.Count(http.MethodGet); n != 2 {
		t.Errorf("%d fetches, two are allowed", n)
	}
	// Others aren't held up, and neither is who joins.
	e.askForOneByte(t, "other.bin", colleague)
	response, err := e.begin(call{path: filePath("0.bin"), token: developer})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if status := response.Header.Get("Cache-Status"); !strings.Contains(status, "collapsed") {
		t.Errorf("who joins: %q", status)
	}
	// It is followed now, and counts no more: the one that waits begins.
	await(t, func() bool { return turnsWaiting() == 0 && gitlab.Count(http.MethodGet) == 4 })
	close(release)
	if got := <-waiting; !bytes.Equal(got.body, body) || !strings.Contains(got.cacheStatus(), "stored") {
		t.Errorf("who waited: %s, %q, %d bytes", got.Status, got.cacheStatus(), len(got.body))
	}
	_, _ = io.Copy(io.Discard, response.Body)
	awaitNoFlight(t)
	await(t, func() bool { return turnsTaken() == 0 })
}

// TestWhoWaitsTooLongIsServedUncached: nobody is refused.
func TestWhoWaitsTooLongIsServedUncached(t *testing.T) {
	setForTest(t, &process.turnPatience, 50*time.Millisecond)
	e, _, body, release := startWithTheTurnTaken(t)
	got := e.mustGet(t, "next.bin", developer, body)
	if !strings.Contains(got.cacheStatus(), "fwd=bypass") {
		t.Errorf("got %q", got.cacheStatus())
	}
	close(release)
	awaitNoFlight(t)
	if got := e.mustGet(t, "next.bin", developer, body); !strings.Contains(got.cacheStatus(), "stored") {
		t.Errorf("when the line is free: %q", got.cacheStatus())
	}
	awaitNoFlight(t)
	if turnsTaken() != 0 {
		t.Error("a turn is left")
	}
}

// TestWhatWasFetchedWhileOneWaitedIsServed: no second fetch of the same file.
func TestWhatWasFetchedWhileOneWaitedIsServed(t *testing.T) {
	e, gitlab, body, release := startWithTheTurnTaken(t)
	waiting := make(chan answer, 1)
	go func() { waiting <- e.do(t, call{path: filePath("next.bin"), token: developer}) }() // ends with its turn
	await(t, func() bool { return turnsWaiting() == 1 })
	e.mustGet(t, "next.bin", colleague, body)
	close(release)
	if got := <-waiting; !bytes.Equal(got.body, body) {
		t.Errorf("%s, %d bytes", got.Status, len(got.body))
	}
	if n := gitlab.Count(http.MethodGet); n != 2 {
		t.Errorf("%d fetches of two files", n)
	}
}

// startWithTheTurnTaken starts an edge where the developer's one turn is held by a fetch of slow.bin that stalls until release
// is closed. The file next.bin, with the same body, is there to be fetched.
func startWithTheTurnTaken(t *testing.T) (e *edge, gitlab *gitlabtest.Server, body []byte, release chan struct{}) {
	t.Helper()
	gitlab = newGitLab(t)
	e = startEdge(t, gitlab.URL, "fetches_per_caller 1")
	body = someBytes(300_000, 1)
	publishOld(gitlab, "slow.bin", body)
	publishOld(gitlab, "next.bin", body)
	release = make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 100_000, Release: release, Times: 1})
	e.askForOneByte(t, "slow.bin", developer)
	return e, gitlab, body, release
}

func turnsWaiting() (waiting int) {
	turns := &runningState().turns
	turns.mu.Lock()
	defer turns.mu.Unlock()
	for _, queue := range turns.queues {
		waiting += len(queue.waiting)
	}
	return waiting
}

func turnsTaken() (taken int) {
	turns := &runningState().turns
	turns.mu.Lock()
	defer turns.mu.Unlock()
	for _, queue := range turns.queues {
		taken += queue.taken
	}
	return taken
}
