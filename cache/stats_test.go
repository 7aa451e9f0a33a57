package cache

import (
	"reflect"
	"testing"
)

// TestCountsOfTwoTimesAreToldApartAndAddedUp holds for every field of Stats: one that is no count, and so zero, is named here.
func TestCountsOfTwoTimesAreToldApartAndAddedUp(t *testing.T) {
	noCounts := map[string]bool{
		"Entries": true, "Blobs": true, "Bytes": true, "Reserved": true, "Lingering": true, "Copies": true, "CopyBytes": true,
		"Beginnings": true, "BeginningBytes": true, "Pinned": true, "Owed": true, "OwedBytes": true, "MaxSize": true, "MemoryBytes": true, "MemoryBlobs": true,
		"Fills": true, "Pending": true, "IndexFailing": true, "Loading": true, "FoundBlobs": true, "FoundBytes": true,
	}
	var earlier, later Stats
	kind := reflect.TypeFor[Stats]()
	for i := range kind.NumField() {
		for stats, number := range map[*Stats]int64{&earlier: int64(100 + i), &later: int64(1000 + 3*i)} {
			if field := reflect.ValueOf(stats).Elem().Field(i); field.CanInt() {
				field.SetInt(number)
			} else {
				field.SetBool(true)
			}
		}
	}
	since, sum := reflect.ValueOf(later.Since(earlier)), reflect.ValueOf(later.Plus(earlier))
	for i := range kind.NumField() {
		name := kind.Field(i).Name
		if noCounts[name] {
			if !since.Field(i).IsZero() || !sum.Field(i).IsZero() {
				t.Errorf("%s is %v and %v, and is no count", name, since.Field(i), sum.Field(i))
			}
			continue
		}
		if got := since.Field(i).Int(); got != int64(900+2*i) {
			t.Errorf("%s since then is %d", name, got)
		}
		if got := sum.Field(i).Int(); got != int64(1100+4*i) {
			t.Errorf("%s together is %d", name, got)
		}
	}
}

// TestReservedRoomIsThatOfFillsAndCopiesTogether, and of both again when they end.
func TestReservedRoomIsThatOfFillsAndCopiesTogether(t *testing.T) {
	s, _ := openAt(t, Limits{MaxSize: 1 << 30, UploadRoom: 1 << 28})
	fill := s.begin(t, testKey("a"), FillSpec{Size: 3000})
	copied := s.mustBeginCopy(t, "b", "192.0.2.1", 200)
	if stats := s.Stats(); stats.Reserved != 3000+stats.CopyBytes || stats.Bytes != stats.Reserved || stats.CopyBytes < 200 || stats.Copies != 1 || stats.Fills != 2 {
		t.Errorf("%+v", stats)
	}
	fill.Abort(nil)
	copied.Abort(nil)
	if stats := s.Stats(); stats.Reserved != 0 || stats.Bytes != 0 || stats.Copies != 0 || stats.Fills != 0 {
		t.Errorf("when both have ended: %+v", stats)
	}
}

// TestAnIndexFailsWhileRecordsWaitForIt: one that failed when there was nothing left to write is no trouble.
func TestAnIndexFailsWhileRecordsWaitForIt(t *testing.T) {
	for _, test := range []struct{ failed, waiting bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		s, _ := openAt(t, Limits{})
		s.stopJanitor() // which would write it
		if test.waiting {
			s.put(t, testKey("a"), []byte("x"))
		}
		s.durability.failing = test.failed
		if stats := s.Stats(); stats.IndexFailing != (test.failed && test.waiting) || (stats.Pending == 1) != test.waiting {
			t.Errorf("%+v: %d wait, it fails: %v", test, stats.Pending, stats.IndexFailing)
		}
	}
}
