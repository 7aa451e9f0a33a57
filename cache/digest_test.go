package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestADigestIsReadOfAWholeFileAndOfItsNameAlone(t *testing.T) {
	const name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, of "abc"
	digest, err := DigestOf(bytes.NewReader([]byte("abc")))
	if err != nil || digest.String() != name {
		t.Errorf("%s, %v", digest, err)
	}
	if digest, err := DigestOf(io.MultiReader(bytes.NewReader([]byte("abc")), brokenReader{})); !errors.Is(err, errLine) || !digest.IsZero() {
		t.Errorf("of a body that broke off: %s, %v", digest, err)
	}
	if parsed, err := ParseDigest(name); err != nil || parsed != digest {
		t.Errorf("read as %s, %v", parsed, err)
	}
	for _, other := range []string{"", "ba", name[:62], name[:63], name + "a", name + "aa", name + "x", name[:63] + "x", fmt.Sprint(name, "\n")} {
		if parsed, err := ParseDigest(other); err == nil || !parsed.IsZero() {
			t.Errorf("%q is read as %s, %v", other, parsed, err)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errLine }
