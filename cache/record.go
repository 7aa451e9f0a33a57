package cache

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"
)

// A record of the index stands under its key, which it doesn't repeat. Numbers are varints unless a width is given:
//
//	 0  check sum of the key and of the rest (CRC-32C, 4 bytes, big-endian)
//	 4  flags (1 byte)
//	 5  SHA-256 (32 bytes)
//	37  size
//	    stored, Unix nanoseconds
//	    identity: length, unless flagged as the size
//	    identity: last modified, Unix seconds, if flagged
//	    texts, each with its length before it: Content-Disposition, unless flagged as the usual one; the identity's
//	    SHA-256, unless flagged as the blob's; its location and ETag
//	    if flagged, more fields up to the end: a number for each, and its bytes with their length before them. What isn't known
//	    is passed over, so that a later version can have more of them
//
// What a start needs stands in front. What nearly every record would have alike is a flag, since there may be a million
// records, and what is read of them stays mapped in memory.

const (
	recordHeader = 37

	flagSettled          = 1 << 0
	flagLastModified     = 1 << 1
	flagLengthIsSize     = 1 << 2
	flagUsualDisposition = 1 << 3
	flagSHA256IsBlobs    = 1 << 4
	flagOwed             = 1 << 5
	flagMore             = 1 << 6
)

// Numbers of the fields at a record's end.
const (
	// moreShared is Entry.Shared, a varint of Unix seconds.
	moreShared = 1
	// moreSharedWrongly is there, and empty, where Entry.SharedWrongly is set.
	moreSharedWrongly = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamagedRecord says that a record can't be what was written under its key.
var errDamagedRecord = errors.New("damaged record")

// usualDisposition is the Content-Disposition that a file of a plain name nearly always has.
func usualDisposition(file string) string {
	return `attachment; filename="` + file + `"; filename*=UTF-8''` + file
}

func encodeRecord(key []byte, e *Entry) []byte {
	record := make([]byte, 5, 128)
	record = append(record, e.Digest[:]...)
	record = binary.AppendUvarint(record, uint64(e.Size)) //nolint:gosec // no file has less than no bytes
	record = binary.AppendVarint(record, e.Stored.UnixNano())
	var flags byte
	if e.Identity.Settled {
		flags |= flagSettled
	}
	if e.Identity.Length == e.Size {
		flags |= flagLengthIsSize
	} else {
		record = binary.AppendVarint(record, e.Identity.Length)
	}
	if !e.Identity.LastModified.IsZero() {
		flags |= flagLastModified
		record = binary.AppendVarint(record, e.Identity.LastModified.Unix())
	}
	if e.Disposition == usualDisposition(e.Key.File) {
		flags |= flagUsualDisposition
	} else {
		record = appendText(record, e.Disposition)
	}
	if e.Identity.SHA256 == e.Digest.String() {
		flags |= flagSHA256IsBlobs
	} else {
		record = appendText(record, e.Identity.SHA256)
	}
	record = appendText(record, e.Identity.Location)
	record = appendText(record, e.Identity.ETag)
	if e.Owed {
		flags |= flagOwed
	}
	if e.SharedWrongly {
		flags |= flagMore
		record = appendText(binary.AppendUvarint(record, moreSharedWrongly), "")
	}
	if !e.Shared.IsZero() {
		flags |= flagMore
		record = binary.AppendUvarint(record, moreShared)
		record = appendText(record, string(binary.AppendVarint(nil, e.Shared.Unix())))
	}
	record[4] = flags
	binary.BigEndian.PutUint32(record, sumOfRecord(key, record))
	return record
}

func appendText(record []byte, text string) []byte {
	return append(binary.AppendUvarint(record, uint64(len(text))), text...)
}

// sumOfRecord covers the key too: a record that damage has put under another key must not be taken for that key's.
func sumOfRecord(key, record []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, record[4:])
}

// checkRecord returns what a start needs of a record.
func checkRecord(key, record []byte) (digest Digest, size int64, owed bool, err error) {
	digest, fields, err := openRecord(key, record)
	if err != nil {
		return Digest{}, 0, false, err
	}
	size = fields.size()
	if fields.damaged {
		return Digest{}, 0, false, errDamagedRecord
	}
	return digest, size, record[4]&flagOwed != 0, nil
}

// openRecord makes sure that the record is what was written under the key, and returns its fields from the size on.
func openRecord(key, record []byte) (Digest, recordFields, error) {
	if len(record) < recordHeader || sumOfRecord(key, record) != binary.BigEndian.Uint32(record) {
		return Digest{}, recordFields{}, errDamagedRecord
	}
	return Digest(record[5:recordHeader]), recordFields{rest: record[recordHeader:]}, nil
}

func decodeRecord(key, record []byte) (*Entry, error) {
	k, ok := parseKey(key)
	if !ok {
		return nil, errDamagedRecord
	}
	digest, fields, err := openRecord(key, record)
	if err != nil {
		return nil, err
	}
	flags := record[4]
	e := &Entry{Key: k, Digest: digest, Size: fields.size(), Stored: time.Unix(0, fields.number()).UTC()}
	e.Identity.Settled = flags&flagSettled != 0
	e.Identity.Length = e.Size
	if flags&flagLengthIsSize == 0 {
		e.Identity.Length = fields.number()
	}
	if flags&flagLastModified != 0 {
		e.Identity.LastModified = time.Unix(fields.number(), 0).UTC()
	}
	if flags&flagUsualDisposition != 0 {
		e.Disposition = usualDisposition(k.File)
	} else {
		e.Disposition = fields.text()
	}
	if flags&flagSHA256IsBlobs != 0 {
		e.Identity.SHA256 = digest.String()
	} else {
		e.Identity.SHA256 = fields.text()
	}
	e.Identity.Location, e.Identity.ETag = fields.text(), fields.text()
	e.Owed = flags&flagOwed != 0
	if flags&flagMore != 0 {
		fields.more(e)
	}
	if fields.damaged || len(fields.rest) != 0 {
		return nil, errDamagedRecord
	}
	return e, nil
}

// more reads the fields at a record's end.
func (f *recordFields) more(e *Entry) {
	for len(f.rest) > 0 && !f.damaged {
		number := f.size()
		field := recordFields{rest: []byte(f.text())}
		switch number {
		case moreShared:
			e.Shared = time.Unix(field.number(), 0).UTC()
			f.damaged = f.damaged || field.damaged
		case moreSharedWrongly:
			e.SharedWrongly = true
		}
	}
}

// recordFields reads a record's fields one after the other. After a field that isn't one it is damaged, and reads
// nothing more.
type recordFields struct {
	rest    []byte
	damaged bool
}

func (f *recordFields) number() int64 {
	n, length := binary.Varint(f.rest)
	f.skip(length)
	return n
}

func (f *recordFields) size() int64 {
	n, length := binary.Uvarint(f.rest)
	f.skip(length)
	f.damaged = f.damaged || n > math.MaxInt64
	return int64(n) //nolint:gosec // else it is damaged
}

func (f *recordFields) text() string {
	length, prefix := binary.Uvarint(f.rest)
	f.skip(prefix)
	if length > uint64(len(f.rest)) {
		f.damaged = true
		return ""
	}
	text := string(f.rest[:length])
	f.rest = f.rest[length:]
	return text
}

// skip goes on after a number of so many bytes; encoding/binary says that there is none by giving no more than 0.
func (f *recordFields) skip(length int) {
	if length <= 0 {
		f.damaged, f.rest = true, nil
		return
	}
	f.rest = f.rest[length:]
}

// A use is when an entry was last used, in Unix nanoseconds, and its key, so that an eviction, which knows the hash only,
// finds the record.

func encodeUse(at int64, key []byte) []byte {
	return append(writeNumber(at), key...)
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
