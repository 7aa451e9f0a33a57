package gitlabtest_test

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func TestGeneratedContentIsTheSameForTheSameSeed(t *testing.T) {
	read := func(c gitlabtest.Content) []byte {
		data, err := io.ReadAll(c.NewReader())
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	long := read(gitlabtest.Generated(100_000, 1))
	if !bytes.Equal(long, read(gitlabtest.Generated(100_000, 1))) || bytes.Equal(long, read(gitlabtest.Generated(100_000, 2))) {
		t.Error("the seed doesn't decide")
	}
	if !bytes.Equal(long[:77_777], read(gitlabtest.Generated(77_777, 1))) {
		t.Error("a shorter one isn't the beginning of a longer one")
	}
	if empty := read(gitlabtest.Generated(0, 1)); len(empty) != 0 {
		t.Errorf("nothing is %d bytes", len(empty))
	}
	if err := iotest.TestReader(gitlabtest.Generated(5000, 1).NewReader(), long[:5000]); err != nil {
		t.Error(err)
	}
	if sum := gitlabtest.SHA256(gitlabtest.Bytes([]byte("0123456789"))); sum != sumOfDigits {
		t.Errorf("SHA-256 %s", sum)
	}
}

// FuzzGeneratedContent reads from anywhere and compares with reading from the beginning.
func FuzzGeneratedContent(f *testing.F) {
	f.Add(int64(0), int64(100), uint64(1))
	f.Add(int64(15), int64(17), uint64(2))
	f.Add(int64(4096), int64(1), uint64(3))
	f.Fuzz(func(t *testing.T, offset, size int64, seed uint64) {
		offset, size = offset&0xffff, size&0xffff
		content := gitlabtest.Generated(offset+size, seed)
		whole, err := io.ReadAll(content.NewReader())
		if err != nil || int64(len(whole)) != offset+size || content.Size() != offset+size {
			t.Fatalf("%d bytes, %v", len(whole), err)
		}
		reader := content.NewReader()
		if at, err := reader.Seek(-size, io.SeekEnd); at != offset || err != nil {
			t.Fatalf("at %d, %v", at, err)
		}
		rest, err := io.ReadAll(reader)
		if err != nil || !bytes.Equal(rest, whole[offset:]) {
			t.Errorf("%d bytes from %d on differ, %v", len(rest), offset, err)
		}
	})
}
