package cache

import (
	"testing"
)

// TestWhatIsGoneDuringTheStartDoesNotComeBackFromTheIndex, which has it until the janitor comes to that.
func TestWhatIsGoneDuringTheStartDoesNotComeBackFromTheIndex(t *testing.T) {
	st := newStarting()
	h := numberedKey(1).hash()
	check := func(when string, want bool) {
		t.Helper()
		if st.mayHave(h) != want {
			t.Errorf("%s the index may have it: %v", when, st.mayHave(h))
		}
	}
	check("at first", true)
	st.forget(h)
	check("when it was removed", false)
	st.end()
	check("when all is loaded, and it was removed before,", false)
	st.forget(h)
	if st.forgotten != nil {
		t.Error("what is removed later is remembered for ever")
	}
}

// TestAStartTellsWhatItFound: `status` shows how far it has come.
func TestAStartTellsWhatItFound(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	stored := s.put(t, testKey("a"), randomBytes(1000, 1))
	s.put(t, testKey("b"), randomBytes(2000, 2))
	s.linkMany(t, stored, 0, 5) // other names of the first
	if found := s.Stats(); found.FoundBlobs != 0 || found.FoundBytes != 0 {
		t.Errorf("an empty directory: %+v", found)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	if found := s.Stats(); found.FoundBlobs != 2 || found.FoundBytes != 3000 || found.Entries != 7 || found.Blobs != 2 {
		t.Errorf("%+v", found)
	}
}
