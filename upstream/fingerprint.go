package upstream

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"net/http"
	"sync"
)

// Fingerprint is the only form of a credential that is kept beyond the request and the checks and fetches made in its name: a keyed
// hash, of no use outside this process.
type Fingerprint [sha256.Size]byte

// String hides the fingerprint; logs have no use for it.
func (Fingerprint) String() string { return "[fingerprint]" }

// Format hides the fingerprint from the verbs of package fmt.
func (f Fingerprint) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(f.String())) }

// MarshalText hides the fingerprint, in JSON too.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Fingerprinter makes fingerprints with a key of its own. It is safe for concurrent use.
type Fingerprinter struct {
	key [sha256.Size]byte
	// macs holds *keyedHash to be used again: each request needs one.
	macs sync.Pool
}

// keyedHash is a hash with its key, and room for what it is to hash.
type keyedHash struct {
	mac     hash.Hash
	sent    carriers
	message []byte
}

// NewFingerprinter returns a fingerprinter with a random key that never leaves it.
func NewFingerprinter() *Fingerprinter {
	f := new(Fingerprinter)
	_, _ = rand.Read(f.key[:]) // never fails (crypto/rand)
	f.macs.New = func() any { return &keyedHash{mac: hmac.New(sha256.New, f.key[:])} }
	return f
}

// Of returns a credential's fingerprint: HMAC-SHA-256 over all carriers, as sent. Each part is preceded by its length
// and each list by its count, so that no two different credentials can be read alike.
func (f *Fingerprinter) Of(c Credential) Fingerprint {
	sent := new(carriers)
	if c.sent != nil {
		sent = c.sent()
	}
	keyed := f.macs.Get().(*keyedHash)
	sum := keyed.sum(sent)
	f.macs.Put(keyed)
	return sum
}

// OfRequest returns the fingerprint of the credential that CredentialOf takes out of the same request, at less cost.
func (f *Fingerprinter) OfRequest(header http.Header, rawQuery string, identityHeaders []string) Fingerprint {
	keyed := f.macs.Get().(*keyedHash)
	keyed.sent.collect(header, rawQuery, identityHeaders)
	sum := keyed.sum(&keyed.sent)
	keyed.sent = carriers{} // no credential stays behind in the pool
	f.macs.Put(keyed)
	return sum
}

func (k *keyedHash) sum(sent *carriers) Fingerprint {
	message := k.message[:0]
	for _, carrier := range sent.headers {
		message = appendPart(message, carrier.name)
		message = appendLength(message, len(carrier.values))
		for _, value := range carrier.values {
			message = appendPart(message, value)
		}
	}
	message = appendLength(message, -1)
	message = appendPart(message, sent.query)
	k.mac.Reset()
	_, _ = k.mac.Write(message) // never fails (package hash)
	sum := Fingerprint(k.mac.Sum(message[len(message):]))
	clear(message) // no credential's text stays behind in the pool
	k.message = message
	return sum
}

func appendLength(message []byte, n int) []byte {
	return binary.BigEndian.AppendUint64(message, uint64(n)) //nolint:gosec // only told apart, never read back
}

func appendPart(message []byte, part string) []byte {
	return append(appendLength(message, len(part)), part...)
}
