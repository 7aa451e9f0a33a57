package upstream

import (
	"crypto/md5" //nolint:gosec // it finds damage, and never tells two contents apart
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"net/http"
	"regexp"
	"strings"
)

// ErrChecksum says that a body isn't the one of which the object storage named a sum.
var ErrChecksum = errors.New("the body's checksum isn't the one that the object storage named")

// sumKind is a way to sum up a file's bytes.
type sumKind int

// The kinds, in the order in which they are chosen: one is enough to see damage. SHA-256 is computed of what is stored
// anyway. CRC32C comes before MD5, since it costs next to nothing and misses one damaged body in four thousand million.
const (
	sumSHA256 sumKind = iota
	sumSHA512
	sumCRC32C
	sumMD5

	sumKinds
)

var sumAlgorithms = [sumKinds]struct {
	name  string
	size  int
	begin func() hash.Hash
}{
	sumSHA256: {"SHA-256", sha256.Size, sha256.New},
	sumSHA512: {"SHA-512", sha512.Size, sha512.New},
	sumCRC32C: {"CRC32C", crc32.Size, func() hash.Hash { return crc32.New(castagnoli) }},
	sumMD5:    {"MD5", md5.Size, md5.New},
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is what the object storage says that all bytes of a file come to. It is as trustworthy as these bytes: it shows damage,
// and is no identity. The zero value is none.
type sum struct {
	kind  sumKind
	value string // as the algorithm gives it; empty for none
}

// sumOf reads the sum (contract, section 4) out of an answer of the object storage that carries a whole file, with status
// 200: the one of the kind that is chosen first. Malformed values count as absent, and so do those of one kind that
// contradict each other.
//
//   - Repr-Digest (RFC 9530, section 3) and Digest (RFC 3230, section 4.3.2), of the whole file;
//   - X-Amz-Checksum-Sha256 and -Crc32c, unless of the sums of an upload's parts (X-Amz-Checksum-Type: COMPOSITE, or "-" and
//     their number behind the value);
//   - X-Goog-Hash, unless of bytes that are stored encoded and sent decoded (X-Goog-Stored-Content-Encoding);
//   - Content-MD5 (RFC 1864; RFC 2616, section 14.15), of what the answer carries.
//
// An entity tag is no sum: S3's is an MD5 only of some objects, and nothing tells of which.
func sumOf(header http.Header) sum {
	if !isIdentity(header.Get("Content-Encoding")) {
		return sum{}
	}
	var found foundSums
	found.readReprDigest(strings.Join(header.Values("Repr-Digest"), ","))
	found.readDigest(strings.Join(header.Values("Digest"), ","))
	found.readAmazon(header)
	if isIdentity(header.Get("X-Goog-Stored-Content-Encoding")) {
		found.readGoogle(strings.Join(header.Values("X-Goog-Hash"), ","))
	}
	for _, value := range header.Values("Content-MD5") {
		found.add(sumMD5, value)
	}
	return found.first()
}

func isIdentity(encoding string) bool {
	return encoding == "" || strings.EqualFold(encoding, "identity")
}

// foundSums are the sums that an answer names.
type foundSums [sumKinds]struct {
	value        string
	contradicted bool
}

// reprDigestMember is a member of Repr-Digest: a key and a byte sequence (RFC 9651, sections 3.2 and 3.3.5), and parameters,
// of which none is defined.
var reprDigestMember = regexp.MustCompile(`\A([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):(?:;[^",]*)?\z`)

// readReprDigest reads a dictionary of byte sequences. Where one member is malformed all of it is (RFC 9651, section 4.2).
func (f *foundSums) readReprDigest(field string) {
	kinds := map[string]sumKind{"sha-256": sumSHA256, "sha-512": sumSHA512, "md5": sumMD5}
	var read foundSums
	for member := range strings.SplitSeq(field, ",") {
		parts := reprDigestMember.FindStringSubmatch(strings.Trim(member, " \t"))
		if parts == nil {
			return
		}
		if kind, ok := kinds[parts[1]]; ok {
			read.add(kind, parts[2])
		}
	}
	for kind, sum := range read {
		f.merge(sumKind(kind), sum.value, sum.contradicted)
	}
}

// readDigest reads a list of instance digests, whose algorithms are written in any case. id-sha-256 and its like are of other
// bytes than those that are sent.
func (f *foundSums) readDigest(field string) {
	f.readList(field, map[string]sumKind{"sha-256": sumSHA256, "sha-512": sumSHA512, "md5": sumMD5})
}

func (f *foundSums) readGoogle(field string) {
	f.readList(field, map[string]sumKind{"crc32c": sumCRC32C, "md5": sumMD5})
}

func (f *foundSums) readList(field string, kinds map[string]sumKind) {
	for one := range strings.SplitSeq(field, ",") {
		name, value, _ := strings.Cut(strings.Trim(one, " \t"), "=")
		if kind, known := kinds[strings.ToLower(name)]; known {
			f.add(kind, value)
		}
	}
}

func (f *foundSums) readAmazon(header http.Header) {
	for _, kind := range header.Values("X-Amz-Checksum-Type") {
		if kind != "FULL_OBJECT" {
			return
		}
	}
	for _, value := range header.Values("X-Amz-Checksum-Sha256") {
		f.add(sumSHA256, value)
	}
	for _, value := range header.Values("X-Amz-Checksum-Crc32c") {
		f.add(sumCRC32C, value)
	}
}

// add notes a sum in base64, if it is one.
func (f *foundSums) add(kind sumKind, encoded string) {
	size := sumAlgorithms[kind].size
	if len(encoded) != base64.StdEncoding.EncodedLen(size) {
		return
	}
	value, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(value) != size {
		return
	}
	f.merge(kind, string(value), false)
}

func (f *foundSums) merge(kind sumKind, value string, contradicted bool) {
	known := &f[kind]
	known.contradicted = known.contradicted || contradicted || (known.value != "" && value != "" && known.value != value)
	if known.value == "" {
		known.value = value
	}
}

func (f *foundSums) first() sum {
	for kind, found := range f {
		if found.value != "" && !found.contradicted {
			return sum{sumKind(kind), found.value}
		}
	}
	return sum{}
}

// sha256 is the sum in lower-case hex if it is a SHA-256.
func (s sum) sha256() string {
	if s.kind != sumSHA256 {
		return ""
	}
	return hex.EncodeToString([]byte(s.value))
}

// summing compares a file's bytes with a sum, as they pass. A nil one compares nothing.
type summing struct {
	want sum
	hash hash.Hash
}

func (s sum) begin() *summing {
	if s.value == "" {
		return nil
	}
	return &summing{want: s, hash: sumAlgorithms[s.kind].begin()}
}

func (s *summing) write(p []byte) {
	if s != nil {
		_, _ = s.hash.Write(p) // never fails
	}
}

// compare returns ErrChecksum if what was written isn't the whole file.
func (s *summing) compare() error {
	if s == nil || string(s.hash.Sum(nil)) == s.want.value {
		return nil
	}
	return fmt.Errorf("%w (%s)", ErrChecksum, sumAlgorithms[s.want.kind].name)
}
