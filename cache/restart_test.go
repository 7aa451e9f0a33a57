package cache

import (
	"context"
	"testing"
)

// TestNothingIsConfirmedAfterARestart looks entries up while the index is being read, and when it has been.
func TestNothingIsConfirmedAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	early, late := testKey("early"), testKey("late")
	for _, k := range []Key{early, late} {
		if entry := s.put(t, k, []byte(k.File)); entry.Confirmed.IsZero() {
			t.Fatal("not confirmed before the restart; the test shows nothing")
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	held := &heldFS{FS: OS(), listing: make(chan struct{}), held: make(chan struct{})}
	s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, FS: held})
	if err != nil {
		t.Fatal(err)
	}
	s.CloseAtEnd(t, t.Log)
	check := func(when string, k Key) {
		t.Helper()
		entry := s.lookup(t, k)
		if !entry.Confirmed.IsZero() || entry.Questioned {
			t.Errorf("%s, %s is confirmed %v, questioned %v", when, k, entry.Confirmed, entry.Questioned)
		}
	}
	<-held.listing
	check("while the index is read", early)
	close(held.held)
	awaitLoaded(t, s)
	check("when it is read, looked up before", early)
	check("when it is read", late)
	listed, err := s.Entries(context.Background(), Selector{}, nil, 10)
	if err != nil || len(listed) != 2 {
		t.Fatalf("listed %d, %v", len(listed), err)
	}
	for _, entry := range listed {
		if !entry.Confirmed.IsZero() {
			t.Errorf("listed, %s is confirmed %v", entry.Key, entry.Confirmed)
		}
	}
	// It is confirmed as anything else is.
	entry := s.lookup(t, late)
	if got, worth := s.Confirm(entry, s.Generation(late), s.now(), Named{}); worth != Confirmed || got.Confirmed.IsZero() {
		t.Errorf("an answer is %s", worth)
	}
}
