package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// layOutEmpty makes empty files in a directory, and directories where a name ends with a slash. What ends with an exclamation mark
// is a file with a byte in it, and with an at sign a link to what is neither a file nor a directory.
func layOutEmpty(t *testing.T, dir, names string) {
	t.Helper()
	for name := range strings.FieldsSeq(names) {
		path := filepath.Join(dir, strings.TrimRight(name, "!@"))
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		switch {
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(path, 0o700))
		case strings.HasSuffix(name, "!"):
			err = errors.Join(err, os.WriteFile(path, []byte("x"), 0o600))
		case strings.HasSuffix(name, "@"):
			err = errors.Join(err, os.Symlink(os.DevNull, path))
		default:
			err = errors.Join(err, os.WriteFile(path, nil, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhoseADirectoryIsIsToldByTheFirstNameThatNoStoreMakes: a store that takes another's directory removes files there, and one that
// refuses its own caches nothing.
func TestWhoseADirectoryIsIsToldByTheFirstNameThatNoStoreMakes(t *testing.T) {
	const own = "lock index.db! blobs/ fills/ "
	for names, others := range map[string]string{
		"":                                "",
		"lost+found/":                     "",
		"lost+found/ .nfs1 .fuse_hidden2": "",
		".Trash-1000/":                    "",
		".nfs":                            "",
		"nfs1":                            "nfs1",
		"a b":                             "a",
		"lost+found/ b c":                 "b",
		"switches.json":                   "",
		"switches.json.1.new":             "",
		"history":                         "",
		"history.new history.damaged":     "",
		"history.txt":                     "history.txt",
		"index.db.damaged-1":              "",
		"index.db.bak":                    "index.db.bak",
		"lock":                            "",
		"lock@":                           "lock",
		"index.db@":                       "index.db",
		"blobs@":                          "blobs",
		"lock!":                           "lock",
		"lock/":                           "lock",
		"fills":                           "fills",
		"index.db/":                       "index.db",
		"index.db!":                       "index.db",
		"index.db! switches.json":         "index.db",
		"lock index.db!":                  "",
		"blobs/ index.db!":                "",
		"lock index.db! a":                "a",
		own:                               "",
		own + "a":                         "",
		"lock index.db! blobs/ a":         "",
		"lock index.db! fills/ a":         "",
		"lock blobs/ fills/ a":            "",
		"index.db! blobs/ fills/ a":       "",
		"lock! index.db! blobs/ fills/ a": "",
		"lock! index.db! blobs/ a":        "a",
		"lock blobs/ a":                   "a",
		"blobs/00/ blobs/ff/":             "",
		"blobs/ 00/":                      "00",
		"blobs/0/":                        "blobs/0",
		"blobs/000/":                      "blobs/000",
		"blobs/0000/":                     "blobs/0000",
		"blobs/gg/":                       "blobs/gg",
		"blobs/00":                        "blobs/00",
		"blobs/00/a":                      "blobs/00",
		"blobs/00/a index.db!":            "",
		"fills/00/":                       "fills/00",
		"fills/00/ index.db!":             "fills/00",
		"blobs/a":                         "blobs/a",
		"blobs/a index.db!":               "blobs/a",
		"blobs/.nfs1":                     "",
		"fills/.nfs1":                     "",
		"fills/a":                         "fills/a",
		"fills/a-0.part/":                 "",
		"fills/a-0.part":                  "fills/a-0.part",
		"fills/a-0.part!":                 "fills/a-0.part",
		"fills/a-0.part/a":                "fills/a-0.part",
		"fills/a-0.part! index.db!":       "",
		"fills/x-0.part! index.db!":       "fills/x-0.part",
		"fills/a-0.parts! index.db!":      "fills/a-0.parts",
		"blobs/a-0.part/":                 "",
		"blobs/a-0.part! index.db!":       "",
		"blobs/00/ fills/a":               "fills/a",
	} {
		dir := t.TempDir()
		layOutEmpty(t, dir, names)
		err := checkOccupied(dir)
		if others == "" && err != nil || others != "" && (!errors.Is(err, ErrOccupied) || !strings.HasSuffix(err.Error(), fmt.Sprintf("%q", others))) {
			t.Errorf("%q: %v", names, err)
		}
	}
	if err := checkOccupied(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("one that isn't there: %v", err)
	}
}

// TestADirectoryThatCannotBeLookedAtIsNotTaken: others' files may be in it.
func TestADirectoryThatCannotBeLookedAtIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	layOutEmpty(t, dir, "file")
	if err := checkOccupied(filepath.Join(dir, "file")); !errors.Is(err, syscall.ENOTDIR) || errors.Is(err, ErrOccupied) {
		t.Errorf("a file: %v", err)
	}
	// One whose path is so long that nothing below it has one.
	const longest = 4095
	long := ""
	for left := longest - 3 - len(dir); left > 0; left = longest - 3 - len(dir) - len(long) {
		piece := min(left-1, 250)
		if rest := left - 1 - piece; rest == 1 {
			piece-- // a name has a byte at least, and a slash stands before it
		}
		long += "/" + strings.Repeat("d", piece)
	}
	if err := os.MkdirAll(dir+long, 0o700); err != nil {
		t.Skip("paths of this length can't be made here: ", err)
	}
	if err := checkOccupied(dir + long); !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("nothing below it can be looked at: %v", err)
	}
}
