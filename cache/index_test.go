package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"
)

func FuzzDecodeRecord(f *testing.F) {
	key := testKey("a")
	for _, entry := range []*Entry{
		{Key: key, Size: 1, Stored: time.Unix(1, 2), Disposition: "x"},
		{Key: key, Size: 1, Disposition: usualDisposition("a"), Identity: Identity{SHA256: Digest{}.String(), Length: 1}},
		{Key: key, Identity: Identity{SHA256: "s", Location: "l", ETag: "e", LastModified: time.Unix(5, 0), Settled: true, Length: -1}},
	} {
		f.Add(key.bytes(), encodeRecord(key.bytes(), entry))
	}
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, record []byte) {
		// The check sum hides nearly everything from a fuzzer, so it is made right.
		if len(record) >= recordHeader {
			record = resum(key, record)
		}
		entry, err := decodeRecord(key, record)
		if err != nil {
			return
		}
		again, err := decodeRecord(key, encodeRecord(key, entry))
		if err != nil || !reflect.DeepEqual(entry, again) {
			t.Errorf("%+v became %+v, %v", entry, again, err)
		}
	})
}

// resum returns the record with the check sum that it would have.
func resum(key, record []byte) []byte {
	record = bytes.Clone(record)
	binary.BigEndian.PutUint32(record, sumOfRecord(key, record))
	return record
}

func TestARecordComesBackAsItWas(t *testing.T) {
	for name, entry := range map[string]*Entry{
		"nothing known": {Key: testKey("a")},
		"as GitLab names it": {
			Key: testKey("a-b.tar.gz"), Digest: numberedDigest(1), Size: 1 << 40, Stored: time.Unix(1700000000, 123456789).UTC(),
			Disposition: `attachment; filename="a-b.tar.gz"; filename*=UTF-8''a-b.tar.gz`,
			Identity:    Identity{SHA256: numberedDigest(1).String(), Length: 1 << 40, LastModified: time.Unix(1700000000, 0).UTC(), Settled: true},
		},
		"all else": {
			Key: testKey("a/b"), Digest: numberedDigest(1), Size: 1, Stored: time.Unix(-5, 0).UTC(),
			Disposition: `attachment; filename="ä"`,
			Identity:    Identity{SHA256: numberedDigest(2).String(), Location: "host/path", ETag: `"tag"`, LastModified: time.Unix(-7, 0).UTC(), Length: -1},
		},
	} {
		if entry.Stored.IsZero() {
			entry.Stored = time.Unix(0, 0).UTC()
		}
		key := entry.Key.bytes()
		record := encodeRecord(key, entry)
		got, err := decodeRecord(key, record)
		if err != nil || !reflect.DeepEqual(got, entry) {
			t.Errorf("%s: %+v became %+v, %v", name, entry, got, err)
		}
		if digest, size, _, err := checkRecord(key, record); err != nil || digest != entry.Digest || size != entry.Size {
			t.Errorf("%s: a start reads %s, %d, %v", name, digest, size, err)
		}
		for i := range record {
			damaged := bytes.Clone(record)
			for bit := range 8 {
				damaged[i] = record[i] ^ 1<<bit
				_, err := decodeRecord(key, damaged)
				if _, _, _, atStart := checkRecord(key, damaged); !errors.Is(err, errDamagedRecord) || !errors.Is(atStart, errDamagedRecord) {
					t.Errorf("%s: a change of byte %d goes unnoticed: %v, %v", name, i, err, atStart)
				}
			}
		}
		if _, err := decodeRecord(testKey("other").bytes(), record); err == nil {
			t.Errorf("%s: a record is taken for another key's", name)
		}
	}
}

func TestWhatMostRecordsHaveAlikeTakesNoRoom(t *testing.T) {
	key := testKey("a-rather-long-name-of-a-file.tar.gz")
	record := encodeRecord(key.bytes(), &Entry{
		Key: key, Digest: numberedDigest(1), Size: 1 << 20, Stored: time.Unix(1700000000, 123456789), Disposition: usualDisposition(key.File),
		Identity: Identity{SHA256: numberedDigest(1).String(), Length: 1 << 20, LastModified: time.Unix(1700000000, 0)},
	})
	if len(record) > 64 {
		t.Errorf("a record takes %d bytes", len(record))
	}
}

func TestUseSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{MaxSize: 1 << 20})
	for i := range 5 {
		s.put(t, numberedKey(i), randomBytes(100_000, byte(i)))
	}
	for _, i := range []int{0, 3} {
		blob, err := s.OpenBlob(must(s.Lookup(numberedKey(i))))
		if err != nil {
			t.Fatal(err)
		}
		_ = blob.Close() // it was only opened
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{MaxSize: 250_000})
	awaitLoaded(t, s)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if stays := s.content(t, numberedKey(i)) != nil; stays != (i == 0 || i == 3) {
			t.Errorf("%d is there: %v", i, stays)
		}
	}
}

func TestEntriesAreListedInOrderFromWhereverTheyAre(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	for i := range 10 {
		s.put(t, numberedKey(i), randomBytes(100, byte(i)))
		if i == 5 {
			if err := s.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.put(t, numberedKey(2), randomBytes(100, 77)) // known to the index as another
	var after *Key
	var listed []string
	for {
		entries, err := s.Entries(context.Background(), Selector{Upstream: numberedKey(0).Upstream}, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			listed = append(listed, e.Key.Version)
			if want, err := s.Lookup(e.Key); err != nil || !reflect.DeepEqual(want, e.Entry) {
				t.Errorf("listed %+v, looked up %+v, %v", e, want, err)
			}
		}
		after = &entries[len(entries)-1].Key
	}
	want := "[1.0.0 1.0.1 1.0.2 1.0.3 1.0.4 1.0.5 1.0.6 1.0.7 1.0.8 1.0.9]"
	if fmt.Sprint(listed) != want {
		t.Errorf("listed %v", listed)
	}
}

func TestAWidePurgeHoldsFromItsFirstMoment(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	e := s.put(t, testKey("a"), randomBytes(100, 1))
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	// As Purge does before it has come to the entry.
	s.mu.Lock()
	running := s.leaving.beginPurge(Selector{Project: "24"}, s.serial)
	s.mu.Unlock()
	if _, got := s.Confirm(e, s.Generation(e.Key), time.Now(), Named{}); got != Superseded {
		t.Error("confirmed")
	}
	if entries, err := s.Entries(context.Background(), Selector{}, nil, 10); err != nil || len(entries) != 0 {
		t.Errorf("listed %v, %v", entries, err)
	}
	if _, err := s.Lookup(testKey("a")); !errors.Is(err, ErrMiss) {
		t.Errorf("looked up with %v", err)
	}
	s.put(t, testKey("a"), randomBytes(100, 2))
	if _, err := s.Lookup(testKey("a")); err != nil {
		t.Errorf("what is stored after it: %v", err)
	}
	s.mu.Lock()
	s.leaving.endPurge(running)
	s.mu.Unlock()
}

func TestPurgesSelect(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	keys := []Key{
		{"u1", "p1", "a", "1", "f"},
		{"u1", "p1", "a", "1", "g"},
		{"u1", "p1", "a", "2", "f"},
		{"u1", "p1", "ab", "1", "f"},
		{"u1", "p2", "a", "1", "f"},
		{"u2", "p1", "a", "1", "f"},
	}
	for _, test := range []struct {
		selector Selector
		want     int
	}{
		{Selector(keys[0]), 1},
		{Selector{"u1", "p1", "a", "1", ""}, 2},
		{Selector{"u1", "p1", "a", "", ""}, 3},
		{Selector{"u1", "p1", "", "", ""}, 4},
		{Selector{"u1", "", "", "", ""}, 5},
		{Selector{"", "p1", "", "", ""}, 5},
		{Selector{}, 6},
	} {
		for _, durable := range []bool{true, false} {
			for i, k := range keys {
				s.put(t, k, randomBytes(100, byte(i)))
			}
			if durable {
				if err := s.Sync(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			purged, err := s.Purge(context.Background(), test.selector)
			if err != nil || purged.Entries != test.want || purged.Bytes != int64(test.want)*100 {
				t.Errorf("%+v purged %+v, %v", test.selector, purged, err)
			}
			for _, k := range keys {
				if _, err := s.Lookup(k); errors.Is(err, ErrMiss) != test.selector.Matches(k) {
					t.Errorf("after purging %+v, %s: %v", test.selector, k, err)
				}
			}
		}
	}
}

func TestConfirmationsAreNewerOrNothing(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	k := testKey("a")
	e := s.put(t, k, []byte("x"))
	g := s.Generation(k)
	later := e.Confirmed.Add(time.Minute)
	for _, test := range []struct{ at, want time.Time }{{later, later}, {later.Add(-time.Second), later}} {
		if got, ok := s.Confirm(e, g, test.at, Named{}); ok != Confirmed || !got.Confirmed.Equal(test.want) {
			t.Errorf("confirmed %v at %v, %v", got.Confirmed, test.at, ok)
		}
	}
	s.Doubt(k, later, OtherContentNamed)
	if _, ok := s.Confirm(e, g, later, Named{}); ok != Superseded {
		t.Error("confirmed by an answer that a later one has contradicted")
	}
	if got, err := s.Lookup(k); err != nil || !got.Confirmed.IsZero() {
		t.Errorf("after taking it back: %v, %v", got.Confirmed, err)
	}
	replaced := s.put(t, k, []byte("y")) // fetched before the doubt
	if _, ok := s.Confirm(e, g, later.Add(time.Second), Named{}); ok != Superseded {
		t.Error("an entry was confirmed that is another by now")
	}
	if got, err := s.Lookup(k); err != nil || !got.Confirmed.IsZero() {
		t.Errorf("the new one: %v, %v", got.Confirmed, err)
	}
	latest := later.Add(time.Minute)
	if got, ok := s.Confirm(replaced, g, latest, Named{}); ok != Confirmed || !got.Confirmed.Equal(latest) {
		t.Errorf("confirmed after the doubt: %v, %v", got.Confirmed, ok)
	}
}

// TestAFetchThatEndsLateDoesNotReplaceWhatWasNamedAfterIt commits first what was fetched last.
func TestAFetchThatEndsLateDoesNotReplaceWhatWasNamedAfterIt(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	k := testKey("a")
	g := s.Generation(k)
	now := s.now()
	for _, test := range []struct {
		content   string
		confirmed time.Time
		err       error
	}{{"newer", now, nil}, {"older", now.Add(-time.Second), ErrSuperseded}, {"newest", now.Add(time.Second), nil}} {
		fill, err := s.Begin(k, g, FillSpec{Size: int64(len(test.content)), Confirmed: test.confirmed})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fill.Write([]byte(test.content)); err != nil {
			t.Fatal(err)
		}
		if _, err := fill.Commit(g); !errors.Is(err, test.err) {
			t.Errorf("%s: %v", test.content, err)
		}
	}
	if got := s.content(t, k); string(got) != "newest" {
		t.Errorf("got %q", got)
	}
}

func TestKeysOutOfOrderAreDamageAndNoEndlessWay(t *testing.T) {
	var order keyOrder
	for _, key := range []string{"a", "b", "ba"} {
		if err := order.meet([]byte(key)); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{"ba", "b", "a", ""} {
		if err := order.meet([]byte(key)); !errors.Is(err, errDamagedIndex) {
			t.Errorf("%q after ba: %v", key, err)
		}
	}
}
