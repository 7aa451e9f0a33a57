package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// What we know of bbolt's file format (internal/common of v1.5): the file is pages of the system's page size, each named by
// its number. A page begins with a header of 16 bytes: its number, its kind, how many elements it has, and how many pages
// after it belong to it. Numbers are in the machine's own order.
//
// The first two pages hold meta data, of which the valid one with the higher transaction number counts. It names the page at
// which the tree of buckets begins, the page of the list of free pages, and how many pages the file has.
const (
	boltMagic      = 0xED0CDAED
	boltPageHeader = 16
	boltMetaLength = 64
	boltMetaPages  = 2
	// boltElement is the length of an element of a branch or leaf page, without its key and value.
	boltElement = 16
	// boltBucketHeader is the length of a bucket's value: the number of its first page, and a sequence number. Where the page
	// is 0, the bucket's only page follows.
	boltBucketHeader = 16
	boltBucketFlag   = 1
	// boltNoFreelist stands in the place of the page of the free list where there is none. bbolt would then read the
	// whole file, and do so in a goroutine whose faults nobody can catch.
	boltNoFreelist = ^uint64(0)
)

// Kinds of pages.
const (
	boltBranch   = 0x01
	boltLeaf     = 0x02
	boltFreelist = 0x10
)

// boltFile reads what bbolt wrote, past bbolt.
type boltFile struct {
	file io.ReaderAt
	// pageSize is the system's: bbolt takes it from the first page, or looks for the second, and ours are always so.
	pageSize uint64
}

func newBoltFile(file io.ReaderAt) boltFile {
	return boltFile{file, uint64(os.Getpagesize())} //nolint:gosec // never negative
}

// boltMeta is what counts of a file's meta data.
type boltMeta struct {
	root, freelist, pages, transaction uint64
}

// meta returns the meta data that count. errDamagedIndex says that there are none.
func (f boltFile) meta() (newest boltMeta, err error) {
	found := false
	for page := range uint64(boltMetaPages) {
		data := make([]byte, boltMetaLength)
		_, err := f.file.ReadAt(data, int64(page*f.pageSize+boltPageHeader)) //nolint:gosec // the second page at most
		if err != nil && !errors.Is(err, io.EOF) {
			return boltMeta{}, classifyOpenError(err)
		}
		if !isBoltMeta(data) {
			continue // as where the file ends before
		}
		number := func(at int) uint64 { return binary.NativeEndian.Uint64(data[at:]) }
		if meta := (boltMeta{number(16), number(32), number(40), number(48)}); !found || meta.transaction > newest.transaction {
			newest, found = meta, true
		}
	}
	if !found {
		return boltMeta{}, fmt.Errorf("%w: it is no bbolt database", errDamagedIndex)
	}
	return newest, nil
}

func isBoltMeta(meta []byte) bool {
	sum := fnv.New64a()
	_, _ = sum.Write(meta[:56])
	return binary.NativeEndian.Uint32(meta) == boltMagic && binary.NativeEndian.Uint64(meta[56:]) == sum.Sum64()
}

// boltPage is a page's header.
type boltPage struct {
	number   uint64
	kind     uint16
	count    uint16
	overflow uint32
}

// header reads the header of a page, and makes sure that the page is the one that was meant.
func (f boltFile) header(number uint64) (boltPage, error) {
	data := make([]byte, boltPageHeader)
	if err := f.read(data, number, 0); err != nil {
		return boltPage{}, err
	}
	page := boltPage{
		binary.NativeEndian.Uint64(data), binary.NativeEndian.Uint16(data[8:]),
		binary.NativeEndian.Uint16(data[10:]), binary.NativeEndian.Uint32(data[12:]),
	}
	if page.number != number {
		return boltPage{}, fmt.Errorf("%w: page %d says that it is page %d", errDamagedIndex, number, page.number)
	}
	return page, nil
}

// read reads bytes of a page's body, which may go on in the pages after it.
func (f boltFile) read(data []byte, page, at uint64) error {
	_, err := f.file.ReadAt(data, int64(page*f.pageSize+at)) //nolint:gosec // pages are in the file, whose length is an int64
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: page %d is cut off", errDamagedIndex, page)
	}
	if err != nil {
		return classifyOpenError(err)
	}
	return nil
}

// children are the pages below a branch page.
func (f boltFile) children(page boltPage) ([]uint64, error) {
	data := make([]byte, int(page.count)*boltElement)
	if err := f.read(data, page.number, boltPageHeader); err != nil {
		return nil, err
	}
	children := make([]uint64, page.count)
	for i := range children {
		children[i] = binary.NativeEndian.Uint64(data[i*boltElement+8:])
	}
	return children, nil
}

// buckets are the first pages of the buckets in a leaf page; those that lie in the leaf itself are left out.
func (f boltFile) buckets(page boltPage) (roots []uint64, err error) {
	body := make([]byte, (uint64(page.overflow)+1)*f.pageSize-boltPageHeader)
	if err := f.read(body, page.number, boltPageHeader); err != nil {
		return nil, err
	}
	beyond := fmt.Errorf("%w: page %d names what is beyond its end", errDamagedIndex, page.number)
	for i := range uint64(page.count) {
		at := i * boltElement
		if at+boltElement > uint64(len(body)) {
			return nil, beyond
		}
		field := func(n uint64) uint64 { return uint64(binary.NativeEndian.Uint32(body[at+4*n:])) }
		flags, value, length := field(0), at+field(1)+field(2), field(3)
		switch {
		case flags&boltBucketFlag == 0:
			continue
		case length < boltBucketHeader || value+length > uint64(len(body)):
			return nil, beyond
		}
		root := binary.NativeEndian.Uint64(body[value:])
		if root != 0 {
			roots = append(roots, root)
			continue
		}
		inside := body[value+boltBucketHeader : value+length]
		if len(inside) < boltPageHeader || binary.NativeEndian.Uint16(inside[8:]) != boltLeaf {
			return nil, fmt.Errorf("%w: a bucket in page %d is no leaf", errDamagedIndex, page.number)
		}
	}
	return roots, nil
}

// free are the pages that nothing uses.
func (f boltFile) free(freelist boltPage, pages uint64) ([]uint64, error) {
	at, count := uint64(boltPageHeader), uint64(freelist.count)
	if count == 0xFFFF { // more than the header can count
		data := make([]byte, 8)
		if err := f.read(data, freelist.number, at); err != nil {
			return nil, err
		}
		at, count = at+8, binary.NativeEndian.Uint64(data)
	}
	if count > pages {
		return nil, fmt.Errorf("%w: %d of %d pages are said to be free", errDamagedIndex, count, pages)
	}
	data := make([]byte, count*8)
	if err := f.read(data, freelist.number, at); err != nil {
		return nil, err
	}
	free := make([]uint64, count)
	for i := range free {
		free[i] = binary.NativeEndian.Uint64(data[i*8:])
	}
	return free, nil
}
