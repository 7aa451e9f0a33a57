package cache

import (
	"errors"
	"testing"
)

// TestWhatFillsWillWriteIsNotFree begins fills that have written nothing yet: the file system still counts their room as free.
func TestWhatFillsWillWriteIsNotFree(t *testing.T) {
	const size, minFree, each = 4 << 20, 2 << 20, 900_000
	for name, length := range map[string]int64{"of known length": each, "of unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			fs := &countedFS{FS: OS(), size: size, names: make(map[string]*countedFile)}
			s := openOn(t, fs, Limits{MaxSize: 64 << 20, MinFree: minFree})
			var fills []*Fill
			for i := range 6 {
				f, err := s.Begin(numberedKey(i), s.Generation(numberedKey(i)), FillSpec{Size: length})
				if err == nil {
					fills = append(fills, f)
				} else if !errors.Is(err, ErrNoRoom) {
					t.Fatal(err)
				}
			}
			if most := (size - minFree) / each; length > 0 && len(fills) != most {
				t.Errorf("%d have begun, and %d fit", len(fills), most)
			}
			data, stored := randomBytes(each, 1), 0
			for _, f := range fills {
				_, err := f.Write(data)
				if err == nil {
					_, err = f.Commit(s.Generation(f.key))
				}
				if err == nil {
					stored++
				}
			}
			if fs.most > size-minFree {
				t.Errorf("only %d bytes were free", size-fs.most)
			}
			if stored == 0 {
				t.Error("nothing was stored; the test shows nothing")
			}
		})
	}
}
