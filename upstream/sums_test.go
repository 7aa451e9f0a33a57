package upstream

import (
	"crypto/md5" //nolint:gosec // what the providers name
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"strings"
	"testing"
)

// The sums of summedText, as storages name them.
const summedText = "The quick brown fox jumps over the lazy dog"

var (
	textSHA256 = base64Of(func() []byte { s := sha256.Sum256([]byte(summedText)); return s[:] }())
	textSHA512 = base64Of(func() []byte { s := sha512.Sum512([]byte(summedText)); return s[:] }())
	textMD5    = base64Of(func() []byte { s := md5.Sum([]byte(summedText)); return s[:] }()) //nolint:gosec // as above
	textCRC32C = base64Of(binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(summedText), castagnoli)))
)

func base64Of(p []byte) string { return base64.StdEncoding.EncodeToString(p) }

// TestKnownSumsAreRead holds the kinds to values that others have published: of the empty file, and CRC32C of "123456789"
// (0xe3069283).
func TestKnownSumsAreRead(t *testing.T) {
	for text, header := range map[string]http.Header{
		"":          {"Content-Md5": {"1B2M2Y8AsgTpgAmY7PhCfg=="}},
		"123456789": {"X-Goog-Hash": {"crc32c=4waSgw=="}},
	} {
		summing := sumOf(header).begin()
		if summing == nil {
			t.Fatalf("%v: no sum", header)
		}
		summing.write([]byte(text))
		if err := summing.compare(); err != nil {
			t.Errorf("%v: %v", header, err)
		}
	}
}

func TestTheSumsThatAStorageNamesAreReadStrictly(t *testing.T) {
	other := base64Of(make([]byte, sha256.Size))
	otherMD5 := base64Of(make([]byte, md5.Size))
	const none = -1
	for name, test := range map[string]struct {
		header http.Header
		want   sumKind
	}{
		"nothing":                   {http.Header{"Etag": {`"9e107d9d372bb6826bd81d3542a419d6"`}}, none},
		"Google":                    {http.Header{"X-Goog-Hash": {"crc32c=" + textCRC32C, "md5=" + textMD5}}, sumCRC32C},
		"one line":                  {http.Header{"X-Goog-Hash": {"crc32c=" + textCRC32C + ",md5=" + textMD5}}, sumCRC32C},
		"turned":                    {http.Header{"X-Goog-Hash": {"md5=" + textMD5 + " , crc32c=" + textCRC32C}}, sumCRC32C},
		"MD5 alone":                 {http.Header{"X-Goog-Hash": {"md5=" + textMD5}}, sumMD5},
		"of a composed object":      {http.Header{"X-Goog-Hash": {"crc32c=" + textCRC32C}}, sumCRC32C},
		"with a malformed CRC32C":   {http.Header{"X-Goog-Hash": {"crc32c=xx," + "md5=" + textMD5}}, sumMD5},
		"with contradicting CRC32C": {http.Header{"X-Goog-Hash": {"crc32c=" + textCRC32C, "crc32c=AAAAAA==", "md5=" + textMD5}}, sumMD5},
		"stored as it is":           {http.Header{"X-Goog-Hash": {"md5=" + textMD5}, "X-Goog-Stored-Content-Encoding": {"identity"}}, sumMD5},
		"stored encoded":            {http.Header{"X-Goog-Hash": {"md5=" + textMD5}, "X-Goog-Stored-Content-Encoding": {"gzip"}}, none},
		"sent encoded":              {http.Header{"X-Goog-Hash": {"md5=" + textMD5}, "Content-Encoding": {"gzip"}}, none},

		"Content-MD5":                {http.Header{"Content-Md5": {textMD5}}, sumMD5},
		"Content-MD5 in hex":         {http.Header{"Content-Md5": {"9e107d9d372bb6826bd81d3542a419d6"}}, none},
		"Content-MD5 twice":          {http.Header{"Content-Md5": {textMD5, textMD5}}, sumMD5},
		"two of Content-MD5":         {http.Header{"Content-Md5": {textMD5, otherMD5}}, none},
		"a short Content-MD5":        {http.Header{"Content-Md5": {base64Of(make([]byte, md5.Size-1))}}, none},
		"Content-MD5 without an end": {http.Header{"Content-Md5": {strings.TrimRight(textMD5, "=")}}, none},
		"a Content-MD5 with spaces":  {http.Header{"Content-Md5": {textMD5[:10] + " " + textMD5[11:]}}, none},
		"a line end in Content-MD5":  {http.Header{"Content-Md5": {textMD5[:10] + "\n" + textMD5[11:]}}, none},

		"Amazon":                     {http.Header{"X-Amz-Checksum-Sha256": {textSHA256}}, sumSHA256},
		"Amazon's of the object":     {http.Header{"X-Amz-Checksum-Sha256": {textSHA256}, "X-Amz-Checksum-Type": {"FULL_OBJECT"}}, sumSHA256},
		"Amazon's CRC32C":            {http.Header{"X-Amz-Checksum-Crc32c": {textCRC32C}, "X-Amz-Checksum-Type": {"FULL_OBJECT"}}, sumCRC32C},
		"Amazon's of parts":          {http.Header{"X-Amz-Checksum-Sha256": {textSHA256}, "X-Amz-Checksum-Type": {"COMPOSITE"}}, none},
		"Amazon's of numbered parts": {http.Header{"X-Amz-Checksum-Sha256": {textSHA256 + "-3"}, "X-Amz-Checksum-Crc32c": {textCRC32C + "-3"}}, none},
		"Amazon's others":            {http.Header{"X-Amz-Checksum-Crc32": {textCRC32C}, "X-Amz-Checksum-Sha1": {otherMD5}}, none},

		"Repr-Digest":                          {http.Header{"Repr-Digest": {"sha-256=:" + textSHA256 + ":"}}, sumSHA256},
		"Repr-Digest, SHA-512":                 {http.Header{"Repr-Digest": {"sha-512=:" + textSHA512 + ":"}}, sumSHA512},
		"Repr-Digest, several":                 {http.Header{"Repr-Digest": {"md5=:" + textMD5 + ":, unixsum=:AA==:", "sha-512=:" + textSHA512 + ":;q=1"}}, sumSHA512},
		"Repr-Digest, contradicting":           {http.Header{"Repr-Digest": {"sha-256=:" + textSHA256 + ":, sha-256=:" + other + ":"}}, none},
		"Repr-Digest, half malformed":          {http.Header{"Repr-Digest": {"sha-256=:" + textSHA256 + ":, sha-512=1"}}, none},
		"Repr-Digest, without colons":          {http.Header{"Repr-Digest": {"sha-256=" + textSHA256}}, none},
		"Repr-Digest, upper case":              {http.Header{"Repr-Digest": {"SHA-256=:" + textSHA256 + ":"}}, none},
		"Repr-Digest, inside a string":         {http.Header{"Repr-Digest": {`x=":, sha-256=:` + textSHA256 + `:"`}}, none},
		"Repr-Digest, too short":               {http.Header{"Repr-Digest": {"sha-256=:" + textMD5 + ":"}}, none},
		"Content-Digest":                       {http.Header{"Content-Digest": {"sha-256=:" + textSHA256 + ":"}}, none},
		"Digest":                               {http.Header{"Digest": {"SHA-256=" + textSHA256}}, sumSHA256},
		"Digest, lower case":                   {http.Header{"Digest": {"sha-256=" + textSHA256}}, sumSHA256},
		"Digest, several":                      {http.Header{"Digest": {"UNIXsum=30637, MD5=" + textMD5}}, sumMD5},
		"Digest of another form":               {http.Header{"Digest": {"id-sha-256=" + textSHA256}}, none},
		"Digest against Repr-Digest":           {http.Header{"Digest": {"sha-256=" + textSHA256}, "Repr-Digest": {"sha-256=:" + other + ":"}}, none},
		"Digest's weaker against X-Goog-Hash":  {http.Header{"Digest": {"md5=" + otherMD5}, "X-Goog-Hash": {"md5=" + textMD5 + ",crc32c=" + textCRC32C}}, sumCRC32C},
		"SHA-256 before all":                   {http.Header{"X-Amz-Checksum-Sha256": {textSHA256}, "Content-Md5": {textMD5}, "X-Goog-Hash": {"crc32c=" + textCRC32C}}, sumSHA256},
		"a digest that isn't base64's own way": {http.Header{"Content-Md5": {textMD5[:21] + "R=="}}, none},
	} {
		t.Run(name, func(t *testing.T) {
			got := sumOf(test.header)
			if test.want == none {
				if got != (sum{}) {
					t.Errorf("read as %s", sumAlgorithms[got.kind].name)
				}
				return
			}
			if got.kind != test.want || got.value == "" {
				t.Fatalf("kind %d, %d bytes", got.kind, len(got.value))
			}
			right, wrong := got.begin(), got.begin()
			right.write([]byte(summedText[:10]))
			right.write([]byte(summedText[10:]))
			wrong.write([]byte(summedText + "."))
			if right.compare() != nil || wrong.compare() == nil {
				t.Errorf("the right bytes: %v; others: %v", right.compare(), wrong.compare())
			}
		})
	}
}

// FuzzNoSumIsReadOutOfWhatNamesNone reads anything as headers. What is read must be of its kind's length, and stand in one
// of them in base64.
func FuzzNoSumIsReadOutOfWhatNamesNone(f *testing.F) {
	f.Add("sha-256=:"+textSHA256+":", "SHA-512="+textSHA512, "crc32c="+textCRC32C+",md5="+textMD5, textMD5, textSHA256)
	f.Add(`a=":, sha-256=:`+textSHA256+`:"`, "sha-256="+textSHA256+"=", "md5=", textMD5+"\n", textSHA256+"-2")
	f.Add("sha-256=:"+textSHA256+":;a=1,md5=:"+textMD5+":", ",,=,", "crc32c,md5", "", "=")
	f.Fuzz(func(t *testing.T, repr, digest, google, content, amazon string) {
		header := http.Header{
			"Repr-Digest": {repr}, "Digest": {digest}, "X-Goog-Hash": {google}, "Content-Md5": {content}, "X-Amz-Checksum-Sha256": {amazon},
		}
		got := sumOf(header)
		if got == (sum{}) {
			return
		}
		if len(got.value) != sumAlgorithms[got.kind].size {
			t.Errorf("%d bytes of %s", len(got.value), sumAlgorithms[got.kind].name)
		}
		if encoded := base64Of([]byte(got.value)); !strings.Contains(strings.Join([]string{repr, digest, google, content, amazon}, "\n"), encoded) {
			t.Errorf("%s stands nowhere", encoded)
		}
	})
}

// BenchmarkSumming shows what each kind costs for a piece of 256 KiB.
func BenchmarkSumming(b *testing.B) {
	piece := make([]byte, 256<<10)
	for kind, algorithm := range sumAlgorithms {
		b.Run(algorithm.name, func(b *testing.B) {
			summing := sum{sumKind(kind), "x"}.begin()
			b.SetBytes(int64(len(piece)))
			b.ReportAllocs()
			for b.Loop() {
				summing.write(piece)
			}
		})
	}
}
