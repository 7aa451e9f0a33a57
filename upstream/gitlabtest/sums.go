package gitlabtest

import (
	"crypto/md5" //nolint:gosec // what the providers name
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
)

// SetStorageSums has the object storage name sums of an object beside its bytes: the headers that name returns for its
// content. Nil, as at first, names none. GoogleSums, AzureSum and AmazonSum are what these providers name.
func (s *Server) SetStorageSums(name func(Content) http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sums = name
}

// GoogleSums is X-Goog-Hash with CRC32C and MD5, in a line each.
func GoogleSums(content Content) http.Header {
	var sum [crc32.Size]byte
	binary.BigEndian.PutUint32(sum[:], crc32c(content))
	return http.Header{"X-Goog-Hash": {
		"crc32c=" + base64.StdEncoding.EncodeToString(sum[:]),
		"md5=" + base64.StdEncoding.EncodeToString(summed(content, md5.New())), //nolint:gosec // as above
	}}
}

// GoogleCompositeSum is X-Goog-Hash of an object that was composed of others: CRC32C alone.
func GoogleCompositeSum(content Content) http.Header {
	both := GoogleSums(content)
	return http.Header{"X-Goog-Hash": both["X-Goog-Hash"][:1]}
}

// AzureSum is Content-MD5.
func AzureSum(content Content) http.Header {
	return http.Header{"Content-Md5": {base64.StdEncoding.EncodeToString(summed(content, md5.New()))}} //nolint:gosec // as above
}

// AmazonSum is X-Amz-Checksum-Sha256 of an object that was uploaded in one piece.
func AmazonSum(content Content) http.Header {
	return http.Header{
		"X-Amz-Checksum-Sha256": {base64.StdEncoding.EncodeToString(summed(content, sha256.New()))},
		"X-Amz-Checksum-Type":   {"FULL_OBJECT"},
	}
}

func crc32c(content Content) uint32 {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	summed(content, sum)
	return sum.Sum32()
}

func summed(content Content, sum hash.Hash) []byte {
	if _, err := io.Copy(sum, content.NewReader()); err != nil {
		panic(fmt.Sprintf("gitlabtest: reading content: %v", err))
	}
	return sum.Sum(nil)
}

// nameSums sets the headers by which the object storage names an object's sums. Content-MD5 is of what an answer carries, so
// that one with a part names none.
func (s *Server) nameSums(r *http.Request, header http.Header, u *upload) {
	s.mu.Lock()
	name := s.sums
	s.mu.Unlock()
	if name == nil {
		return
	}
	for key, values := range name(u.content) {
		if key != "Content-Md5" || r.Header.Get("Range") == "" {
			header[key] = values
		}
	}
}
