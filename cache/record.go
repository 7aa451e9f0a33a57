package cache

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// A record of the index is a check sum (CRC-32C, 4 bytes) and JSON: short enough, and readable with any bbolt tool.

// diskRecord is an entry as the index has it.
type diskRecord struct {
	Key          [5]string `json:"key"`
	SHA256       string    `json:"sha256"`
	Size         int64     `json:"size"`
	Stored       time.Time `json:"stored"`
	Disposition  string    `json:"disposition,omitempty"`
	Named        string    `json:"named,omitempty"` // the SHA-256 that the upstream named
	Location     string    `json:"location,omitempty"`
	ETag         string    `json:"etag,omitempty"`
	LastModified time.Time `json:"last_modified,omitzero"`
	Settled      bool      `json:"settled,omitempty"`
	Length       int64     `json:"length"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamagedRecord says that a record can't be what was written.
var errDamagedRecord = errors.New("damaged record")

func encodeRecord(e *Entry) ([]byte, error) {
	body, err := json.Marshal(diskRecord{
		Key:    [5]string{e.Key.Upstream, e.Key.Project, e.Key.Package, e.Key.Version, e.Key.File},
		SHA256: e.Digest.String(), Size: e.Size, Stored: e.Stored.UTC(), Disposition: e.Disposition,
		Named: e.Identity.SHA256, Location: e.Identity.Location, ETag: e.Identity.ETag,
		LastModified: e.Identity.LastModified, Settled: e.Identity.Settled, Length: e.Identity.Length,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	return append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, castagnoli)), body...), nil
}

func decodeRecord(data []byte) (*Entry, error) {
	if len(data) < 4 || crc32.Checksum(data[4:], castagnoli) != binary.BigEndian.Uint32(data) {
		return nil, errDamagedRecord
	}
	var r diskRecord
	if err := json.Unmarshal(data[4:], &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamagedRecord, err)
	}
	digest, err := ParseDigest(r.SHA256)
	if err != nil || r.Size < 0 {
		return nil, errDamagedRecord
	}
	return &Entry{
		Key: Key{r.Key[0], r.Key[1], r.Key[2], r.Key[3], r.Key[4]}, Digest: digest, Size: r.Size,
		Stored: r.Stored, Disposition: r.Disposition,
		Identity: Identity{
			SHA256: r.Named, Location: r.Location, ETag: r.ETag, LastModified: r.LastModified, Settled: r.Settled, Length: r.Length,
		},
	}, nil
}
