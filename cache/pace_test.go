package cache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// stallingFS is a file system one of whose reads takes long.
type stallingFS struct {
	FS
	// stall is how long it takes, after how many others.
	stall time.Duration
	after int
}

func (f *stallingFS) Open(path string) (File, error) {
	file, err := f.FS.Open(path)
	if err != nil {
		return nil, err
	}
	return &stallingFile{File: file, fs: f}, nil
}

type stallingFile struct {
	File
	fs *stallingFS
}

func (f *stallingFile) Read(p []byte) (int, error) {
	if f.fs.after == 0 {
		time.Sleep(f.fs.stall) // of a test's own clock
	}
	f.fs.after--
	return f.File.Read(p)
}

func TestVerifyingKeepsItsRateAndMakesUpForNothing(t *testing.T) {
	const pieces, perSecond = 12, verifyPiece
	for _, test := range []struct {
		name  string
		stall time.Duration
		// An interval in which nothing could be read is made up for with one piece.
		atLeast time.Duration
	}{
		{"a disk that is fast enough", 0, pieces * time.Second},
		{"a disk that stood still", time.Minute, time.Minute + (pieces-2)*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30}, FS: &stallingFS{FS: OS(), stall: test.stall, after: 3}})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				awaitLoaded(t, s)
				s.put(t, testKey("a"), randomBytes((pieces-1)*verifyPiece, 1))
				s.put(t, testKey("b"), randomBytes(verifyPiece, 2))
				if err := s.Sync(context.Background()); err != nil {
					t.Fatal(err)
				}
				type point struct {
					at    time.Duration
					bytes int64
				}
				var points []point
				begun := time.Now()
				result, err := s.Verify(context.Background(), perSecond, func(p VerifyProgress) {
					points = append(points, point{time.Since(begun), p.Bytes})
				})
				if took := time.Since(begun); err != nil || result.Bytes != pieces*verifyPiece || took < test.atLeast || took > test.atLeast+2*time.Second {
					t.Errorf("%+v in %v, %v", result, took, err)
				}
				for i, from := range points {
					for _, to := range points[i:] {
						// One that was saved up, and one that isn't paid for yet.
						if most := int64((to.at-from.at).Seconds()*perSecond) + 2*verifyPiece; to.bytes-from.bytes > most {
							t.Errorf("%d bytes between %v and %v", to.bytes-from.bytes, from.at, to.at)
						}
					}
				}
			})
		})
	}
}
