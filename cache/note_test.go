package cache

import (
	"context"
	"testing"
	"time"
)

// TestANoteIsFoundAtLaterLookUps: what an entry's reader made of it is there for the next, before the entry is durable and after, and
// not beside another key's entry.
func TestANoteIsFoundAtLaterLookUps(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	entry := s.put(t, testKey("app.bin"), []byte("one"))
	other := s.put(t, testKey("other.bin"), []byte("two"))
	if entry.Note != nil {
		t.Error("there is a note that nobody has left")
	}
	note := new(int)
	s.KeepNote(entry, note)
	noteOf := func(k Key) any {
		t.Helper()
		found, err := s.Lookup(k)
		if err != nil {
			t.Fatal(err)
		}
		return found.Note
	}
	if noteOf(entry.Key) != note {
		t.Error("the note is lost while the entry waits to become durable")
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if noteOf(entry.Key) != note {
		t.Error("the note is lost when the entry is durable")
	}
	confirmed, worth := s.Confirm(entry, s.Generation(entry.Key), s.now(), Named{Identity: Identity{LastModified: time.Unix(1, 0)}})
	if worth != Confirmed || confirmed.Identity.LastModified.IsZero() {
		t.Fatalf("the entry has learnt nothing: %v", worth)
	}
	if noteOf(other.Key) != nil {
		t.Error("another entry has the note")
	}
	s.KeepNote(Entry{Key: testKey("nothing.bin")}, note) // is nothing
	if s.put(t, entry.Key, []byte("three")); noteOf(entry.Key) != nil {
		t.Error("the note is found beside what replaced the entry")
	}
}
