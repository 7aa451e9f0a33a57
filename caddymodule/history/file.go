package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
)

// The file is drawn in the package's documentation.
const (
	headerSize = 4096
	slotSize   = 256
	sumSize    = crc32.Size
	// formatName begins each file. What it says after it is compared as a whole, so that another number of slots or other bounds
	// make another format too.
	formatName = "gitlab_packages history 1\n"
)

// What is wrong with a file that can't be gone on with.
var (
	errOtherSize   = errors.New("it has another size")
	errOtherFormat = errors.New("it has another format")
	errDamaged     = errors.New("its header is damaged")
)

// isNoHistory reports whether an error says that a file can't be gone on with, whatever the disk does.
func isNoHistory(err error) bool {
	return errors.Is(err, errOtherSize) || errors.Is(err, errOtherFormat) || errors.Is(err, errDamaged) || errors.Is(err, ErrNoFile)
}

// castagnoli is the table of CRC-32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fileSize is the file's, in bytes.
func (r *rings) fileSize() (size int64) {
	return r.offset(place{len(r), 0})
}

// offset is where a slot lies in the file.
func (r *rings) offset(at place) int64 {
	slots := at.slot
	for _, ring := range r[:at.ring] {
		slots += len(ring.slots)
	}
	return headerSize + int64(slots)*slotSize
}

// marshal returns the whole file.
func (r *rings) marshal(bounds Bounds) []byte {
	file := make([]byte, r.fileSize())
	copy(file, r.header(bounds))
	for i := range r {
		for j := range r[i].slots {
			at := place{i, j}
			copy(file[r.offset(at):], r[i].slots[j].marshal())
		}
	}
	return file
}

// unmarshal reads a whole file. damaged is how many slots are.
func (r *rings) unmarshal(file []byte, bounds Bounds) (damaged int, err error) {
	if int64(len(file)) != r.fileSize() {
		return 0, errOtherSize
	}
	header := r.header(bounds)
	switch {
	case bytes.Equal(file[:headerSize], header):
	case hasSum(file[:headerSize]):
		return 0, errOtherFormat
	default:
		return 0, errDamaged
	}
	for i := range r {
		for j := range r[i].slots {
			at := r.offset(place{i, j})
			if !r[i].unmarshalSlot(j, file[at:at+slotSize]) {
				damaged++
			}
		}
	}
	return damaged, nil
}

// header is the same for all files of one format.
func (r *rings) header(bounds Bounds) []byte {
	header := append(make([]byte, 0, headerSize), formatName...)
	for _, ring := range r {
		header = binary.LittleEndian.AppendUint64(header, uint64(ring.step)) //nolint:gosec // a length of time
		header = binary.LittleEndian.AppendUint64(header, uint64(len(ring.slots)))
	}
	for _, bound := range bounds {
		header = binary.LittleEndian.AppendUint64(header, math.Float64bits(bound))
	}
	return withSum(header, headerSize)
}

// marshal returns how a slot lies in the file: zeros where nothing is known.
func (s *slot) marshal() []byte {
	if !s.known {
		return make([]byte, slotSize)
	}
	data := binary.LittleEndian.AppendUint64(make([]byte, 0, slotSize), uint64(s.time)) //nolint:gosec // read as signed again
	for _, number := range s.counts.numbers() {
		data = binary.LittleEndian.AppendUint64(data, uint64(*number)) //nolint:gosec // read as signed again
	}
	return withSum(data, slotSize)
}

// unmarshalSlot reads one slot. False means that it is damaged; then nothing is known of its step.
func (r *ring) unmarshalSlot(number int, data []byte) bool {
	if !hasSum(data) {
		return bytes.Count(data, []byte{0}) == len(data) // a slot that was never written
	}
	read := slot{known: true, time: int64(binary.LittleEndian.Uint64(data))} //nolint:gosec // written as signed
	if r.placeOf(read.time) != number {
		return false
	}
	for i, into := range read.counts.numbers() {
		*into = int64(binary.LittleEndian.Uint64(data[8*(1+i):])) //nolint:gosec // written as signed
	}
	r.slots[number] = read
	return true
}

// withSum fills data up to a size with zeros, and ends it with its checksum.
func withSum(data []byte, size int) []byte {
	data = append(data, make([]byte, size-sumSize-len(data))...)
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
}

// hasSum reports whether data ends with its checksum.
func hasSum(data []byte) bool {
	content, sum := data[:len(data)-sumSize], data[len(data)-sumSize:]
	return crc32.Checksum(content, castagnoli) == binary.LittleEndian.Uint32(sum)
}
