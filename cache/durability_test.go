package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// recordOf is the record of a numbered key, told from its others by the disposition.
func recordOf(i int, disposition string) (keyHash, *Entry) {
	k := numberedKey(i)
	return k.hash(), &Entry{Key: k, Digest: numberedDigest(i), Disposition: disposition}
}

// someHash is a key's hash that costs nothing to make.
func someHash(i int) (h keyHash) {
	binary.LittleEndian.PutUint32(h[:], uint32(i)) //nolint:gosec // a small number
	return h
}

// knows makes sure of what memory has of a numbered key's record; "" for nothing.
func (d *durability) knows(t *testing.T, when string, i int, want string) {
	t.Helper()
	h, _ := recordOf(i, "")
	got := ""
	if record := d.record(h); record != nil {
		got = record.Disposition
	}
	if got != want {
		t.Errorf("%s: file %d is known as %q, not %q", when, i, got, want)
	}
}

func anyRecord(*Entry) bool { return true }
func anyKey(keyHash) bool   { return true }

func TestWhatIsOnItsWayIntoTheIndexIsWaitingUntilItIsThere(t *testing.T) {
	d := newDurability()
	h, entry := recordOf(1, "stored")
	check := func(when string, written bool, waiting int) {
		t.Helper()
		if d.isWritten(h) != written || d.waiting() != waiting {
			t.Errorf("%s: written: %v, waiting: %d", when, d.isWritten(h), d.waiting())
		}
		d.knows(t, when, 1, "stored")
	}
	d.add(h, entry)
	check("stored", false, 1)
	b := d.take(false)
	check("being written", false, 1)
	d.add(recordOf(2, "other"))
	check("and another one stored", false, 2)
	d.recorded(entry)
	check("written", true, 1)
	if left := d.end(b, nil, anyRecord, anyKey); len(left) > 0 {
		t.Errorf("%d weren't written", len(left))
	}
	check("at the end", true, 1)
}

// TestOnlyAnIndexThatCannotBeWrittenIsBehind: many files stored at once are no trouble.
func TestOnlyAnIndexThatCannotBeWrittenIsBehind(t *testing.T) {
	d := newDurability()
	for i := range maxPending - 1 {
		d.add(someHash(i), new(Entry))
	}
	check := func(when string, want bool) {
		t.Helper()
		if d.isBehind() != want {
			t.Errorf("%s: behind: %v", when, d.isBehind())
		}
	}
	d.failing = true
	check("one less", false)
	d.add(someHash(maxPending), new(Entry))
	check("as many as may wait", true)
	d.failing = false
	check("an index that can be written", false)
}

func TestWhatWasLearntLastOfAnEntryIsKnown(t *testing.T) {
	d := newDurability()
	h, stored := recordOf(1, "stored")
	_, learnt := recordOf(1, "learnt")
	d.know(h, stored)
	d.learn(h, learnt)
	d.knows(t, "before the index hears of it", 1, "learnt")
	b := d.take(true)
	if b.learnt[h] != learnt {
		t.Error("the index doesn't hear of it")
	}
	d.knows(t, "while it does", 1, "learnt")
	d.end(b, nil, anyRecord, anyKey)
	d.knows(t, "then", 1, "learnt")
}

func TestNothingIsKeptOfAnEntryThatIsGone(t *testing.T) {
	for _, when := range []string{"not written yet", "being written", "written", "learnt of"} {
		d := newDurability()
		h, entry := recordOf(1, "stored")
		d.add(h, entry)
		if when != "not written yet" {
			d.take(false)
		}
		if when == "written" || when == "learnt of" {
			d.recorded(entry)
		}
		if when == "learnt of" {
			d.learn(h, entry)
		}
		d.use(h, time.Unix(1, 0))
		d.forget(h)
		d.knows(t, when, 1, "")
		if b := d.take(true); d.waiting() > 0 || !d.isWritten(h) || b != nil {
			t.Errorf("%s: %d wait, and the next batch is %+v", when, d.waiting(), b)
		}
	}
}

// TestTheIndexHearsOfUsesSeldom: each batch costs the disk two syncs, which a store that only serves is spared.
func TestTheIndexHearsOfUsesSeldom(t *testing.T) {
	blob := new(blobState)
	for name, test := range map[string]struct {
		touched, learnt int
		and             func(d *durability)
		withUses        bool // it is time for them
		due             bool // there is to be a batch soon
		taken, uses     bool // whether there is a batch now, and whether it has the uses
	}{
		"nothing":                            {0, 0, nil, true, false, false, false},
		"a use, before its time":             {1, 0, nil, false, false, false, false},
		"a use, at its time":                 {1, 0, nil, true, false, true, true},
		"something learnt, at its time":      {0, 1, nil, true, false, true, true},
		"both, at their time":                {1, 1, nil, true, false, true, true},
		"a use, and a file":                  {1, 0, func(d *durability) { d.add(recordOf(1, "")) }, false, true, true, false},
		"a use, and a file that is replaced": {1, 0, func(d *durability) { d.hold(blob) }, false, true, true, false},
		"a use, and somebody who waits":      {1, 0, func(d *durability) { d.wait(make(chan error, 1)) }, false, false, true, true},
		"nearly too many":                    {maxTouched - 2, 1, nil, false, false, false, false},
		"too many":                           {maxTouched - 1, 1, nil, false, true, true, true},
		"too much learnt":                    {1, maxTouched - 1, nil, false, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDurability()
			for i := range test.touched {
				d.use(someHash(i), time.Unix(1, 0))
			}
			for i := range test.learnt {
				d.learn(someHash(maxTouched+i), new(Entry))
			}
			if test.and != nil {
				test.and(&d)
			}
			due, held := d.isDue(), len(d.replaced)
			b := d.take(test.withUses)
			if due != test.due || (b != nil) != test.taken {
				t.Fatalf("due: %v, taken: %v", due, b != nil)
			}
			if b == nil {
				b = new(batch)
			}
			if uses := len(b.touched)+len(b.learnt) > 0; uses != test.uses || len(b.replaced) != held {
				t.Errorf("the batch has uses: %v, and %d of %d that are replaced", uses, len(b.replaced), held)
			}
			if left := len(d.touched) + len(d.learnt); (left > 0) != (test.touched+test.learnt > 0 && !test.uses) {
				t.Errorf("%d uses are left", left)
			}
		})
	}
}

// TestWhatTheIndexCouldNotTakeIsTriedAgain, but for what is newer by then, or gone.
func TestWhatTheIndexCouldNotTakeIsTriedAgain(t *testing.T) {
	const same, newer, gone = 1, 2, 3
	all := []int{same, newer, gone}
	d := newDurability()
	blob := new(blobState)
	hashes := make(map[int]keyHash)
	for _, i := range all {
		h, entry := recordOf(i, "first")
		hashes[i] = h
		d.add(h, entry)
		d.use(h, time.Unix(1, 0))
		h, learnt := recordOf(10+i, "first")
		hashes[10+i] = h
		d.learn(h, learnt)
	}
	d.hold(blob)
	b := d.take(true)
	d.add(recordOf(newer, "second"))
	d.use(hashes[newer], time.Unix(2, 0))
	d.learn(recordOf(10+newer, "second"))
	d.forget(hashes[gone])
	d.forget(hashes[10+gone])
	left := d.end(b, errors.New("full"), func(e *Entry) bool { return e.Key != numberedKey(10+gone) }, func(h keyHash) bool { return h != hashes[gone] })
	if len(left) != 2 || !d.failing {
		t.Errorf("%d weren't written, failing: %v", len(left), d.failing)
	}
	again := d.take(true)
	if !slices.Equal(again.replaced, []*blobState{blob}) {
		t.Errorf("%d files that are replaced are held", len(again.replaced))
	}
	if want := map[keyHash]int64{hashes[same]: 1e9, hashes[newer]: 2e9}; !maps.Equal(again.touched, want) {
		t.Errorf("uses: %v", again.touched)
	}
	of := func(records map[keyHash]*Entry, first int) (all [2]string) {
		for i := range all {
			if record := records[hashes[first+i]]; record != nil {
				all[i] = record.Disposition
			}
		}
		return all
	}
	if want := [2]string{"first", "second"}; of(d.recording, same) != want || len(d.recording) != 2 || of(again.learnt, 10+same) != want || len(again.learnt) != 2 {
		t.Errorf("records: %v of %d, learnt: %v of %d", of(d.recording, same), len(d.recording), of(again.learnt, 10+same), len(again.learnt))
	}
	d.end(again, nil, anyRecord, anyKey)
	if d.failing {
		t.Error("it fails still")
	}
}

func TestFilesThatCouldNotBeSyncedForNowAreSyncedNextTime(t *testing.T) {
	well, damaged := &blobState{digest: numberedDigest(1)}, &blobState{digest: numberedDigest(2), damaged: true}
	for name, test := range map[string]struct {
		postponed error
		again     []*blobState
	}{
		"too many open files":            {errors.New("too many open files"), []*blobState{well}},
		"an index that can't be written": {nil, nil},
	} {
		d := newDurability()
		d.sync(well)
		d.sync(damaged)
		d.wait(make(chan error, 1))
		b := d.take(false)
		b.postponed = test.postponed
		d.end(b, errors.New("not now"), anyRecord, anyKey)
		if !slices.Equal(d.fresh, test.again) {
			t.Errorf("%s: %d files are synced next time", name, len(d.fresh))
		}
	}
}

func TestHalfOfWhatWasRemovedShowsThatAllIsFree(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, test := range []struct {
		free    int64 // since 100 bytes were removed; 500 were free before, and more before that
		passed  time.Duration
		unfreed int64
	}{
		{500, 0, 100}, {400, 0, 100}, {549, 0, 100}, {550, 0, 0}, {600, 0, 0}, {500, freedWithin - 1, 100}, {500, freedWithin, 0},
	} {
		t.Run(fmt.Sprint(test.free, " after ", test.passed), func(t *testing.T) {
			o := new(unfreed)
			o.settle(1000, now)
			o.settle(500, now)
			o.add(100, now)
			o.settle(test.free, now.Add(test.passed))
			if o.bytes != test.unfreed {
				t.Errorf("%d aren't freed", o.bytes)
			}
		})
	}
}
