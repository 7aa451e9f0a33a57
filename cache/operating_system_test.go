package cache

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
)

// TestWhatTheOperatingSystemRefusesIsTold: an error that is swallowed makes a broken disk look fine.
func TestWhatTheOperatingSystemRefusesIsTold(t *testing.T) {
	dir, system := t.TempDir(), OS()
	there, gone, below := filepath.Join(dir, "there"), filepath.Join(dir, "gone"), filepath.Join(dir, "there", "below")
	if err := os.WriteFile(there, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		call func() error
		want error
	}{
		"a new file where one is":             {func() error { _, err := system.Create(there); return err }, fs.ErrExist},
		"a file that isn't there":             {func() error { _, err := system.Open(gone); return err }, fs.ErrNotExist},
		"another name for it":                 {func() error { return system.Rename(gone, there) }, fs.ErrNotExist},
		"removing it":                         {func() error { return system.Remove(gone) }, nil},
		"removing what can't be there":        {func() error { return system.Remove(below) }, syscall.ENOTDIR},
		"a directory below a file":            {func() error { return system.MkdirAll(below) }, syscall.ENOTDIR},
		"the names in no directory":           {func() error { _, err := system.ReadDir(gone); return err }, fs.ErrNotExist},
		"the names in a file":                 {func() error { _, err := system.ReadDir(there); return err }, syscall.ENOTDIR},
		"making names in no directory stay":   {func() error { return system.SyncDir(gone) }, fs.ErrNotExist},
		"making all on no file system stay":   {func() error { return system.SyncAll(gone) }, fs.ErrNotExist},
		"the free bytes of no file system":    {func() error { _, err := system.Free(gone); return err }, fs.ErrNotExist},
		"making names in a directory stay":    {func() error { return system.SyncDir(dir) }, nil},
		"making all on this file system stay": {func() error { return system.SyncAll(dir) }, nil},
	} {
		if err := test.call(); !errors.Is(err, test.want) || (test.want == nil && err != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := os.ReadFile(there); err != nil || string(got) != "content" {
		t.Errorf("the file that was there has %q, %v", got, err)
	}
}

// TestTheOperatingSystemDoesWhatItIsAsked: files are new, named, listed, removed and can be sent by the kernel.
func TestTheOperatingSystemDoesWhatItIsAsked(t *testing.T) {
	dir, system := t.TempDir(), OS()
	below := filepath.Join(dir, "below")
	one, other := filepath.Join(below, "one"), filepath.Join(below, "other")
	if err := system.MkdirAll(below); err != nil {
		t.Fatal(err)
	}
	file, err := system.Create(one)
	if err != nil {
		t.Fatal(err)
	}
	_, written := file.WriteAt([]byte("content and more"), 0)
	if err := errors.Join(written, file.Truncate(7), file.Sync(), file.Close(), system.Rename(one, other)); err != nil {
		t.Fatal(err)
	}
	if names, err := system.ReadDir(below); err != nil || !slices.Equal(names, []string{"other"}) {
		t.Errorf("there are %q, %v", names, err)
	}
	opened, err := system.Open(other)
	if err != nil {
		t.Fatal(err)
	}
	native, ok := osFileOf(opened)
	if !ok || native.Name() != other {
		t.Errorf("the kernel can't send it: %v, %v", native, ok)
	}
	if native, ok := osFileOf(struct{ File }{opened}); ok || native != nil {
		t.Errorf("the kernel sends what isn't its file: %v, %v", native, ok)
	}
	if got, err := io.ReadAll(opened); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	if err := errors.Join(opened.Close(), system.Remove(other)); err != nil {
		t.Error(err)
	}
	if names, err := system.ReadDir(below); err != nil || len(names) != 0 {
		t.Errorf("there are %q, %v", names, err)
	}
	if free, err := system.Free(dir); err != nil || free < 1<<10 {
		t.Errorf("%d bytes are free, and files are written: %v", free, err)
	}
}

// TestADirectoryIsHeldOnce, and one whose lock can't be asked for isn't taken for one that another process holds.
func TestADirectoryIsHeldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	one, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := lockFile(one); err != nil {
		t.Errorf("locked with %v", err)
	}
	if err := lockFile(other); !errors.Is(err, ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	if err := lockFile(one); !errors.Is(err, syscall.EBADF) || errors.Is(err, ErrLocked) {
		t.Errorf("closed, and locked with %v", err)
	}
	if err := lockFile(other); err != nil {
		t.Errorf("given back, and locked with %v", err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// TestADeviceIsNamedIfItIsThere: else each directory that isn't there yet would lie on another one.
func TestADeviceIsNamedIfItIsThere(t *testing.T) {
	dir := t.TempDir()
	device, ok := deviceOf(dir)
	if again, still := deviceOf(dir); !ok || !still || again != device {
		t.Errorf("%d, %v, and then %d, %v", device, ok, again, still)
	}
	if _, ok := deviceOf(filepath.Join(dir, "gone")); ok {
		t.Error("what isn't there is on a device")
	}
	if other, ok := deviceOf("/proc"); runtime.GOOS == "linux" && (!ok || other == device) {
		t.Errorf("/proc is on %d, %v, and files on %d", other, ok, device)
	}
}
