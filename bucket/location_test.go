package bucket

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const somePlace = "https://gitlab.example.com storage.example.com/packages/@hashed/4f/file.bin"

func TestALocationSaysWhatAPlaceHoldsToWhoKnowsTheSecret(t *testing.T) {
	b, server := newBucket(t)
	holds := Location{contentOf([]byte("some bytes")), `"etag"`}
	if _, err := b.LocationOf(t.Context(), somePlace); !errors.Is(err, ErrAbsent) {
		t.Errorf("before: %v", err)
	}
	if err := b.PutLocation(t.Context(), somePlace, holds); err != nil {
		t.Fatal(err)
	}
	if got, err := b.LocationOf(t.Context(), somePlace); err != nil || got != holds {
		t.Errorf("%+v, %v", got, err)
	}
	for _, name := range server.Objects("") {
		if shown := name + string(server.Get(name)); strings.Contains(shown, "gitlab") || strings.Contains(shown, "file.bin") {
			t.Errorf("it names the place: %s", shown)
		}
	}
	if others := bucketOf(t, server, func(c *Config) { c.Secret = strings.Repeat("other", 5) }); others != nil {
		if _, err := others.LocationOf(t.Context(), somePlace); !errors.Is(err, ErrAbsent) {
			t.Errorf("with another secret: %v", err)
		}
	}
	without := bucketOf(t, server, func(c *Config) { c.Secret = "" })
	if _, err := without.LocationOf(t.Context(), somePlace); !errors.Is(err, ErrNoSecret) {
		t.Errorf("without a secret: %v", err)
	}
}

// TestALocationThatNobodySaidIsNone changes what lies in the bucket, as everybody can who has its keys.
func TestALocationThatNobodySaidIsNone(t *testing.T) {
	holds := Location{contentOf([]byte("some bytes")), `"etag"`}
	for what, change := range map[string]func(note string) string{
		"another sum":     func(note string) string { return strings.Replace(note, holds.SHA256.String()[:4], "0000", 1) },
		"another size":    func(note string) string { return strings.Replace(note, `"size":10`, `"size":11`, 1) },
		"another tag":     func(note string) string { return strings.Replace(note, "etag\\\"", "gate\\\"", 1) },
		"another version": func(note string) string { return strings.Replace(note, `"version":1`, `"version":2`, 1) },
		"no seal":         func(string) string { return `{"version":1}` },
		"nothing":         func(string) string { return "" },
		"much":            func(note string) string { return note + strings.Repeat(" ", 1<<20) + "x" },
	} {
		b, server := newBucket(t)
		if err := b.PutLocation(t.Context(), somePlace, holds); err != nil {
			t.Fatal(err)
		}
		name := server.Objects("")[0]
		changed := change(string(server.Get(name)))
		if changed == string(server.Get(name)) {
			t.Errorf("%s: nothing was changed", what)
		}
		server.Set(name, []byte(changed), time.Now())
		if got, err := b.LocationOf(t.Context(), somePlace); !errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	// What was said of one place isn't another's.
	b, server := newBucket(t)
	if err := b.PutLocation(t.Context(), somePlace, holds); err != nil {
		t.Fatal(err)
	}
	server.Set(b.locationName("elsewhere"), server.Get(server.Objects("")[0]), time.Now())
	if got, err := b.LocationOf(t.Context(), "elsewhere"); !errors.Is(err, ErrAbsent) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestALocationIsWrittenAnewWhenItIsOldOrSaysOtherwise(t *testing.T) {
	b, server := newBucket(t)
	holds := Location{contentOf([]byte("some bytes")), `"etag"`}
	name := b.locationName(somePlace)
	writes := func(is Location) int {
		server.ResetRequests()
		if err := b.PutLocation(t.Context(), somePlace, is); err != nil {
			t.Fatal(err)
		}
		return len(server.Requests("PUT", ""))
	}
	if writes(holds) != 1 || writes(holds) != 0 {
		t.Error("it isn't written once")
	}
	server.Set(name, server.Get(name), time.Now().Add(-DefaultRefresh-time.Hour))
	if writes(holds) != 1 {
		t.Error("an old one isn't written anew")
	}
	holds.ETag = `"other"`
	if writes(holds) != 1 {
		t.Error("another one isn't written")
	}
}
