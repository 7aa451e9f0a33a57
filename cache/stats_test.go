package cache

import (
	"reflect"
	"testing"
)

// TestCountsOfTwoTimesAreToldApartAndAddedUp holds for every field of Stats: one that is no count, and so zero, is named here.
func TestCountsOfTwoTimesAreToldApartAndAddedUp(t *testing.T) {
	noCounts := map[string]bool{
		"Entries": true, "Blobs": true, "Bytes": true, "Reserved": true, "Lingering": true, "Copies": true, "CopyBytes": true,
		"Beginnings": true, "BeginningBytes": true, "Pinned": true, "MaxSize": true, "MemoryBytes": true, "MemoryBlobs": true,
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
