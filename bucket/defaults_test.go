package bucket

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestDefaultsAreThoseOfTheDocs (docs/settings.md, "A shared store"), and of Config's comments.
func TestDefaultsAreThoseOfTheDocs(t *testing.T) {
	var asked *http.Request
	b, err := New(Config{Name: "edges", AccessKey: "a", SecretKey: "b", Transport: answering(func(r *http.Request) *http.Response {
		asked = r
		return absent(r)
	})})
	if err != nil {
		t.Fatal(err)
	}
	if b.FirstByte() != 500*time.Millisecond || b.Refresh() != 14*24*time.Hour || b.cfg.Patience != time.Minute || b.Endpoint() != "https://s3.amazonaws.com" {
		t.Errorf("first_byte %s, refresh %s, patience %s, endpoint %s", b.FirstByte(), b.Refresh(), b.cfg.Patience, b.Endpoint())
	}
	if err := b.ask(t, 1); !errors.Is(err, ErrAbsent) {
		t.Fatal(err)
	}
	if signed := asked.Header.Get("Authorization"); !strings.Contains(signed, "/us-east-1/s3/") {
		t.Errorf("signed for another region: %s", signed)
	}
}

// TestAnAbsenceIsRememberedForAMinute, an object's and a location's.
func TestAnAbsenceIsRememberedForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		b := bucketBehind(t, halting(func(r *http.Request) *http.Response {
			asked++
			return absent(r)
		}))
		look := func(when string, want int) {
			t.Helper()
			if err := b.askedLikeAFile(t, 1); !errors.Is(err, ErrAbsent) || asked != want {
				t.Errorf("%s: %v, asked %d times", when, err, asked)
			}
		}
		look("at first", 2)
		time.Sleep(time.Minute - time.Second)
		look("within a minute", 2)
		time.Sleep(time.Second)
		look("after a minute", 4)
	})
}
