package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// openedIndex is an index.db as bbolt left it, to be looked at and changed page by page.
type openedIndex struct {
	boltFile
	os   *os.File
	meta boltMeta
}

func examine(t testing.TB, path string) *openedIndex {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	meta, err := inspectIndex(file)
	if err != nil {
		t.Fatal(err)
	}
	return &openedIndex{newBoltFile(file), file, meta}
}

// branches are branch pages of the deepest bucket, from its first page down.
func (x *openedIndex) branches(t testing.TB) (path []boltPage) {
	t.Helper()
	root, err := x.header(x.meta.root)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := x.buckets(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range roots {
		var way []boltPage
		for {
			page, err := x.header(number)
			if err != nil {
				t.Fatal(err)
			}
			if page.kind != boltBranch {
				break
			}
			way = append(way, page)
			children, err := x.children(page)
			if err != nil {
				t.Fatal(err)
			}
			number = children[len(children)/2]
		}
		if len(way) > len(path) {
			path = way
		}
	}
	if len(path) < 2 {
		t.Fatalf("the index is only %d deep", len(path))
	}
	return path
}

// setChild makes a branch page name another page as the child in the middle.
func (x *openedIndex) setChild(t testing.TB, page boltPage, child uint64) {
	t.Helper()
	at := page.number*x.pageSize + boltPageHeader + uint64(page.count/2)*boltElement + 8
	if _, err := x.os.WriteAt(binary.NativeEndian.AppendUint64(nil, child), int64(at)); err != nil { //nolint:gosec // a small file
		t.Fatal(err)
	}
}

func TestPagesThatGoRoundAreDamageAndEndNoProcess(t *testing.T) {
	const entries = 20_000
	for name, harm := range map[string]func(t *testing.T, x *openedIndex, path []boltPage){
		"a page names itself": func(t *testing.T, x *openedIndex, path []boltPage) {
			x.setChild(t, path[0], path[0].number)
		},
		"the lowest branch names itself": func(t *testing.T, x *openedIndex, path []boltPage) {
			x.setChild(t, path[len(path)-1], path[len(path)-1].number)
		},
		"the lowest branch names the highest": func(t *testing.T, x *openedIndex, path []boltPage) {
			x.setChild(t, path[len(path)-1], path[0].number)
		},
		"a branch names the tree of buckets": func(t *testing.T, x *openedIndex, path []boltPage) {
			x.setChild(t, path[0], x.meta.root)
		},
		"a branch names a page beyond the end": func(t *testing.T, x *openedIndex, path []boltPage) {
			x.setChild(t, path[0], x.meta.pages+5)
		},
		"a free page that names itself is among the leaves": func(t *testing.T, x *openedIndex, path []boltPage) {
			list, err := x.header(x.meta.freelist)
			if err != nil {
				t.Fatal(err)
			}
			free, err := x.free(list, x.meta.pages)
			if err != nil || len(free) == 0 {
				t.Fatalf("%d free pages, %v", len(free), err)
			}
			branch := make([]byte, x.pageSize)
			lowest := path[len(path)-1]
			if err := x.read(branch, lowest.number, 0); err != nil {
				t.Fatal(err)
			}
			binary.NativeEndian.PutUint64(branch, free[0])
			for i := range int(lowest.count) {
				binary.NativeEndian.PutUint64(branch[boltPageHeader+i*boltElement+8:], free[0])
			}
			if _, err := x.os.WriteAt(branch, int64(free[0]*x.pageSize)); err != nil { //nolint:gosec // a small file
				t.Fatal(err)
			}
			x.setChild(t, lowest, free[0])
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeIndex(t, dir, entries)
			x := examine(t, indexPath(dir))
			if err := x.checkGraph(x.meta); err != nil {
				t.Fatalf("unharmed: %v", err)
			}
			harm(t, x, x.branches(t))
			if err := x.checkGraph(x.meta); !errors.Is(err, errDamagedIndex) {
				t.Fatalf("harmed: %v", err) // bbolt would go round
			}
			s := openStore(t, dir, Limits{})
			awaitLoaded(t, s)
			s.put(t, testKey("new"), randomBytes(2000, 5))
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if aside, _ := filepath.Glob(damagedIndexPattern(dir)); len(aside) != 1 {
				t.Errorf("set aside: %v", aside)
			}
		})
	}
}

func TestATreeOfPagesMayBe64Deep(t *testing.T) {
	for depth, want := range map[int]error{maxIndexDepth: nil, maxIndexDepth + 1: errDamagedIndex} {
		// Pages 3 and on each name the next; the last is a leaf. Page 2 is the list of free pages.
		pageSize := os.Getpagesize()
		file := make([]byte, (3+depth)*pageSize)
		page := func(number, kind, count int) []byte {
			page := file[number*pageSize:][:pageSize]
			binary.NativeEndian.PutUint64(page, uint64(number))        //nolint:gosec // small
			binary.NativeEndian.PutUint16(page[8:], uint16(kind))      //nolint:gosec // small
			binary.NativeEndian.PutUint16(page[10:], uint16(count))    //nolint:gosec // small
			binary.NativeEndian.PutUint64(page[24:], uint64(number)+1) //nolint:gosec // small
			return page
		}
		page(2, boltFreelist, 0)
		for number := 3; number < 2+depth; number++ {
			page(number, boltBranch, 1)
		}
		page(2+depth, boltLeaf, 0)
		path := filepath.Join(t.TempDir(), "pages")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		opened, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		err = newBoltFile(opened).checkGraph(boltMeta{root: 3, freelist: 2, pages: uint64(3 + depth)}) //nolint:gosec // small
		if !errors.Is(err, want) || (want == nil && err != nil) {
			t.Errorf("%d deep: %v", depth, err)
		}
		_ = opened.Close()
	}
}

// TestNoIndexThatBboltWroteIsTakenForDamaged writes and removes at random, in small and large transactions.
func TestNoIndexThatBboltWroteIsTakenForDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that can be repeated
	for round := range 16 {
		db, err := openIndex(path)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		db.NoSync = true
		for range 5 {
			err := db.Update(func(tx *bolt.Tx) (err error) {
				pins, err := tx.CreateBucketIfNotExists(pinsBucket)
				changes := random.IntN(4000)
				for range changes {
					key := fmt.Appendf(nil, "%0*d", 1+random.IntN(200), random.IntN(20_000))
					bucket := []*bolt.Bucket{tx.Bucket(entriesBucket), tx.Bucket(usesBucket), pins}[random.IntN(3)]
					if round%8 > 4 || random.IntN(3) == 0 {
						if found, _ := bucket.Cursor().Seek(key); found != nil {
							err = errors.Join(err, bucket.Delete(found))
						}
					} else {
						err = errors.Join(err, bucket.Put(key, make([]byte, random.IntN(1500))))
					}
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			x := examine(t, path)
			if err := x.checkGraph(x.meta); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			_ = x.os.Close()
		}
		if err := db.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnIndexWithWrongBytesInItsBranchesEndsNoProcess harms one number of a branch page at a time.
func TestAnIndexWithWrongBytesInItsBranchesEndsNoProcess(t *testing.T) {
	dir := t.TempDir()
	writeIndex(t, dir, 20_000)
	good, err := os.ReadFile(indexPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	path := examine(t, indexPath(dir)).branches(t)
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a test that can be repeated
	for range 12 {
		dir := t.TempDir()
		harmed := append([]byte(nil), good...)
		page := path[random.IntN(len(path))]
		at := int(page.number)*os.Getpagesize() + 8 + random.IntN(boltPageHeader+int(page.count)*boltElement-8) //nolint:gosec // small
		harmed[at] = byte(random.IntN(256))                                                                     //nolint:gosec // below 256
		makeDirectories(t, dir)
		if err := os.WriteFile(indexPath(dir), harmed, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, dir, Limits{})
		awaitLoaded(t, s)
		for i := range 50 {
			if _, err := s.Lookup(numberedKey(i * 400)); err != nil && !errors.Is(err, ErrMiss) && !errors.Is(err, errDamagedIndex) {
				t.Errorf("looking up: %v", err)
			}
		}
		_ = s.Close() // may be the first to find the damage
	}
}

// BenchmarkCheckIndex checks the pages of an index of 1,000,000 entries: as it is after a restart of the edge, and with
// nothing of the file in the system's memory, as after a restart of the machine. open is all of the opening.
func BenchmarkCheckIndex(b *testing.B) {
	dir := b.TempDir()
	writeIndex(b, dir, manyEntries)
	x := examine(b, indexPath(dir))
	check := func(b *testing.B) {
		if err := x.checkGraph(x.meta); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("warm", func(b *testing.B) {
		for b.Loop() {
			check(b)
		}
	})
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			forgetFile(b, x.os)
			b.StartTimer()
			check(b)
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			db, err := openIndex(indexPath(dir))
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := db.close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}

// makeDirectories makes those of a store, so that an index is no other program's.
func makeDirectories(t testing.TB, dir string) {
	t.Helper()
	for _, path := range []string{blobsPath(dir), fillsPath(dir)} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}
