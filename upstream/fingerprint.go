package upstream

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

// Fingerprint is the only form in which a credential is ever kept: a keyed hash, of no use outside this process.
type Fingerprint [sha256.Size]byte

// String hides the fingerprint; logs have no use for it.
func (Fingerprint) String() string { return "[fingerprint]" }

// Format hides the fingerprint from every verb of package fmt.
func (f Fingerprint) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(f.String())) }

// Fingerprinter makes fingerprints with a key of its own. It is safe for concurrent use.
type Fingerprinter struct{ key [sha256.Size]byte }

// NewFingerprinter returns a fingerprinter with a random key that never leaves it.
func NewFingerprinter() *Fingerprinter {
	f := new(Fingerprinter)
	_, _ = rand.Read(f.key[:]) // never fails (crypto/rand)
	return f
}

// Of returns a credential's fingerprint: HMAC-SHA-256 over all carriers, as sent. Each part is preceded by its length
// and each list by its count, so that no two different credentials can be read alike.
func (f *Fingerprinter) Of(c Credential) Fingerprint {
	mac := hmac.New(sha256.New, f.key[:])
	for _, carrier := range c.headers {
		writePart(mac, carrier.name)
		writeLength(mac, len(carrier.values))
		for _, value := range carrier.values {
			writePart(mac, value)
		}
	}
	writeLength(mac, -1)
	writePart(mac, c.query)
	var sum Fingerprint
	mac.Sum(sum[:0])
	return sum
}

func writeLength(mac hash.Hash, n int) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(n)) //nolint:gosec // only told apart, never read back
	mac.Write(length[:])
}

func writePart(mac hash.Hash, part string) {
	writeLength(mac, len(part))
	mac.Write([]byte(part))
}
