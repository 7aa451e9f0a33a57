package upstream

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatTheEndOfARequestShows(t *testing.T) {
	late, cancelLate := context.WithCancelCause(context.Background())
	cancelLate(errHeaderTimeout)
	left, leave := context.WithCancel(context.Background())
	leave()
	failed := errors.New("connection reset")
	for name, test := range map[string]struct {
		ctx  context.Context
		err  error
		want evidence
	}{
		"a broken connection": {context.Background(), failed, showsTrouble},
		"no answer in time":   {late, failed, showsTrouble},
		"a caller who left":   {left, failed, showsNothing},
	} {
		if got := evidenceOf(test.ctx, nil, test.err); got != test.want {
			t.Errorf("%s: %d", name, got)
		}
	}
	for status, want := range map[int]evidence{
		200: showsLife, 302: showsLife, 401: showsLife, 404: showsLife, 429: showsLife, 499: showsLife,
		400: showsNothing, 413: showsNothing, 414: showsNothing, 431: showsNothing, 500: showsNothing, 501: showsNothing, 507: showsNothing, 519: showsNothing,
		502: showsTrouble, 503: showsTrouble, 504: showsTrouble, 520: showsTrouble, 530: showsTrouble,
	} {
		if got := evidenceOf(context.Background(), &http.Response{StatusCode: status}, nil); got != want {
			t.Errorf("%d: %d", status, got)
		}
	}
}

func TestTheWaitForTheNextTryIsToldInWholeSecondsAndNeverTooShort(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		b := NewBreakers(BreakerConfig{}).gitlab
		for left, want := range map[time.Duration]string{-time.Second: "1", 0: "1", 1: "1", time.Second: "1", time.Second + 1: "2", 2 * time.Second: "2"} {
			b.untilTry = time.Now().Add(left)
			if got := b.notAskedLocked().RetryAfter; got != want {
				t.Errorf("%v: %s", left, got)
			}
		}
	})
}

func TestAProbeThatIsBelievedIsNotSentForEachAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newProbedServer(t)
		before := s.probes.Load()
		for range 3 {
			s.passes(time.Minute)
			s.shows(showsLife)
		}
		if n := s.probes.Load() - before; n != 0 {
			t.Errorf("%d probes", n)
		}
	})
}

// newUnprobedServer is newProbedServer with a pause of its own and a probe that was never answered.
func newUnprobedServer(t *testing.T, pause time.Duration) *probedServer {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	s := &probedServer{t: t, end: end}
	s.breakers = NewBreakers(BreakerConfig{Pause: pause, Background: func(run func(context.Context)) bool {
		go run(ctx) // ends with the test
		return true
	}})
	return s
}

func TestAProbeThatWasNotAnsweredIsSentOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newUnprobedServer(t, 0)
		s.down.Store(true)
		s.shows(showsLife)
		if n := s.probes.Load(); n != 1 {
			t.Errorf("%d probes", n)
		}
		s.passes(time.Minute - 1)
		s.shows(showsLife)
		if n := s.probes.Load(); n != 1 {
			t.Errorf("%d probes within a minute", n)
		}
		s.passes(1)
		s.shows(showsLife)
		if n := s.probes.Load(); n != 2 {
			t.Errorf("%d probes after a minute", n)
		}
	})
}

// TestProbesAreAFifthOfAShortPauseApart has a probe, and another server's recovery, just behind it.
func TestProbesAreAFifthOfAShortPauseApart(t *testing.T) {
	for pause, apart := range map[time.Duration]time.Duration{time.Second: 200 * time.Millisecond, time.Hour: time.Second} {
		for name, recovered := range map[string]bool{"after a probe": false, "after a recovery": true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newUnprobedServer(t, pause)
					s.shows(showsLife)
					if recovered {
						s.passes(apart)
						s.down.Store(true)
						s.shows(showsTrouble)
						s.shows(showsTrouble)
						s.down.Store(false)
						s.passes(pause)
						if len(s.breakers.Down()) > 0 {
							t.Fatal("it hasn't recovered")
						}
					}
					before := s.probes.Load()
					s.shows(showsTrouble)
					s.shows(showsTrouble)
					s.passes(apart - 1)
					if n := s.probes.Load() - before; n != 0 {
						t.Errorf("%d probes too soon", n)
					}
					s.passes(1)
					if n := s.probes.Load() - before; n != 1 {
						t.Errorf("%d probes in time", n)
					}
				})
			})
		}
	}
}

func TestOneProbeIsOnItsWayAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newUnprobedServer(t, 0)
		answer := make(chan struct{})
		probes := 0
		for range 5 {
			report, _, err := s.breakers.gitlab.admit(func(context.Context) error {
				probes++
				<-answer
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			report(showsTrouble)
			synctest.Wait()
		}
		if probes != 1 {
			t.Errorf("%d probes", probes)
		}
		close(answer)
		synctest.Wait()
	})
}

func TestAProbeThatFailsWhenItsBreakerIsRetiredOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newProbedServer(t)
		answer := make(chan error)
		for range 2 {
			s.passes(time.Second)
			report, _, err := s.breakers.gitlab.admit(func(context.Context) error { return <-answer })
			if err != nil {
				t.Fatal(err)
			}
			report(showsTrouble)
		}
		synctest.Wait()
		s.breakers.Retire()
		answer <- errors.New("no answer")
		synctest.Wait()
		if len(s.breakers.Down()) > 0 {
			t.Error("a retired breaker has opened")
		}
	})
}

// TestAnEdgeThatClosesOpensNoBreaker: nobody would close it again.
func TestAnEdgeThatClosesOpensNoBreaker(t *testing.T) {
	runs, told := false, 0
	breakers := NewBreakers(BreakerConfig{
		Background: func(run func(context.Context)) bool {
			if runs {
				run(context.Background())
			}
			return runs
		},
		OnChange: func(string, bool) { told++ },
	})
	b := breakers.gitlab
	b.openLocked()
	if b.isOpen() || told != 0 {
		t.Errorf("open: %v, told %d times", b.isOpen(), told)
	}
	probes := 0
	b.probe = func(context.Context) error {
		probes++
		return nil
	}
	b.startProbeLocked()
	if b.probing {
		t.Error("a probe that wasn't sent counts as on its way")
	}
	if probes != 0 {
		t.Errorf("%d probes", probes)
	}
}

func TestAPauseDoublesOnlyForAServerThatGoesDownAgainWithinIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for since, want := range map[time.Duration]time.Duration{7 * time.Second: 14 * time.Second, 7*time.Second + 1: 5 * time.Second} {
			s := newProbedServer(t)
			b := s.breakers.gitlab
			b.present, b.closed = 7*time.Second, time.Now().Add(-since)
			b.mu.Lock()
			b.openLocked()
			b.mu.Unlock()
			if b.present != want {
				t.Errorf("down again after %v: %v", since, b.present)
			}
			s.end()
			synctest.Wait()
		}
	})
}

func TestBreakersRunByThemselvesWhereNobodySaysHow(t *testing.T) {
	ran := make(chan struct{})
	if !NewBreakers(BreakerConfig{}).config.Background(func(context.Context) { close(ran) }) {
		t.Error("it says that it doesn't run")
	}
	<-ran
}

// TestAProbeThatWaitedIsNotSentWhenItIsWantedNoMore has its time come just after another probe has shown how it stands.
func TestAProbeThatWaitedIsNotSentWhenItIsWantedNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := newProbedServer(t)
		down.goesDown()
		neverAnswered := newUnprobedServer(t, 0)
		neverAnswered.down.Store(true)
		neverAnswered.shows(showsTrouble)
		neverAnswered.shows(showsTrouble)
		for name, s := range map[string]*probedServer{"the server is down": down, "the probe was never answered": neverAnswered} {
			before := s.probes.Load()
			s.breakers.gitlab.probeAfterAll()
			synctest.Wait()
			if before == 0 || s.probes.Load() != before {
				t.Errorf("%s: %d probes, then %d", name, before, s.probes.Load())
			}
		}
	})
}
