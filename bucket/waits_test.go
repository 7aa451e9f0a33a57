package bucket

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// halting is a transport that answers some requests, and nothing to the others: answers returns nil for those.
type halting func(*http.Request) *http.Response

// RoundTrip implements http.RoundTripper.
func (h halting) RoundTrip(r *http.Request) (*http.Response, error) {
	if answer := h(r); answer != nil {
		return answer, nil
	}
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func bucketBehind(t *testing.T, transport http.RoundTripper) *Bucket {
	t.Helper()
	b, err := New(Config{Name: "edges", AccessKey: "a", SecretKey: "b", Secret: testSecret, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// absent answers that there is nothing.
func absent(r *http.Request) *http.Response {
	answer, err := storage(func(*http.Request) (int, string) { return http.StatusNotFound, "NoSuchKey" }).RoundTrip(r)
	if err != nil {
		panic(err) // only of a status of 0
	}
	return answer
}

func isLocation(r *http.Request) bool { return strings.Contains(r.URL.Path, "/locations/") }

// askedLikeAFile asks for a file as a download does: for its location, and for its object in what is left of FirstByte, of which a little is
// always gone.
func (b *Bucket) askedLikeAFile(t *testing.T, number int) error {
	t.Helper()
	begun := time.Now()
	if _, err := b.LocationOf(t.Context(), fmt.Sprint("place ", number)); err != nil && !errors.Is(err, ErrAbsent) {
		return err
	}
	time.Sleep(time.Microsecond)
	_, err := b.Open(t.Context(), contentOf([]byte(fmt.Sprint(number))), 0, b.FirstByte()-time.Since(begun))
	return err
}

// TestABucketThatHangsRestsAfterThreeWaits although nobody gives its objects all of FirstByte, and also where only its objects hang. It comes
// back with the first answer.
func TestABucketThatHangsRestsAfterThreeWaits(t *testing.T) {
	for what, hangs := range map[string]func(*http.Request) bool{
		"all of it":   func(*http.Request) bool { return true },
		"its objects": func(r *http.Request) bool { return !isLocation(r) },
	} {
		synctest.Test(t, func(t *testing.T) {
			var healed atomic.Bool
			b := bucketBehind(t, halting(func(r *http.Request) *http.Response {
				if !healed.Load() && hangs(r) {
					return nil
				}
				return absent(r)
			}))
			var told []bool
			b.memory.OnChange(func(up bool, _ string) { told = append(told, up) })
			for i := range failuresToRest {
				if err := b.askedLikeAFile(t, i); !errors.Is(err, errStandsStill) || errors.Is(err, errNotTheBuckets) {
					t.Errorf("%s hangs, request %d: %v", what, i, err)
				}
			}
			begun := time.Now()
			for i := range 10 {
				if err := b.askedLikeAFile(t, 10+i); !errors.Is(err, ErrResting) {
					t.Errorf("%s hangs, and it is asked on: %v", what, err)
				}
			}
			if waited := time.Since(begun); waited > time.Millisecond {
				t.Errorf("%s hangs: those that follow wait for %s", what, waited)
			}
			if state := b.State(); state.Condition != Down || !strings.Contains(state.Reason, "doesn't answer") {
				t.Errorf("%s hangs: %+v", what, state)
			}
			// A try each ten seconds is in vain, and is no news.
			for i := range 3 {
				time.Sleep(restPause + time.Second)
				if err := b.askedLikeAFile(t, 20+2*i); errors.Is(err, ErrResting) {
					t.Errorf("%s hangs, and isn't tried", what)
				}
				if err := b.askedLikeAFile(t, 21+2*i); !errors.Is(err, ErrResting) {
					t.Errorf("%s hangs; after a try in vain: %v", what, err)
				}
			}
			healed.Store(true)
			time.Sleep(restPause + time.Second)
			if err := b.askedLikeAFile(t, 30); !errors.Is(err, ErrAbsent) || b.State().Condition != Up {
				t.Errorf("%s answers again: %v, %+v", what, err, b.State())
			}
			if !slices.Equal(told, []bool{false, true}) {
				t.Errorf("%s hung, and it was told %v", what, told)
			}
		})
	}
}

// TestAHeadThatHadLittleTimeSaysNothingOfTheBucket: with all of its time it may have come.
func TestAHeadThatHadLittleTimeSaysNothingOfTheBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucketBehind(t, halting(func(*http.Request) *http.Response { return nil }))
		for i := range 2 * failuresToRest {
			if _, err := b.Open(t.Context(), contentOf([]byte(fmt.Sprint(i))), 0, b.FirstByte()/3); !errors.Is(err, errNotTheBuckets) {
				t.Errorf("%v", err)
			}
		}
		if condition := b.State().Condition; condition != Untried {
			t.Errorf("it is %s", condition)
		}
	})
}

// TestNobodyWaitsLongerThanFirstByteByTheClock measures it: for an object's head, for a location, for both, and for what is read next.
func TestNobodyWaitsLongerThanFirstByteByTheClock(t *testing.T) {
	const length = 1 << 20
	standing := func(r *http.Request, given time.Duration) *http.Response {
		header := http.Header{"Content-Length": {fmt.Sprint(length)}, "Last-Modified": {time.Now().UTC().Format(http.TimeFormat)}, "Etag": {`"e"`}}
		body := io.NopCloser(io.LimitReader(dribble{r.Context(), given}, length))
		return &http.Response{StatusCode: http.StatusOK, Header: header, Request: r, Body: body, ContentLength: length}
	}
	for what, test := range map[string]struct {
		answers halting
		wait    func(*testing.T, *Bucket) error
	}{
		"no location": {func(*http.Request) *http.Response { return nil }, func(t *testing.T, b *Bucket) error {
			_, err := b.LocationOf(t.Context(), "a place")
			return err
		}},
		"no object": {func(*http.Request) *http.Response { return nil }, func(t *testing.T, b *Bucket) error {
			_, err := b.Open(t.Context(), Content{Size: length}, 0, b.FirstByte())
			return err
		}},
		"a slow location, and no object": {func(r *http.Request) *http.Response {
			if !isLocation(r) {
				return nil
			}
			time.Sleep(100 * time.Millisecond)
			return absent(r)
		}, func(t *testing.T, b *Bucket) error { return b.askedLikeAFile(t, 0) }},
		"a body without a byte": {func(r *http.Request) *http.Response { return standing(r, time.Hour) }, readAll},
		"a byte now and then":   {func(r *http.Request) *http.Response { return standing(r, 100*time.Millisecond) }, readAll},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := bucketBehind(t, test.answers)
			begun := time.Now()
			err := test.wait(t, b)
			if waited := time.Since(begun); waited != b.FirstByte() || !errors.Is(err, errStandsStill) {
				t.Errorf("%s: waited for %s, %v", what, waited, err)
			}
		})
	}
}

// readAll reads an object of 1 MiB.
func readAll(t *testing.T, b *Bucket) error {
	t.Helper()
	object, err := b.Open(t.Context(), Content{Size: 1 << 20}, 0, b.FirstByte())
	if err != nil {
		return err
	}
	defer object.Close()
	_, err = io.Copy(io.Discard, object)
	return err
}

// TestAnOutageIsToldOfOnce although reading and writing rest each by itself: when the first of them does, and when the last goes on.
func TestAnOutageIsToldOfOnce(t *testing.T) {
	for what, back := range map[string][]string{"reading is back first": {"read", "write"}, "writing is back first": {"write", "read"}} {
		synctest.Test(t, func(t *testing.T) {
			fails := true
			b := bucketAt(t, func(r *http.Request) (int, string) {
				switch {
				case fails:
					return http.StatusInternalServerError, "InternalError"
				case r.Method == http.MethodPut:
					return http.StatusOK, ""
				}
				return http.StatusNotFound, "NoSuchKey"
			})
			var told []string
			b.memory.OnChange(func(up bool, reason string) { told = append(told, fmt.Sprintf("%v %s", up, reason)) })
			number := 0
			by := map[string]func(){
				"read": func() {
					number++
					_ = b.ask(t, number)
				},
				"write": func() {
					number++
					data := fmt.Sprint(number)
					_, _, _ = b.Put(t.Context(), contentOf([]byte(data)), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(data)), nil })
				},
			}
			for range failuresToRest {
				by["read"]()
			}
			if len(told) != 1 || !strings.HasPrefix(told[0], "false reading an object") {
				t.Errorf("%s; reading rests: told %q", what, told)
			}
			for range failuresToRest {
				by["write"]()
			}
			if len(told) != 1 || b.memory.writing.state().Condition != Down {
				t.Errorf("%s; writing rests, too: told %q", what, told)
			}
			time.Sleep(restPause + time.Second)
			fails = false
			for i, direction := range back {
				if len(told) != 1 || b.State().Condition != Down {
					t.Errorf("%s; %d are back: told %q, and it is %s", what, i, told, b.State().Condition)
				}
				by[direction]()
			}
			if len(told) != 2 || !strings.HasPrefix(told[1], "true") || b.State().Condition != Up {
				t.Errorf("%s; both are: told %q, and it is %s", what, told, b.State().Condition)
			}
		})
	}
}
