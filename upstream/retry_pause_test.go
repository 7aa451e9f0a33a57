package upstream

import (
	"testing"
	"time"
)

func TestThePauseBetweenRetriesDoublesUpToAMinute(t *testing.T) {
	for tries, want := range map[int]time.Duration{
		0: 200 * time.Millisecond, 1: 400 * time.Millisecond, 5: 6400 * time.Millisecond, 8: 51200 * time.Millisecond,
		9: time.Minute, 1000: time.Minute,
	} {
		download := &Download{client: &Client{cfg: Config{RetryPause: DefaultRetryPause}}, tries: tries}
		if got := download.retryPause(); got != want {
			t.Errorf("after %d tries in a row: %s", tries, got)
		}
	}
	slow := &Download{client: &Client{cfg: Config{RetryPause: time.Hour}}, tries: 3}
	if got := slow.retryPause(); got != time.Hour {
		t.Errorf("a pause that is longer to begin with: %s", got)
	}
}
