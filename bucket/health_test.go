package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// storage is a transport that answers by itself, so that time can be the test's.
type storage func(*http.Request) (status int, code string)

// RoundTrip implements http.RoundTripper.
func (s storage) RoundTrip(r *http.Request) (*http.Response, error) {
	status, code := s(r)
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	body := ""
	if code != "" && r.Method != http.MethodHead {
		body = fmt.Sprintf(`<Error><Code>%s</Code><Message>as the test has it</Message></Error>`, code)
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Date": {time.Now().Add(-20 * time.Minute).UTC().Format(http.TimeFormat)}}, Request: r,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

func bucketAt(t *testing.T, answers storage) *Bucket {
	t.Helper()
	b, err := New(Config{Name: "edges", AccessKey: "a", SecretKey: "b", Transport: answers})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ask asks for some object that wasn't asked for before, and returns the error.
func (b *Bucket) ask(t *testing.T, number int) error {
	t.Helper()
	_, err := b.Open(t.Context(), contentOf([]byte(fmt.Sprint(number))), 0, b.FirstByte())
	return err
}

func TestABucketThatFailsRestsAndComesBackByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, status := 0, 0
		b := bucketAt(t, func(*http.Request) (int, string) {
			asked++
			if status == http.StatusNotFound {
				return status, "NoSuchKey"
			}
			return status, ""
		})
		var told []string
		b.memory.OnChange(func(up bool, reason string) { told = append(told, fmt.Sprintf("%v %s", up, reason)) })
		if condition := b.State().Condition; condition != Untried {
			t.Errorf("before: %s", condition)
		}
		for i := range failuresToRest {
			if err := b.ask(t, i); errors.Is(err, ErrResting) {
				t.Fatalf("it rests after %d failures", i)
			}
		}
		for i := range 10 {
			if err := b.ask(t, 10+i); !errors.Is(err, ErrResting) {
				t.Errorf("asked: %v", err)
			}
		}
		if asked != failuresToRest {
			t.Errorf("asked %d times", asked)
		}
		if state := b.State(); state.Condition != Down || !strings.Contains(state.Reason, "can't be reached") {
			t.Errorf("%+v", state)
		}
		// One try, in vain, and it rests on.
		time.Sleep(restPause + time.Second)
		if err := b.ask(t, 20); errors.Is(err, ErrResting) {
			t.Errorf("it isn't tried: %v", err)
		}
		if err := b.ask(t, 21); !errors.Is(err, ErrResting) {
			t.Errorf("after a try in vain: %v", err)
		}
		status = http.StatusNotFound
		time.Sleep(restPause + time.Second)
		for i := range 3 {
			if err := b.ask(t, 30+i); !errors.Is(err, ErrAbsent) {
				t.Errorf("it is well again: %v", err)
			}
		}
		if state := b.State(); state.Condition != Up || state.Reason != "" {
			t.Errorf("%+v", state)
		}
		if len(told) != 2 || !strings.HasPrefix(told[0], "false reading an object") || !strings.HasPrefix(told[1], "true") {
			t.Errorf("told: %q", told)
		}
	})
}

// bodies is a transport whose answers have bodies that break off after half of them, or come whole.
type bodies struct{ broken, absent bool }

// RoundTrip implements http.RoundTripper.
func (b *bodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.absent {
		return storage(func(*http.Request) (int, string) { return http.StatusNotFound, "NoSuchKey" }).RoundTrip(r)
	}
	const whole = 2 // bytes
	body := io.Reader(strings.NewReader("12"))
	if b.broken {
		body = io.MultiReader(strings.NewReader("1"), iotest.ErrReader(errors.New("connection reset")))
	}
	header := http.Header{"Content-Length": {fmt.Sprint(whole)}, "Last-Modified": {time.Now().UTC().Format(http.TimeFormat)}, "Etag": {`"e"`}}
	return &http.Response{StatusCode: http.StatusOK, Header: header, Request: r, Body: io.NopCloser(body), ContentLength: whole}, nil
}

// TestABucketWhoseBodiesBreakOffRests although each of its heads is well. A body that comes whole ends that.
func TestABucketWhoseBodiesBreakOffRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := &bodies{broken: true}
		b, err := New(Config{Name: "edges", AccessKey: "a", SecretKey: "b", Transport: storage})
		if err != nil {
			t.Fatal(err)
		}
		read := func(number int) error {
			object, err := b.Open(t.Context(), contentOf([]byte(fmt.Sprint(number))), 0, b.FirstByte())
			if err != nil {
				return err
			}
			defer object.Close()
			_, err = io.ReadAll(object)
			return err
		}
		for i := range failuresToRest {
			if err := read(10 + i); err == nil || errors.Is(err, ErrResting) {
				t.Fatalf("body %d: %v", i, err)
			}
		}
		if err := read(20); !errors.Is(err, ErrResting) || b.State().Condition != Down || !strings.Contains(b.State().Reason, "connection reset") {
			t.Errorf("%v, %+v", err, b.State())
		}
		time.Sleep(restPause + time.Second)
		if err := read(30); err == nil || errors.Is(err, ErrResting) {
			t.Errorf("it isn't tried again: %v", err)
		}
		if err := read(31); !errors.Is(err, ErrResting) {
			t.Errorf("one more, and it doesn't rest: %v", err)
		}
		storage.broken = false
		time.Sleep(restPause + time.Second)
		for i := range 2 {
			if err := read(40 + i); err != nil {
				t.Errorf("it is well again: %v", err)
			}
		}
		storage.broken = true
		if err := read(50); err == nil || errors.Is(err, ErrResting) || b.State().Condition != Up {
			t.Errorf("one that breaks off: %v, %+v", err, b.State())
		}
	})
}

func TestABucketThatSaysSlowDownIsLeftAloneLongerAndLonger(t *testing.T) {
	for _, answer := range []struct {
		status int
		code   string
	}{{http.StatusServiceUnavailable, "SlowDown"}, {http.StatusTooManyRequests, "TooManyRequests"}} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			b := bucketAt(t, func(*http.Request) (int, string) {
				asked++
				return answer.status, answer.code
			})
			if err := b.ask(t, 0); err == nil {
				t.Fatal("no error")
			}
			if err := b.ask(t, 1); !errors.Is(err, ErrResting) || asked != 1 || b.State().Condition != Slowed {
				t.Errorf("at once: %v, %s", err, b.State().Condition)
			}
			time.Sleep(leastSlowPause)
			if err := b.ask(t, 2); errors.Is(err, ErrResting) {
				t.Error("a second later it isn't asked")
			}
			time.Sleep(leastSlowPause - time.Millisecond)
			if err := b.ask(t, 3); !errors.Is(err, ErrResting) {
				t.Errorf("the second pause isn't longer: %v", err)
			}
		})
	}
}

func TestTroubleIsSaidInWords(t *testing.T) {
	for _, test := range []struct {
		status int
		code   string
		want   string
	}{
		{0, "", "can't be reached"},
		{403, "InvalidAccessKeyId", "doesn't know the access key"},
		{403, "SignatureDoesNotMatch", "secret key is wrong"},
		{403, "AccessDenied", "s3:ListBucket"},
		{403, "RequestTimeTooSkewed", "20m0s ahead of the storage's"},
		{404, "NoSuchBucket", "no such bucket"},
		{400, "XAmzContentSHA256Mismatch", "changed on their way"},
		{400, "ExpiredToken", "expired"},
		{500, "InternalError", "500 InternalError"},
		{507, "InsufficientStorage", "full"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := bucketAt(t, func(*http.Request) (int, string) { return test.status, test.code })
			err := b.ask(t, 0)
			var trouble *TroubleError
			if !errors.As(err, &trouble) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%d %s: %v", test.status, test.code, err)
			}
			if err != nil && strings.Contains(err.Error(), "Signature=") {
				t.Errorf("it shows a signature: %v", err)
			}
		})
	}
}

// TestWhyALookIsRefusedIsSaidInWords although the answer to a HEAD has no body that could say so.
func TestWhyALookIsRefusedIsSaidInWords(t *testing.T) {
	for _, test := range []struct {
		status int
		code   string
		want   string
		slow   bool
	}{
		{403, "RequestTimeTooSkewed", "20m0s ahead of the storage's", false},
		{403, "SignatureDoesNotMatch", "secret key is wrong", false},
		{403, "InvalidAccessKeyId", "doesn't know the access key", false},
		{400, "ExpiredToken", "expired", false},
		{503, "SlowDown", "too many requests", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := bucketAt(t, func(*http.Request) (int, string) { return test.status, test.code })
			_, _, err := b.Put(t.Context(), contentOf([]byte("a")), func() (io.ReadCloser, error) { return nil, errors.New("it was opened") })
			var trouble *TroubleError
			if !errors.As(err, &trouble) || !strings.Contains(err.Error(), test.want) || trouble.SlowDown != test.slow {
				t.Errorf("%d %s: %v", test.status, test.code, err)
			}
		})
	}
}

// TestABucketWhoseBodiesBreakOffIsToldOfOnce, and not at each try whose head is well, until a body comes whole, or none was asked for in
// a while.
func TestABucketWhoseBodiesBreakOffIsToldOfOnce(t *testing.T) {
	for what, recovered := range map[string]func(*bodies){
		"a body comes whole": func(s *bodies) { s.broken = false },
		"all is gone":        func(s *bodies) { s.absent = true },
	} {
		synctest.Test(t, func(t *testing.T) {
			storage := &bodies{broken: true}
			b, err := New(Config{Name: "edges", AccessKey: "a", SecretKey: "b", Transport: storage})
			if err != nil {
				t.Fatal(err)
			}
			var told []bool
			b.memory.OnChange(func(up bool, _ string) { told = append(told, up) })
			number := 0
			readFor := func(period time.Duration) {
				for end := time.Now().Add(period); time.Now().Before(end); time.Sleep(time.Second) {
					number++
					object, err := b.Open(t.Context(), contentOf([]byte(fmt.Sprint(number%90))), 0, b.FirstByte())
					if err == nil {
						_, _ = io.ReadAll(object)
						_ = object.Close()
					}
				}
			}
			readFor(5 * time.Minute)
			if len(told) != 1 || told[0] || b.State().Condition != Down {
				t.Errorf("%s: told %v, it is %s", what, told, b.State().Condition)
			}
			recovered(storage)
			readFor(time.Minute)
			if len(told) != 2 || !told[1] || b.State().Condition != Up {
				t.Errorf("%s: told %v, it is %s", what, told, b.State().Condition)
			}
		})
	}
}

// dribble is a request's body that gives one byte after another, each after a pause.
type dribble struct {
	ctx   context.Context
	pause time.Duration
}

// Read implements io.Reader.
func (d dribble) Read(p []byte) (int, error) {
	select {
	case <-time.After(d.pause):
		return copy(p[:1], "a"), nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}

// TestABodyThatDribblesStandsStill although each byte comes in time. Who reads it slowly doesn't make it so.
func TestABodyThatDribblesStandsStill(t *testing.T) {
	for _, test := range []struct {
		every, reader time.Duration
		size          int64
		whole         bool
	}{
		{every: 400 * time.Millisecond, size: 1 << 20, whole: false},
		{every: 5 * time.Microsecond, size: 1 << 17, whole: true},
		{every: 5 * time.Microsecond, reader: time.Second, size: 1 << 10, whole: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			header := http.Header{"Content-Length": {fmt.Sprint(test.size)}, "Last-Modified": {time.Now().UTC().Format(http.TimeFormat)}, "Etag": {`"e"`}}
			b, err := New(Config{Name: "edges", AccessKey: "a", SecretKey: "b", Transport: answering(func(r *http.Request) *http.Response {
				body := io.NopCloser(io.LimitReader(dribble{r.Context(), test.every}, test.size))
				return &http.Response{StatusCode: http.StatusOK, Header: header, Request: r, Body: body, ContentLength: test.size}
			})})
			if err != nil {
				t.Fatal(err)
			}
			object, err := b.Open(t.Context(), Content{Size: test.size}, 0, b.FirstByte())
			if err != nil {
				t.Fatal(err)
			}
			defer object.Close()
			begun, came := time.Now(), int64(0)
			for buffer := make([]byte, 1<<10); err == nil && time.Since(begun) < time.Hour; time.Sleep(test.reader) {
				var n int
				n, err = object.Read(buffer)
				came += int64(n)
			}
			if whole, stood := errors.Is(err, io.EOF), errors.Is(err, errStandsStill); whole != test.whole || stood == test.whole {
				t.Errorf("every %s: %d of %d bytes in %s, %v", test.every, came, test.size, time.Since(begun), err)
			}
		})
	}
}

type answering func(*http.Request) *http.Response

// RoundTrip implements http.RoundTripper.
func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r), nil }
