package cache

import (
	"fmt"
	"slices"
)

// maxIndexDepth bounds how many pages lie between a bucket's first page and its leaves. A million entries are four deep.
const maxIndexDepth = 64

// pageGraph finds out whether the pages of index.db are trees. bbolt takes that for granted: where a page names itself, or
// one above it, as its child, bbolt goes round until the stack is full, and that ends the process.
//
// Leaves aren't read, since they are nearly all of the file. All leaves of a tree are equally deep, so the first and the last
// page of a level tell what the level is. That each page is named once, and no free page is, shows a branch among the leaves:
// it is named by its own parent too, or is a free page.
type pageGraph struct {
	boltFile
	pages uint64
	// seen has a bit for each page that was met.
	seen []uint64
}

// checkGraph returns errDamagedIndex where bbolt could go round, or out of the file, between branch pages. It reads each
// branch page once, in the order of the file as far as that is possible.
func (f boltFile) checkGraph(meta boltMeta) error {
	g := &pageGraph{boltFile: f, pages: meta.pages, seen: make([]uint64, meta.pages/64+1)}
	for page := range uint64(boltMetaPages) {
		if err := g.meet(page); err != nil {
			return err
		}
	}
	if err := g.meetFree(meta.freelist); err != nil {
		return err
	}
	leaves, err := g.descend(meta.root)
	if err != nil {
		return err
	}
	// The leaves of the outermost tree name the buckets. These are few.
	for _, number := range leaves {
		page, err := g.header(number)
		if err != nil {
			return err
		}
		if page.kind != boltLeaf || number+uint64(page.overflow) >= g.pages {
			return fmt.Errorf("%w: page %d is no leaf", errDamagedIndex, number)
		}
		roots, err := g.buckets(page)
		if err != nil {
			return err
		}
		for _, root := range roots {
			if _, err := g.descend(root); err != nil {
				return err
			}
		}
	}
	return nil
}

// meet notes that something names a page.
func (g *pageGraph) meet(page uint64) error {
	if page >= g.pages {
		return fmt.Errorf("%w: it names page %d of %d", errDamagedIndex, page, g.pages)
	}
	if g.seen[page/64]&(1<<(page%64)) != 0 {
		return fmt.Errorf("%w: page %d is named twice", errDamagedIndex, page)
	}
	g.seen[page/64] |= 1 << (page % 64)
	return nil
}

// meetFree notes the pages of the free list, and those in it.
func (g *pageGraph) meetFree(number uint64) error {
	if err := g.meet(number); err != nil {
		return err
	}
	page, err := g.header(number)
	if err != nil {
		return err
	}
	if page.kind != boltFreelist {
		return fmt.Errorf("%w: page %d is no list of free pages", errDamagedIndex, number)
	}
	free, err := g.free(page, g.pages)
	if err != nil {
		return err
	}
	for _, number := range free {
		if err := g.meet(number); err != nil {
			return err
		}
	}
	return nil
}

// descend goes through the branch pages below a page, and returns the leaves.
func (g *pageGraph) descend(root uint64) (leaves []uint64, err error) {
	if err := g.meet(root); err != nil {
		return nil, err
	}
	level := []uint64{root}
	for range maxIndexDepth {
		first, err := g.header(level[0])
		if err != nil {
			return nil, err
		}
		last, err := g.header(level[len(level)-1])
		if err != nil {
			return nil, err
		}
		if first.kind == boltLeaf && last.kind == boltLeaf {
			return level, nil
		}
		if level, err = g.below(level); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: it is more than %d pages deep", errDamagedIndex, maxIndexDepth)
}

// below returns the children of all pages of a level.
func (g *pageGraph) below(level []uint64) (children []uint64, err error) {
	for _, number := range level {
		page, err := g.header(number)
		if err != nil {
			return nil, err
		}
		if page.kind != boltBranch || page.count == 0 {
			return nil, fmt.Errorf("%w: page %d is no branch", errDamagedIndex, number)
		}
		below, err := g.children(page)
		if err != nil {
			return nil, err
		}
		for _, child := range below {
			if err := g.meet(child); err != nil {
				return nil, err
			}
		}
		children = append(children, below...)
	}
	slices.Sort(children)
	return children, nil
}
