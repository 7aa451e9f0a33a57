package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// probedServer is a server behind a breaker of its own, in a bubble of synctest: a probe fails while it is down.
type probedServer struct {
	t        *testing.T
	breakers *Breakers
	down     atomic.Bool
	probes   atomic.Int64
	changes  []string
	end      context.CancelFunc
}

// newProbedServer returns one whose probe has been answered. Its breaker's pause is five seconds.
func newProbedServer(t *testing.T) *probedServer {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	s := &probedServer{t: t, end: end}
	s.breakers = NewBreakers(BreakerConfig{
		Pause:    5 * time.Second,
		OnChange: func(server string, up bool) { s.changes = append(s.changes, fmt.Sprint(server, " ", up)) },
		Background: func(run func(context.Context)) bool {
			go run(ctx) // ends with the test
			return true
		},
	})
	t.Cleanup(end)
	s.shows(showsLife)
	if !s.breakers.ProbeAnswered() {
		t.Error("the probe wasn't sent at the first sign of life")
	}
	return s
}

func (s *probedServer) probe(context.Context) error {
	s.probes.Add(1)
	if s.down.Load() {
		return errors.New("no answer")
	}
	return nil
}

// shows sends a request that shows this, and returns whether it was to show if the server is back.
func (s *probedServer) shows(shown evidence) (trying bool) {
	s.t.Helper()
	report, trying, err := s.breakers.gitlab.admit(s.probe)
	if err != nil {
		s.t.Fatal(err)
	}
	report(shown)
	synctest.Wait()
	return trying
}

// expectNotAsked says that requests are answered by an error, and when the next try is due.
func (s *probedServer) expectNotAsked(retryAfter string) {
	s.t.Helper()
	report, trying, err := s.breakers.gitlab.admit(s.probe)
	unreachable, ok := errors.AsType[*UnreachableError](err)
	if !ok || report != nil || trying || unreachable.Trouble != TroubleNotAsked || unreachable.Status != http.StatusServiceUnavailable ||
		unreachable.RetryAfter != retryAfter || !errors.Is(err, ErrNotAsked) {
		s.t.Errorf("%+v, trying %v; want Retry-After %s", err, trying, retryAfter)
	}
}

func (s *probedServer) passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// goesDown has two requests fail, and waits for the probe, which isn't sent within a second of another.
func (s *probedServer) goesDown() {
	s.t.Helper()
	s.down.Store(true)
	for range 2 {
		s.shows(showsTrouble)
	}
	if len(s.breakers.Down()) == 0 {
		s.passes(time.Second) // the last probe was a moment ago
	}
	if !slices.Equal(s.breakers.Down(), []string{ServerGitLab}) {
		s.t.Fatalf("down are %v", s.breakers.Down())
	}
}

func TestAServerThatIsDownIsAskedAfterPausesThatDouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newProbedServer(t)
		opened := s.breakers.gitlab.down()
		s.goesDown()
		select {
		case <-opened:
		default:
			t.Error("who waits hears nothing of it")
		}
		s.expectNotAsked("5")
		s.passes(4 * time.Second)
		s.expectNotAsked("1")
		// With each failing probe one request may try, too.
		for _, pause := range []string{"10", "20", "40", "60", "60"} {
			s.passes(s.untilTry())
			if !s.shows(showsTrouble) {
				t.Error("the request isn't told that it shows whether the server is back")
			}
			s.expectNotAsked(pause)
		}
		s.down.Store(false)
		s.passes(time.Minute)
		if len(s.breakers.Down()) > 0 || s.shows(showsNothing) {
			t.Error("the server is back, and isn't asked")
		}
		select {
		case <-s.breakers.gitlab.down():
			t.Error("who waits from now on is told of what is over")
		default:
		}
		if want := []string{"gitlab false", "gitlab true"}; !slices.Equal(s.changes, want) {
			t.Errorf("told %v", s.changes)
		}
	})
}

func (s *probedServer) untilTry() time.Duration {
	s.breakers.gitlab.mu.Lock()
	defer s.breakers.gitlab.mu.Unlock()
	return time.Until(s.breakers.gitlab.untilTry)
}

// TestAServerThatGoesDownAgainAtOnceRestsLonger and one that was up for as long as it rested doesn't.
func TestAServerThatGoesDownAgainAtOnceRestsLonger(t *testing.T) {
	for between, rests := range map[time.Duration]string{0: "10", 2 * time.Second: "10", time.Minute: "5"} {
		synctest.Test(t, func(t *testing.T) {
			s := newProbedServer(t)
			s.goesDown()
			s.down.Store(false)
			s.passes(5 * time.Second)
			if len(s.breakers.Down()) > 0 {
				t.Fatal("it isn't up again")
			}
			s.passes(between)
			s.goesDown()
			s.expectNotAsked(rests)
			s.end()
			s.passes(0)
		})
	}
}

func TestARequestThatIsAnsweredWhileTheServerIsDownEndsThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newProbedServer(t)
		s.goesDown()
		s.passes(5 * time.Second) // the probe fails
		if !s.shows(showsLife) || len(s.breakers.Down()) > 0 || s.shows(showsNothing) {
			t.Errorf("down are %v", s.breakers.Down())
		}
		probes := s.probes.Load()
		s.passes(time.Hour)
		if s.probes.Load() != probes {
			t.Error("a server that is up is probed on and on")
		}
	})
}

func TestALimitOfTheEdgesOwnIsNotWhatCallersHearWhileAServerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newProbedServer(t)
		b := s.breakers.gitlab
		if err := b.unlessOpen(syscall.EMFILE); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("while it is up: %v", err)
		}
		s.goesDown()
		if err := b.unlessOpen(syscall.EMFILE); !errors.Is(err, ErrNotAsked) {
			t.Errorf("a limit: %v", err)
		}
		if err := b.unlessOpen(syscall.ECONNRESET); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("another error: %v", err)
		}
	})
}

func TestRetiredBreakersLetAllThroughAndProbeNothing(t *testing.T) {
	for _, isDown := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newProbedServer(t)
			storage := s.breakers.storageAt("s3")
			if isDown {
				s.goesDown()
			}
			s.breakers.Retire()
			synctest.Wait()
			probes, told := s.probes.Load(), len(s.changes)
			s.down.Store(true)
			for _, b := range []*breaker{s.breakers.gitlab, storage, s.breakers.storageAt("another")} {
				for range 5 {
					report, trying, err := b.admit(s.probe)
					if err != nil || trying {
						t.Fatalf("%v, trying %v", err, trying)
					}
					report(showsTrouble)
					s.passes(time.Minute)
				}
			}
			if len(s.breakers.Down()) > 0 || s.probes.Load() != probes || len(s.changes) != told {
				t.Errorf("down are %v, probed %d times more, told %v", s.breakers.Down(), s.probes.Load()-probes, s.changes)
			}
		})
	}
}

func TestEachHostOfTheStorageHasABreakerOfItsOwnUpToABound(t *testing.T) {
	breakers := NewBreakers(BreakerConfig{})
	seen := make(map[*breaker]bool)
	for i := range maxStorageHosts {
		seen[breakers.storageAt(fmt.Sprintf("s3-%d", i))] = true
	}
	if len(seen) != maxStorageHosts || breakers.storageAt("S3-7") != breakers.storageAt("s3-7") || !seen[breakers.storageAt("s3-7")] {
		t.Errorf("%d breakers", len(seen))
	}
	shared := breakers.storageAt("one more")
	if seen[shared] || breakers.storageAt("and another") != shared {
		t.Error("those beyond the bound share no breaker of their own")
	}
	shared.open = true
	if down := breakers.Down(); !slices.Equal(down, []string{ServerStorage}) {
		t.Errorf("down are %v", down)
	}
}

// TestBreakersKnowSinceWhenAServerIsDown opens the breakers of GitLab and of two hosts of its storage one after another, and closes them.
func TestBreakersKnowSinceWhenAServerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		breakers := NewBreakers(BreakerConfig{Background: func(func(context.Context)) bool { return true }})
		change := func(b *breaker, to func(*breaker)) {
			b.mu.Lock()
			defer b.mu.Unlock()
			to(b)
		}
		first, second := breakers.storageAt("s3-1"), breakers.storageAt("s3-2")
		begun := time.Now()
		for i, step := range []struct {
			of              *breaker
			to              func(*breaker)
			gitlab, storage int // minutes after the begin; less than 0 for one that isn't down
		}{
			{breakers.gitlab, func(*breaker) {}, -1, -1},
			{breakers.gitlab, (*breaker).openLocked, 1, -1},
			{first, (*breaker).openLocked, 1, 2},
			{second, (*breaker).openLocked, 1, 2},
			{first, (*breaker).closeLocked, 1, 3},
			{second, (*breaker).closeLocked, 1, -1},
			{breakers.gitlab, (*breaker).closeLocked, -1, -1},
			{breakers.gitlab, (*breaker).openLocked, 7, -1},
		} {
			change(step.of, step.to)
			for server, want := range map[string]int{ServerGitLab: step.gitlab, ServerStorage: step.storage} {
				since := breakers.DownSince(server)
				if since.IsZero() != (want < 0) || want >= 0 && !since.Equal(begun.Add(time.Duration(want)*time.Minute)) {
					t.Errorf("step %d: %s is down since %v", i, server, since)
				}
			}
			time.Sleep(time.Minute)
		}
	})
}
