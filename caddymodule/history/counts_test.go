package history

import (
	"math"
	"testing"
)

// TestQuantilesAreThoseOfPrometheus has the values that histogram_quantile gives.
func TestQuantilesAreThoseOfPrometheus(t *testing.T) {
	for _, test := range []struct {
		name string
		of   Buckets
		part float64
		want float64 // NaN for none
	}{
		{"none", Buckets{}, .5, math.NaN()},
		{"one in the first bucket", Buckets{1}, .5, .00025},
		{"one in the first bucket, all of it", Buckets{1}, 1, .0005},
		{"ten in one bucket", Buckets{6: 10}, .5, .175},
		{"ten in one bucket, the 99th", Buckets{6: 10}, .99, .1 + .15*.99},
		{"at the bound of two", Buckets{0: 5, 4: 5}, .5, .0005},
		{"beyond the bound of two", Buckets{0: 5, 4: 5}, .75, .01 + .04*.5},
		{"in the last bucket", Buckets{0: 1, 13: 99}, .5, 30},
		{"all in the last bucket", Buckets{13: 1}, .99, 30},
	} {
		got, ok := bounds.Quantile(test.part, test.of)
		if ok == math.IsNaN(test.want) || ok && math.Abs(got-test.want) > 1e-12 {
			t.Errorf("%s: %v, %t, want %v", test.name, got, ok, test.want)
		}
	}
}

// TestAllNumbersAreAddedAndWritten gives each number of a slot another value.
func TestAllNumbersAreAddedAndWritten(t *testing.T) {
	var counts, twice Counts
	for i, number := range counts.numbers() {
		*number = int64(i + 1)
	}
	if counts.Requests != 1 || counts.Spared != 10 || counts.FirstByte[13] != 24 {
		t.Errorf("%+v", counts)
	}
	twice.Add(counts)
	twice.Add(counts)
	if twice.since(counts) != counts {
		t.Errorf("%+v", twice)
	}
	written := slot{known: true, time: noon.Unix(), counts: counts}
	read := newRings()
	number := read[2].placeOf(noon.Unix())
	if !read[2].unmarshalSlot(number, written.marshal()) || read[2].slots[number] != written {
		t.Errorf("read %+v, want %+v", read[2].slots[number], written)
	}
}
