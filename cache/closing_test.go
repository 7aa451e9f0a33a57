package cache

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// pausingFS waits for the test before a blob gets its name, and before a blob is opened.
type pausingFS struct {
	FS
	naming, opening atomic.Pointer[chan struct{}]
}

func pause(at *atomic.Pointer[chan struct{}]) {
	if until := at.Load(); until != nil {
		<-*until
	}
}

func (f *pausingFS) Rename(from, to string) error {
	if strings.HasSuffix(from, ".part") {
		pause(&f.naming)
	}
	return f.FS.Rename(from, to)
}

func (f *pausingFS) Open(path string) (File, error) {
	if len(filepath.Base(path)) == 64 {
		pause(&f.opening)
	}
	return f.FS.Open(path)
}

// TestWhatEndsTheStoreWaitsForWhatIsUnderWay: whoever reloads a configuration opens the directory right after, and a commit or
// a sync of before would be in the way of it.
func TestWhatEndsTheStoreWaitsForWhatIsUnderWay(t *testing.T) {
	for _, test := range []struct {
		name string
		at   func(f *pausingFS) *atomic.Pointer[chan struct{}]
		end  func(s *Store) error
	}{
		{
			"EndFills, for a commit", func(f *pausingFS) *atomic.Pointer[chan struct{}] { return &f.naming },
			func(s *Store) error { s.EndFills(); return nil },
		},
		{
			"Close, for a batch", func(f *pausingFS) *atomic.Pointer[chan struct{}] { return &f.opening },
			func(s *Store) error { return s.Close() },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := &pausingFS{FS: OS()}
				s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30}, FS: files})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				<-s.Ready()
				until, committed := make(chan struct{}), make(chan error, 1)
				test.at(files).Store(&until)
				g := s.Generation(testKey("a"))
				fill := s.begin(t, testKey("a"), FillSpec{Size: 100})
				fill.write(t, randomBytes(100, 1))
				go func() { // ends with the commit
					_, err := fill.Commit(g)
					committed <- err
				}()
				synctest.Wait()
				var synced chan error
				if test.at(files) == &files.opening {
					synced = make(chan error, 1)
					go func() { synced <- s.Sync(t.Context()) }() // ends with the store
					synctest.Wait()
				}
				ended := make(chan error, 1)
				go func() { ended <- test.end(s) }() // ends with what it waits for
				synctest.Wait()
				select {
				case err := <-ended:
					t.Errorf("it doesn't wait: %v", err)
				default:
				}
				close(until)
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if err := <-committed; err != nil {
					t.Errorf("committed with %v", err)
				}
				if synced != nil {
					if err := <-synced; !errors.Is(err, ErrClosed) {
						t.Errorf("synced with %v", err)
					}
				}
				if _, err := s.Begin(testKey("b"), s.Generation(testKey("b")), FillSpec{Size: 1}); !errors.Is(err, ErrClosed) {
					t.Errorf("afterwards a fill begins with %v", err)
				}
			})
		})
	}
}
