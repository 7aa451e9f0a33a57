package cache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
)

// TestAFileThatIsCutShortWhileItIsReadIsNoWholeAnswer has somebody truncate a file that is open: who reads it learns that the
// rest must come from elsewhere, and nobody gets the file again.
func TestAFileThatIsCutShortWhileItIsReadIsNoWholeAnswer(t *testing.T) {
	data := randomBytes(300_000, 1)
	for name, read := range map[string]func(b *Blob, to *takesFiles) error{
		"piece by piece": func(b *Blob, to *takesFiles) error {
			_, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{b})
			return err
		},
		"by the kernel": func(b *Blob, to *takesFiles) error {
			_, err := b.WriteTo(to)
			return err
		},
		"to a writer that takes no files": func(b *Blob, to *takesFiles) error {
			_, err := b.WriteTo(struct{ io.Writer }{to})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{})
			entry := s.put(t, testKey("a"), data)
			blob, err := s.OpenBlob(entry)
			if err != nil {
				t.Fatal(err)
			}
			defer blob.Close()
			if err := os.Truncate(blobPath(s.dir, entry.Digest), 200_000); err != nil {
				t.Fatal(err)
			}
			if _, err := blob.Seek(100_000, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			var got takesFiles
			if err := read(blob, &got); !errors.Is(err, ErrDisk) || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("it ends with %v", err)
			}
			if !bytes.Equal(got.Bytes(), data[100_000:200_000]) {
				t.Errorf("%d bytes were read", got.Len())
			}
			if _, err := s.Lookup(testKey("a")); !errors.Is(err, ErrMiss) {
				t.Errorf("the next caller finds the file: %v", err)
			}
		})
	}
}
