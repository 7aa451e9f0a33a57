package bucket

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// leastSecret is how long a secret must be, in bytes.
const leastSecret = 16

// seal keys the names of what isn't content, so that nobody learns from the bucket which places there are, and vouches that what
// is said of a place was said by somebody who knows the secret.
type seal struct{ naming, sealing []byte }

func newSeal(secret string) (*seal, error) {
	// Two keys, so that no name is ever a seal.
	naming, err := hkdf.Key(sha256.New, []byte(secret), nil, "gitlab-packages-edge locations: name", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("making a key of the secret: %w", err)
	}
	sealing, err := hkdf.Key(sha256.New, []byte(secret), nil, "gitlab-packages-edge locations: seal", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("making a key of the secret: %w", err)
	}
	return &seal{naming, sealing}, nil
}

func (s *seal) nameOf(place string) string { return hex.EncodeToString(keyed(s.naming, place)) }

// of is the seal of what is said of a place. It covers the place too: what was said of one isn't another's.
func (s *seal) of(place, said string) string {
	return hex.EncodeToString(keyed(s.sealing, fmt.Sprintf("%d:%s%s", len(place), place, said)))
}

func (s *seal) isOf(place, said, sealed string) bool {
	return hmac.Equal([]byte(s.of(place, said)), []byte(sealed))
}

func keyed(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
