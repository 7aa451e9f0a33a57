package cache

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
)

// syncsFS has files that are only synced. It notes what is synced, and asks the test before.
type syncsFS struct {
	FS
	mu     sync.Mutex
	synced []string // names of files, "directory NAME", "all"
	before func(what string) error
}

func (f *syncsFS) sync(what string) error {
	f.mu.Lock()
	f.synced = append(f.synced, what)
	f.mu.Unlock()
	if f.before == nil {
		return nil
	}
	return f.before(what)
}

// count is how many of what was synced a test selects.
func (f *syncsFS) count(which func(what string) bool) (count int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, what := range f.synced {
		if which(what) {
			count++
		}
	}
	return count
}

func isDirectory(what string) bool { return filepath.Dir(what) == "directory" }
func isAll(what string) bool       { return what == "all" }
func isFile(what string) bool      { return !isDirectory(what) && !isAll(what) }

func (f *syncsFS) Open(path string) (File, error) {
	if f.before != nil {
		if err := f.before("open/" + filepath.Base(path)); err != nil {
			return nil, err
		}
	}
	return &syncedFile{fs: f, name: filepath.Base(path)}, nil
}
func (f *syncsFS) SyncDir(path string) error { return f.sync("directory/" + filepath.Base(path)) }
func (f *syncsFS) SyncAll(string) error      { return f.sync("all") }

type syncedFile struct {
	File
	fs   *syncsFS
	name string
}

func (f *syncedFile) Sync() error  { return f.fs.sync(f.name) }
func (f *syncedFile) Close() error { return nil }

// batchOf is a batch of so many blobs, each in a directory of its own.
func batchOf(blobs int) *batch {
	b := new(batch)
	for i := range blobs {
		b.fresh = append(b.fresh, &blobState{digest: Digest{byte(i)}}) //nolint:gosec // few
	}
	return b
}

// syncing is as much of a store as syncing takes.
func syncing(fs FS) *Store { return &Store{fs: fs, dir: "store", logger: zap.NewNop()} }

// TestFewFilesAreSyncedAtATimeAndTheirNamesAfterAllBytes: a name without its bytes would be a file of zeros after a power cut,
// and the batch isn't over before.
func TestFewFilesAreSyncedAtATimeAndTheirNamesAfterAllBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const blobs = 20
		goOn := make(chan struct{})
		files := &syncsFS{before: func(what string) error {
			if filepath.Dir(what) != "open" {
				<-goOn
			}
			return nil
		}}
		over := make(chan struct{})
		go func() { // ends with the batch
			syncing(files).syncBlobs(batchOf(blobs))
			close(over)
		}()
		for done := range 2 * blobs {
			synctest.Wait()
			select {
			case <-over:
				t.Fatalf("it is over after %d of %d", done, 2*blobs)
			default:
			}
			stage := blobs // what may be under way: all files, and then all directories
			if done >= blobs {
				stage = 2 * blobs
			}
			begun := files.count(func(string) bool { return true })
			if want := min(done+parallelSyncs, stage); begun != want {
				t.Fatalf("when %d are done %d are begun, not %d", done, begun, want)
			}
			if done < blobs && files.count(isDirectory) > 0 {
				t.Fatalf("a directory is synced when %d of %d files are", done, blobs)
			}
			goOn <- struct{}{}
		}
		<-over
	})
}

func TestManyFilesAreSyncedAtOnce(t *testing.T) {
	for _, test := range []struct {
		blobs            int
		err              error
		files, all, dirs int
	}{
		{syncAllFrom - 1, nil, syncAllFrom - 1, 0, syncAllFrom - 1},
		{syncAllFrom, nil, 0, 1, 0},
		{syncAllFrom, syscall.EIO, syncAllFrom, 1, syncAllFrom}, // whatever failed, each file is asked for
	} {
		files := &syncsFS{before: func(what string) error {
			if what == "all" {
				return test.err
			}
			return nil
		}}
		b := batchOf(test.blobs)
		syncing(files).syncBlobs(b)
		if files.count(isFile) != test.files || files.count(isAll) != test.all || files.count(isDirectory) != test.dirs {
			t.Errorf("%d files, %v: %d files were synced, %d directories, and all %d times", test.blobs, test.err,
				files.count(isFile), files.count(isDirectory), files.count(isAll))
		}
		if len(b.failed) > 0 || b.postponed != nil {
			t.Errorf("%d files, %v: %d failed, %v", test.blobs, test.err, len(b.failed), b.postponed)
		}
	}
}

// TestAFileThatIsNotSyncedForSureIsFoundOut whichever step of it fails, and no other is taken for bad.
func TestAFileThatIsNotSyncedForSureIsFoundOut(t *testing.T) {
	b := batchOf(3)
	other := &blobState{digest: b.fresh[1].digest}
	other.digest[5]++ // in the same directory
	name := func(blob *blobState) string { return filepath.Base(blobPath("store", blob.digest)) }
	for _, test := range []struct {
		step      string
		err       error
		failed    []*blobState
		postponed bool
	}{
		{"open/" + name(b.fresh[1]), syscall.EIO, b.fresh[1:2], false},
		{"open/" + name(b.fresh[1]), syscall.EACCES, b.fresh[1:2], false},
		{"open/" + name(b.fresh[1]), syscall.EMFILE, nil, true},
		{"open/" + name(b.fresh[1]), fs.ErrNotExist, nil, false}, // purged
		{name(b.fresh[1]), syscall.EIO, b.fresh[1:2], false},
		{"directory/" + filepath.Base(shardPath("store", 1)), syscall.EIO, []*blobState{b.fresh[1], other}, false},
		{"directory/" + filepath.Base(shardPath("store", 1)), syscall.ENFILE, nil, true},
	} {
		s := syncing(&syncsFS{before: func(what string) error {
			if what == test.step {
				return test.err
			}
			return nil
		}})
		tried := &batch{fresh: append(slices.Clone(b.fresh), other)}
		s.syncBlobs(tried)
		same := len(tried.failed) == len(test.failed)
		for _, blob := range test.failed {
			same = same && slices.Contains(tried.failed, blob)
		}
		if !same || errors.Is(tried.postponed, test.err) != test.postponed {
			t.Errorf("%s, %v: %d failed, postponed for %v", test.step, test.err, len(tried.failed), tried.postponed)
		}
		if told := s.counters.diskErrors.Load(); told != int64(len(test.failed)) {
			t.Errorf("%s, %v: %d errors of the disk are told", test.step, test.err, told)
		}
	}
}
