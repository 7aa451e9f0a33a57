package cache

import (
	"slices"
	"testing"
	"time"
)

// pinOf is a pin that ends some hours after the epoch of these tests.
func pinOf(file string, hours int) (keyHash, *pin) {
	k := testKey(file)
	return k.hash(), &pin{key: k.bytes(), until: time.Unix(0, 0).Add(time.Duration(hours) * time.Hour)}
}

// pinsOf pins keys whose entries take 100 bytes each; the first one's pin ends last.
func pinsOf(files ...string) *pins {
	p := newPins()
	for i, file := range files {
		h, made := pinOf(file, 10-i)
		p.set(h, made)
		p.fill(h, 100, 1000)
	}
	return &p
}

// has makes sure that exactly these keys are pinned, and what they keep.
func (p *pins) has(t *testing.T, when string, bytes int64, files ...string) {
	t.Helper()
	if len(p.ofKeys) != len(files) || p.bytes != bytes {
		t.Errorf("%s there are %d pins of %d bytes, not %d of %d", when, len(p.ofKeys), p.bytes, len(files), bytes)
	}
	for _, file := range files {
		if p.ofKeys[testKey(file).hash()] == nil {
			t.Errorf("%s %s isn't pinned", when, file)
		}
	}
}

func TestPinsBeyondTheirRoomAreGivenUpInTheOrderOfTheirEnds(t *testing.T) {
	p := pinsOf("a", "b", "c", "d")
	h, empty := pinOf("no entry", 1)
	p.set(h, empty)
	p.trim(400)
	p.has(t, "with room for all", 400, "a", "b", "c", "d", "no entry")
	p.trim(200)
	p.has(t, "with room for two", 200, "a", "b", "no entry")
	if keys, _ := p.takeGivenUp(false); len(keys) != 2 || !slices.Equal(keys[0], testKey("d").bytes()) || !slices.Equal(keys[1], testKey("c").bytes()) {
		t.Errorf("given up are %q", keys)
	}
}

func TestAPinKeepsWhatItsKeyHasNow(t *testing.T) {
	p := pinsOf("a", "b")
	a := testKey("a").hash()
	p.fill(a, 40, 1000)
	p.has(t, "with a smaller file", 140, "a", "b")
	p.fill(testKey("not pinned").hash(), 40, 1000)
	p.empty(testKey("not pinned").hash())
	p.has(t, "with a file that isn't pinned", 140, "a", "b")
	p.empty(a)
	p.empty(a)
	p.has(t, "without the file", 100, "a", "b")
	p.fill(a, 50, 150)
	p.has(t, "with just as much as may be", 150, "a", "b")
	p.fill(a, 51, 150)
	p.has(t, "with a byte more", 100, "b")
	h, again := pinOf("b", 20)
	p.set(h, again)
	p.has(t, "pinned anew", 0, "b")
	p.set(h, nil)
	p.has(t, "unpinned", 0)
}

// TestPinsThatTheIndexKeepsAreToldOnce: the log hears of a pin that is given up when it is, and not with each new try.
func TestPinsThatTheIndexKeepsAreToldOnce(t *testing.T) {
	p := pinsOf("a", "b", "c")
	take := func(again bool, wantKeys, wantFresh int) [][]byte {
		t.Helper()
		keys, fresh := p.takeGivenUp(again)
		if len(keys) != wantKeys || fresh != wantFresh {
			t.Errorf("%d keys are taken, %d of them new; not %d and %d", len(keys), fresh, wantKeys, wantFresh)
		}
		return keys
	}
	take(false, 0, 0)
	take(true, 0, 0)
	p.giveUp(testKey("a").hash())
	p.giveUp(testKey("b").hash())
	p.putBackGivenUp(take(false, 2, 2))
	take(false, 0, 0)
	p.putBackGivenUp(take(true, 2, 0))
	p.giveUp(testKey("c").hash())
	p.putBackGivenUp(take(false, 3, 1))
	take(true, 3, 0)
	take(true, 0, 0)
	p.has(t, "in the end", 0)
}

func TestAPinWhoseTimeHasComeIsForgotten(t *testing.T) {
	p := pinsOf("a", "b", "c") // which end after 10, 9 and 8 hours
	end := time.Unix(0, 0).Add(9 * time.Hour)
	if keys := p.takeExpired(end.Add(-1)); len(keys) != 1 || !slices.Equal(keys[0], testKey("c").bytes()) {
		t.Errorf("expired are %q", keys)
	}
	p.has(t, "just before the second one's time", 200, "a", "b")
	if keys := p.takeExpired(end); len(keys) != 1 || !slices.Equal(keys[0], testKey("b").bytes()) {
		t.Errorf("expired are %q", keys)
	}
	p.has(t, "at its time", 100, "a")
}

// TestWhatHappenedDuringTheStartIsNewerThanTheIndexesPins has keys pinned and unpinned before the index's pins are read.
func TestWhatHappenedDuringTheStartIsNewerThanTheIndexesPins(t *testing.T) {
	p := pinsOf("longer")
	longer := p.ofKeys[testKey("longer").hash()]
	p.unpin(testKey("unpinned").hash())
	read := make([]*pin, 0, 3)
	for _, file := range []string{"longer", "unpinned", "as it was"} {
		_, found := pinOf(file, 1)
		read = append(read, found)
	}
	p.load(read)
	p.has(t, "loaded", 100, "longer", "as it was")
	if p.ofKeys[testKey("longer").hash()] != longer {
		t.Error("a pin is the earlier one again")
	}
	p.unpin(testKey("as it was").hash())
	p.has(t, "unpinned later", 100, "longer")
	if p.unpinned != nil {
		t.Error("what is unpinned is remembered for ever")
	}
	if all := p.all(); len(all) != 1 || all[0].bytes != 100 {
		t.Errorf("all pins are %v", all)
	}
}
