package cache_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

// layOut makes files in a directory, and directories where a name ends with a slash.
func layOut(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		content := []byte("mine")
		if filepath.Base(name) == "lock" {
			content = nil
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// filesBelow returns all names below a directory.
func filesBelow(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestADirectoryWithOthersFilesIsRefusedAndNotTouched(t *testing.T) {
	for name, files := range map[string][]string{
		"a home":                          {".bashrc", "notes.txt"},
		"hidden files alone":              {".ssh/id_ed25519"},
		"a project":                       {"README", "src/main.go"},
		"an image layout":                 {"blobs/sha256/" + strings.Repeat("ab", 32), "index.json", "oci-layout"},
		"blobs of others alone":           {"blobs/sha256/" + strings.Repeat("ab", 32)},
		"fills of others alone":           {"fills/holes.txt"},
		"another program's index":         {"index.db"},
		"a lock and something":            {"lock", "data/"},
		"a lock that is no lock":          {"lock/shared"},
		"a volume in use":                 {"lost+found/", "pgdata/PG_VERSION"},
		"a volume of Windows in use":      {"System Volume Information/", "Users/"},
		"two of a store's names and more": {"blobs/", "fills/", "README"},
		"blobs that are no directory":     {"blobs"},
		"a part that lies loose":          {"1-2.part"},
		"another program's blobs":         {"blobs/ab/ab" + strings.Repeat("0", 62)},
		"a download of a browser":         {"fills/holiday.mkv.part"},
		"a part with bytes":               {"blobs/", "fills/3f2a-0.part"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			layOut(t, dir, files...)
			before := filesBelow(t, dir)
			store, err := cache.Open(cache.Config{Dir: dir, Limits: cache.Limits{MaxSize: 1 << 20}})
			if !errors.Is(err, cache.ErrOccupied) {
				t.Errorf("opened with %v", err)
				if err == nil {
					_ = store.Close()
				}
			}
			if after := filesBelow(t, dir); !slices.Equal(before, after) {
				t.Errorf("there were %d names, and now there are %d", len(before), len(after))
			}
		})
	}
}

func TestADirectoryThatIsFreeIsTaken(t *testing.T) {
	for name, files := range map[string][]string{
		"none":                               {},
		"a volume that was just made":        {"lost+found/"},
		"quotas":                             {"lost+found/", "aquota.user", "aquota.group"},
		"snapshots":                          {".snapshot/hourly.0/old"},
		"a volume of Windows":                {"System Volume Information/WPSettings.dat", "$RECYCLE.BIN/S-1-5-18/desktop.ini"},
		"a share of a Synology":              {"@eaDir/", "#recycle/desktop.ini"},
		"a volume of macOS":                  {".DS_Store", ".fseventsd/fseventsd-uuid", ".Spotlight-V100/Store-V2/", ".Trashes/501/", ".TemporaryItems/folders.501/"},
		"removed while open":                 {".nfs000000000123", ".fuse_hidden0000000100000001"},
		"killed before the first directory":  {"blobs/"},
		"killed before the lock":             {"blobs/", "fills/"},
		"killed before the blobs' shards":    {"blobs/", "fills/", "lock"},
		"killed among the blobs' shards":     {"blobs/00/", "blobs/7f/", "fills/", "lock"},
		"killed while trying to rename":      {"blobs/3f2a-0.part/", "blobs/ff/", "fills/", "lock"},
		"killed on a volume":                 {"lost+found/", "blobs/.nfs1", "fills/.nfs2"},
		"its files were removed by an admin": {"lock", "index.db", "switches.json"},
		"all but the switches was removed":   {"switches.json", "switches.json.123.new"},
		"all but the history was removed":    {"history", "history.new", "history.damaged"},
		"an index was set aside":             {"index.db.damaged-1764403200", "blobs/", "fills/"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			layOut(t, dir, files...)
			store := open(t, dir, nil, cache.Limits{})
			<-store.Ready()
			worksStill(t, store, 0)
			mustPut(t, store, cachetest.KeyOf("a"), cachetest.Content(1, 1000))
		})
	}
	t.Run("one that isn't there", func(t *testing.T) {
		open(t, filepath.Join(t.TempDir(), "new", "store"), nil, cache.Limits{})
	})
}

func TestAStoresOwnDirectoryIsTakenWhateverElseLiesThere(t *testing.T) {
	made := t.TempDir()
	if err := open(t, made, nil, cache.Limits{}).Close(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(dir string) error{
		"nothing is missing":   func(string) error { return nil },
		"the lock is gone":     func(dir string) error { return os.Remove(filepath.Join(dir, "lock")) },
		"the index is gone":    func(dir string) error { return os.Remove(filepath.Join(dir, "index.db")) },
		"the fills are gone":   func(dir string) error { return os.RemoveAll(filepath.Join(dir, "fills")) },
		"the blobs are gone":   func(dir string) error { return os.RemoveAll(filepath.Join(dir, "blobs")) },
		"the index is damaged": func(dir string) error { return os.WriteFile(filepath.Join(dir, "index.db"), []byte("x"), 0o600) },
		"blobs is a link": func(dir string) error {
			elsewhere := filepath.Join(filepath.Dir(dir), "elsewhere")
			return errors.Join(os.Rename(filepath.Join(dir, "blobs"), elsewhere), os.Symlink(elsewhere, filepath.Join(dir, "blobs")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(dir, os.DirFS(made)); err != nil {
				t.Fatal(err)
			}
			layOut(t, dir, "README", "backup/index.db")
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			store := open(t, dir, nil, cache.Limits{})
			<-store.Ready()
			for _, kept := range []string{"README", "backup/index.db"} {
				if data, err := os.ReadFile(filepath.Join(dir, kept)); err != nil || string(data) != "mine" {
					t.Errorf("%s: %q, %v", kept, data, err)
				}
			}
		})
	}
}
