package cache

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"
	"time"
)

// TestARecordOfAnotherLengthIsDamaged has records whose check sum is right, as an edge with a fault would write them.
func TestARecordOfAnotherLengthIsDamaged(t *testing.T) {
	key := testKey("a").bytes()
	record := encodeRecord(key, &Entry{
		Key: testKey("a"), Digest: numberedDigest(1), Size: 300, Stored: time.Unix(1700000000, 5), Disposition: "attachment",
		Identity: Identity{SHA256: "sum", Location: "host/path", ETag: `"tag"`, LastModified: time.Unix(1700000000, 0), Length: 7},
	})
	// Where the size ends, which is all that a start needs.
	sizeEnds := recordHeader + len(binary.AppendUvarint(nil, 300))
	for length := range len(record) + 2 {
		cut := slices.Clip(append(slices.Clone(record), 'x')[:length])
		if length >= recordHeader {
			cut = slices.Clip(resum(key, cut))
		}
		entry, err := decodeRecord(key, cut)
		if whole := length == len(record); whole != (err == nil) || whole != (entry != nil) {
			t.Errorf("%d of %d bytes: %v", length, len(record), err)
		}
		digest, size, _, err := checkRecord(key, cut)
		switch {
		case length < sizeEnds && (!errors.Is(err, errDamagedRecord) || digest != Digest{} || size != 0):
			t.Errorf("%d of %d bytes: a start reads %s, %d, %v", length, len(record), digest, size, err)
		case length >= sizeEnds && (err != nil || digest != numberedDigest(1) || size != 300):
			t.Errorf("%d of %d bytes: a start reads %s, %d, %v", length, len(record), digest, size, err)
		}
	}
}

func TestASizeIsNeverNegative(t *testing.T) {
	key := testKey("a").bytes()
	for size, want := range map[uint64]error{math.MaxInt64: nil, math.MaxInt64 + 1: errDamagedRecord, math.MaxUint64: errDamagedRecord} {
		record := resum(key, binary.AppendUvarint(make([]byte, recordHeader), size))
		_, got, _, err := checkRecord(key, record)
		if !errors.Is(err, want) || (want == nil && got != math.MaxInt64) || got < 0 {
			t.Errorf("%d is read as %d, %v", size, got, err)
		}
	}
}

func TestAUseWithoutItsKeyIsNone(t *testing.T) {
	for _, use := range [][]byte{nil, encodeUse(5, nil)[:7], encodeUse(5, nil)} {
		if at, key := decodeUse(use); at != math.MinInt64 || key != nil {
			t.Errorf("%v is read as %d, %q", use, at, key)
		}
	}
	if at, key := decodeUse(encodeUse(5, []byte("k"))); at != 5 || string(key) != "k" {
		t.Errorf("read as %d, %q", at, key)
	}
}
