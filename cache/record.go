package cache

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"
)

// A record of the index, all numbers big-endian:
//
//	 0  check sum of the rest (CRC-32C)
//	 4  flags
//	 5  SHA-256
//	37  size
//	45  stored, Unix nanoseconds
//	53  identity: length
//	61  identity: last modified, Unix seconds, if flagged
//	69  texts, each with its length in 4 bytes before it: the key's five fields, Content-Disposition,
//	    the identity's SHA-256, location and ETag
//
// The fixed part stands in front so that a start reads what memory keeps of an entry and nothing else.

const (
	recordHeader = 69
	recordTexts  = 9

	flagSettled      = 1 << 0
	flagLastModified = 1 << 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamagedRecord says that a record can't be what was written.
var errDamagedRecord = errors.New("damaged record")

func encodeRecord(e *Entry) []byte {
	texts := [recordTexts]string{
		e.Key.Upstream, e.Key.Project, e.Key.Package, e.Key.Version, e.Key.File,
		e.Disposition, e.Identity.SHA256, e.Identity.Location, e.Identity.ETag,
	}
	length := recordHeader
	for _, text := range texts {
		length += 4 + len(text)
	}
	record := make([]byte, 4, length)
	var flags byte
	var lastModified int64
	if e.Identity.Settled {
		flags |= flagSettled
	}
	if !e.Identity.LastModified.IsZero() {
		flags |= flagLastModified
		lastModified = e.Identity.LastModified.Unix()
	}
	record = append(record, flags)
	record = append(record, e.Digest[:]...)
	for _, number := range [...]int64{e.Size, e.Stored.UnixNano(), e.Identity.Length, lastModified} {
		record = append(record, writeNumber(number)...)
	}
	for _, text := range texts {
		record = binary.BigEndian.AppendUint32(record, uint32(len(text))) //nolint:gosec // header values, far below 4 GiB
		record = append(record, text...)
	}
	binary.BigEndian.PutUint32(record, crc32.Checksum(record[4:], castagnoli))
	return record
}

// checkRecord returns what a start needs of a record.
func checkRecord(record []byte) (digest Digest, size int64, err error) {
	if len(record) < recordHeader || crc32.Checksum(record[4:], castagnoli) != binary.BigEndian.Uint32(record) {
		return Digest{}, 0, errDamagedRecord
	}
	size = readNumber(record[37:45])
	if size < 0 {
		return Digest{}, 0, errDamagedRecord
	}
	return Digest(record[5:37]), size, nil
}

func decodeRecord(record []byte) (*Entry, error) {
	digest, size, err := checkRecord(record)
	if err != nil {
		return nil, err
	}
	var texts [recordTexts]string
	rest := record[recordHeader:]
	for i := range texts {
		if len(rest) < 4 {
			return nil, errDamagedRecord
		}
		length := binary.BigEndian.Uint32(rest)
		rest = rest[4:]
		if uint64(length) > uint64(len(rest)) {
			return nil, errDamagedRecord
		}
		texts[i], rest = string(rest[:length]), rest[length:]
	}
	if len(rest) != 0 {
		return nil, errDamagedRecord
	}
	e := &Entry{
		Key:    Key{texts[0], texts[1], texts[2], texts[3], texts[4]},
		Digest: digest, Size: size, Stored: time.Unix(0, readNumber(record[45:53])).UTC(), Disposition: texts[5],
		Identity: Identity{
			SHA256: texts[6], Location: texts[7], ETag: texts[8],
			Settled: record[4]&flagSettled != 0, Length: readNumber(record[53:61]),
		},
	}
	if record[4]&flagLastModified != 0 {
		e.Identity.LastModified = time.Unix(readNumber(record[61:69]), 0).UTC()
	}
	return e, nil
}

// A use is when an entry was last used, and its key, so that an eviction, which knows the hash only, finds the record.

func encodeUse(at time.Time, key []byte) []byte {
	return append(writeNumber(at.UnixNano()), key...)
}

// decodeUse returns the least time for what isn't a use.
func decodeUse(use []byte) (at int64, key []byte) {
	if len(use) <= 8 {
		return math.MinInt64, nil
	}
	return readNumber(use[:8]), use[8:]
}

func readNumber(data []byte) int64 {
	if len(data) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(data)) //nolint:gosec // written by writeNumber
}

func writeNumber(n int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n)) //nolint:gosec // read by readNumber
}
