package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"slices"
	"syscall"
	"testing"
)

// drawnPageSize is that of drawn pages: small, so that few elements fill one.
const drawnPageSize = 128

// drawnPages is a file of pages such as bbolt writes.
type drawnPages []byte

func (p drawnPages) file() boltFile { return boltFile{bytes.NewReader(p), drawnPageSize} }

// page is a page's bytes, to the end of the file.
func (p drawnPages) page(number int) []byte { return p[number*drawnPageSize:] }

func (p drawnPages) head(number int, kind, count uint16, overflow uint32) {
	page := p.page(number)
	binary.NativeEndian.PutUint64(page, uint64(number)) //nolint:gosec // small
	binary.NativeEndian.PutUint16(page[8:], kind)
	binary.NativeEndian.PutUint16(page[10:], count)
	binary.NativeEndian.PutUint32(page[12:], overflow)
}

func (p drawnPages) branch(number int, children ...uint64) {
	p.head(number, boltBranch, uint16(len(children)), 0) //nolint:gosec // few
	for i, child := range children {
		binary.NativeEndian.PutUint64(p.page(number)[boltPageHeader+i*boltElement+8:], child)
	}
}

// element draws an element of a leaf, whose value begins at a place in the page's body.
func (p drawnPages) element(number, i int, flags uint32, value, length int) []byte {
	at := boltPageHeader + i*boltElement
	const keyLength = 3
	for n, field := range []uint32{flags, uint32(value - i*boltElement - keyLength), keyLength, uint32(length)} { //nolint:gosec // small
		binary.NativeEndian.PutUint32(p.page(number)[at+4*n:], field)
	}
	return p.page(number)[boltPageHeader+value:]
}

// bucket draws a bucket with pages of its own.
func (p drawnPages) bucket(number, i, value int, root uint64) {
	binary.NativeEndian.PutUint64(p.element(number, i, boltBucketFlag, value, boltBucketHeader), root)
}

func (p drawnPages) freelist(number int, free ...uint64) {
	p.head(number, boltFreelist, uint16(len(free)), 0) //nolint:gosec // few
	for i, page := range free {
		binary.NativeEndian.PutUint64(p.page(number)[boltPageHeader+8*i:], page)
	}
}

// drawIndex draws a sound index with all that the check of an index looks at. The file is longer than the pages that count.
func drawIndex() (drawnPages, boltMeta) {
	const pages = 23
	p := make(drawnPages, (pages+2)*drawnPageSize)
	p.freelist(2, 20, 19)
	p.branch(3, 6, 4, 22) // the tree of buckets
	p.head(4, boltLeaf, 3, 0)
	p.bucket(4, 0, 48, 8)
	inside := p.element(4, 1, boltBucketFlag, 112-32, 32) // a bucket without entries in the page itself, to its end
	binary.NativeEndian.PutUint16(inside[boltBucketHeader+8:], boltLeaf)
	copy(p.element(4, 2, 0, 64, 4), "key and value")
	p.head(22, boltLeaf, 7, 0)
	for i := range 7 { // no room for anything but elements
		p.element(22, i, 0, 0, 0)
	}
	p.head(6, boltLeaf, 1, 1) // goes on in page 7
	p.bucket(6, 0, 112+64, 18)
	p.branch(8, 12, 9, 11) // of a bucket
	p.branch(9, 13, 14)
	p.branch(11, 15, 16)
	p.branch(12, 21, 5)
	for _, leaf := range []int{5, 13, 14, 15, 16, 18, 21, pages, pages + 1} { // 18 is a bucket's only page
		p.head(leaf, boltLeaf, 0, 0)
	}
	return p, boltMeta{root: 3, freelist: 2, pages: pages}
}

func TestWhateverIsWrongWithTheIndexesPagesIsDamage(t *testing.T) {
	for name, harm := range map[string]func(p drawnPages, meta *boltMeta){
		"less pages than there must be":               func(_ drawnPages, meta *boltMeta) { meta.pages = 1 },
		"the list of free pages is beyond the end":    func(_ drawnPages, meta *boltMeta) { meta.freelist = meta.pages },
		"the list of free pages is another page":      func(p drawnPages, _ *boltMeta) { p.page(2)[0]++ },
		"the list of free pages is none":              func(p drawnPages, _ *boltMeta) { p.head(2, boltLeaf, 2, 0) },
		"more pages are free than there are":          func(p drawnPages, _ *boltMeta) { p.head(2, boltFreelist, 24, 0) },
		"a page is free twice":                        func(p drawnPages, _ *boltMeta) { p.freelist(2, 20, 20) },
		"a page is free and used":                     func(p drawnPages, _ *boltMeta) { p.freelist(2, 20, 13) },
		"the tree of buckets is beyond the end":       func(_ drawnPages, meta *boltMeta) { meta.root = meta.pages },
		"the tree of buckets is another page":         func(p drawnPages, _ *boltMeta) { p.page(3)[0]++ },
		"the tree of buckets has an empty branch":     func(p drawnPages, _ *boltMeta) { p.head(6, boltBranch, 0, 0) },
		"a leaf of the tree of buckets is another":    func(p drawnPages, _ *boltMeta) { p.page(22)[0]++ },
		"a leaf goes on beyond the end":               func(p drawnPages, _ *boltMeta) { p.head(22, boltLeaf, 0, 1) },
		"a leaf goes on far beyond the end":           func(p drawnPages, _ *boltMeta) { p.head(22, boltLeaf, 0, 1<<20) },
		"a leaf has more elements than room":          func(p drawnPages, _ *boltMeta) { p.head(22, boltLeaf, 8, 0) },
		"a bucket is shorter than its header":         func(p drawnPages, _ *boltMeta) { p.element(4, 0, boltBucketFlag, 48, 15) },
		"a bucket ends beyond its page":               func(p drawnPages, _ *boltMeta) { p.element(4, 1, boltBucketFlag, 112-32, 33) },
		"a bucket with pages of its own ends beyond":  func(p drawnPages, _ *boltMeta) { p.bucket(4, 0, 112-15, 8) },
		"a bucket within a page is shorter than that": func(p drawnPages, _ *boltMeta) { p.element(4, 1, boltBucketFlag, 112-32, 31) },
		"a bucket within a page is no leaf": func(p drawnPages, _ *boltMeta) {
			p.page(4)[boltPageHeader+112-32+boltBucketHeader+8] = boltBranch
		},
		"a bucket is another page":                     func(p drawnPages, _ *boltMeta) { p.page(8)[0]++ },
		"the first page of a level is another":         func(p drawnPages, _ *boltMeta) { p.page(9)[0]++ },
		"a page amid a level is another":               func(p drawnPages, _ *boltMeta) { p.page(11)[0]++ },
		"the last page of a level is another":          func(p drawnPages, _ *boltMeta) { p.page(12)[0]++ },
		"the first page of a level is a leaf":          func(p drawnPages, _ *boltMeta) { p.head(9, boltLeaf, 2, 0) },
		"a page amid a level is a leaf":                func(p drawnPages, _ *boltMeta) { p.head(11, boltLeaf, 2, 0) },
		"the last page of a level is a leaf":           func(p drawnPages, _ *boltMeta) { p.head(12, boltLeaf, 2, 0) },
		"a branch amid a level is empty":               func(p drawnPages, _ *boltMeta) { p.head(11, boltBranch, 0, 0) },
		"a branch names the page after the last":       func(p drawnPages, meta *boltMeta) { p.branch(11, 15, meta.pages) },
		"a branch names a page twice":                  func(p drawnPages, _ *boltMeta) { p.branch(11, 15, 15) },
		"two branches name one page":                   func(p drawnPages, _ *boltMeta) { p.branch(9, 13, 15) },
		"a bucket beyond what goes on in another page": func(p drawnPages, _ *boltMeta) { p.bucket(6, 0, 112+64, 30) },
	} {
		t.Run(name, func(t *testing.T) {
			p, meta := drawIndex()
			if err := p.file().checkGraph(meta); err != nil {
				t.Fatalf("unharmed: %v", err)
			}
			harm(p, &meta)
			if err := p.file().checkGraph(meta); !errors.Is(err, errDamagedIndex) {
				t.Errorf("harmed: %v", err)
			}
		})
	}
}

// readsOf notes where a file is read, and lets one of the reads fail.
type readsOf struct {
	io.ReaderAt
	at      []int64
	failing int
	err     error
}

func (r *readsOf) ReadAt(data []byte, at int64) (int, error) {
	r.at = append(r.at, at)
	if r.err != nil && len(r.at)-1 == r.failing {
		return 0, r.err
	}
	return r.ReaderAt.ReadAt(data, at)
}

// TestAnIndexThatCannotBeReadNowIsNotTakenForDamaged: what is set aside as damaged is lost.
func TestAnIndexThatCannotBeReadNowIsNotTakenForDamaged(t *testing.T) {
	p, meta := drawIndex()
	longList := slices.Clone(p) // whose length is too much for a page's header
	longList.head(2, boltFreelist, 0xFFFF, 0)
	copy(longList.page(2)[boltPageHeader:], binary.NativeEndian.AppendUint64(nil, 1))
	binary.NativeEndian.PutUint64(longList.page(2)[boltPageHeader+8:], 20)
	putMeta(p, 0, 7, boltMagic)
	putMeta(p, 1, 8, boltMagic)
	for name, check := range map[string]func(file io.ReaderAt) error{
		"the pages":             func(file io.ReaderAt) error { return boltFile{file, drawnPageSize}.checkGraph(meta) },
		"the beginning":         func(file io.ReaderAt) error { _, err := boltFile{file, drawnPageSize}.meta(); return err },
		"a long list's lengths": nil,
	} {
		file := bytes.NewReader(p)
		if check == nil {
			file = bytes.NewReader(longList)
			check = func(file io.ReaderAt) error { return boltFile{file, drawnPageSize}.checkGraph(meta) }
		}
		all := &readsOf{ReaderAt: file}
		if err := check(all); err != nil || len(all.at) < 2 {
			t.Fatalf("%s: %v after %d reads", name, err, len(all.at))
		}
		for i := range all.at {
			if err := check(&readsOf{ReaderAt: file, failing: i, err: syscall.EMFILE}); !errors.Is(err, syscall.EMFILE) || errors.Is(err, errDamagedIndex) {
				t.Errorf("%s, read %d, too many open files: %v", name, i, err)
			}
			if err := check(&readsOf{ReaderAt: file, failing: i, err: syscall.EIO}); !errors.Is(err, errDamagedIndex) {
				t.Errorf("%s, read %d, a broken disk: %v", name, i, err)
			}
			if name == "the beginning" {
				continue // there are two
			}
			if err := check(&readsOf{ReaderAt: file, failing: i, err: io.EOF}); !errors.Is(err, errDamagedIndex) {
				t.Errorf("%s, read %d, cut off: %v", name, i, err)
			}
		}
	}
}

// TestTheIndexIsReadInTheOrderOfTheFile as far as a level goes: on a disk that turns, seeks are what a start waits for.
func TestTheIndexIsReadInTheOrderOfTheFile(t *testing.T) {
	p, meta := drawIndex()
	file := &readsOf{ReaderAt: bytes.NewReader(p)}
	if err := (boltFile{file, drawnPageSize}).checkGraph(meta); err != nil {
		t.Fatal(err)
	}
	var branches []int64 // whose children were read
	for _, at := range file.at {
		if number := at / drawnPageSize; at%drawnPageSize == boltPageHeader && number >= 9 && number <= 12 {
			branches = append(branches, number)
		}
	}
	if !slices.Equal(branches, []int64{9, 11, 12}) {
		t.Errorf("branches were read in the order %v", branches)
	}
}

func TestTheListOfFreePagesIsReadToItsEnd(t *testing.T) {
	want := make([]uint64, 0, 14)
	for i := range uint64(14) {
		want = append(want, 100-i)
	}
	p := make(drawnPages, drawnPageSize) // the list fills its page, with which the file ends
	p.freelist(0, want...)
	short, err := p.file().free(boltPage{count: 14}, 200)
	if err != nil || !slices.Equal(short, want) {
		t.Errorf("%v, %v", short, err)
	}
	copy(p[boltPageHeader:], binary.NativeEndian.AppendUint64(nil, 13))
	long, err := p.file().free(boltPage{count: 0xFFFF}, 200)
	if err != nil || !slices.Equal(long, want[1:]) {
		t.Errorf("with its length in front: %v, %v", long, err)
	}
}

// putMeta puts meta data into a drawn page, with the right check sum.
func putMeta(p drawnPages, page int, transaction uint64, magic uint32) {
	meta := p.page(page)[boltPageHeader:][:boltMetaLength]
	clear(meta)
	binary.NativeEndian.PutUint32(meta, magic)
	for at, value := range map[int]uint64{16: 3, 32: 2, 40: 23, 48: transaction} {
		binary.NativeEndian.PutUint64(meta[at:], value)
	}
	sum := fnv.New64a()
	_, _ = sum.Write(meta[:56])
	binary.NativeEndian.PutUint64(meta[56:], sum.Sum64())
}

// TestTheNewestSoundBeginningCounts: bbolt writes them by turns, so that one is left where a power cut takes the other.
func TestTheNewestSoundBeginningCounts(t *testing.T) {
	for _, test := range []struct {
		name string
		draw func(p drawnPages) drawnPages
		want uint64
		err  error
	}{
		{"the first is newer", func(p drawnPages) drawnPages { putMeta(p, 0, 8, boltMagic); return p }, 8, nil},
		{"the second is newer", func(p drawnPages) drawnPages { putMeta(p, 0, 6, boltMagic); return p }, 7, nil},
		{"only the second is sound", func(p drawnPages) drawnPages { return p }, 7, nil},
		{"the first is no bbolt's", func(p drawnPages) drawnPages { putMeta(p, 0, 8, 1); return p }, 7, nil},
		{"the first has a wrong sum", func(p drawnPages) drawnPages { putMeta(p, 0, 8, boltMagic); p[boltPageHeader+40]++; return p }, 7, nil},
		{"the second is cut off", func(p drawnPages) drawnPages {
			putMeta(p, 0, 0, boltMagic) // as of a new file
			return p[:drawnPageSize+20]
		}, 0, nil},
		{"both are cut off", func(p drawnPages) drawnPages { return p[:20] }, 0, errDamagedIndex},
		{"neither is sound", func(p drawnPages) drawnPages { clear(p); return p }, 0, errDamagedIndex},
	} {
		p := make(drawnPages, 2*drawnPageSize)
		putMeta(p, 1, 7, boltMagic)
		meta, err := test.draw(p).file().meta()
		if !errors.Is(err, test.err) || meta.transaction != test.want {
			t.Errorf("%s: %+v, %v", test.name, meta, err)
		}
		if want := (boltMeta{3, 2, 23, test.want}); err == nil && meta != want {
			t.Errorf("%s: %+v, not %+v", test.name, meta, want)
		}
	}
}
