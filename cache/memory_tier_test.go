package cache

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// testTier is a memory tier without a store, and what is to be in it.
type testTier struct {
	memoryTier
	limit int64
	// sizes are those of the files that were put in, by number. A file's bytes follow from its number.
	sizes map[byte]int
}

func newTestTier(limit int64) *testTier {
	return &testTier{memoryTier: newMemoryTier(), limit: limit, sizes: make(map[byte]int)}
}

func (m *testTier) content(number byte) []byte { return randomBytes(m.sizes[number], number) }

// write finds a place for a file and writes it there.
func (m *testTier) write(number byte, size int) *memoryFile {
	place := m.reserve(size, m.limit)
	if place != nil {
		m.sizes[number] = size
		copy(place.bytes(), m.content(number))
	}
	return place
}

// put makes a file one of the tier's, and reports whether there was room.
func (m *testTier) put(t *testing.T, number byte, size int) bool {
	t.Helper()
	place := m.write(number, size)
	if place == nil {
		return false
	}
	m.publish(Digest{number}, place)
	place.segment.leave()
	m.check(t)
	return true
}

// use reads a file, and reports whether it is there.
func (m *testTier) use(t *testing.T, number byte) bool {
	t.Helper()
	file := m.get(Digest{number})
	if file == nil {
		return false
	}
	if !bytes.Equal(file.bytes(), m.content(number)) {
		t.Errorf("file %d has other bytes", number)
	}
	file.segment.leave()
	return true
}

// has are the numbers of the files that are there, in their order. Asking is no use of them.
func (m *testTier) has() (numbers []byte) {
	for _, digest := range m.files.Keys() {
		numbers = append(numbers, digest[0])
	}
	slices.Sort(numbers)
	return numbers
}

// check holds that files lie one behind the other, with their bytes, and that nothing is counted wrong or kept for nothing. It
// counts on nobody who reads or writes.
func (m *testTier) check(t *testing.T) {
	t.Helper()
	held := make(map[*segment][]*memoryFile)
	for _, digest := range m.files.Keys() {
		file, _ := m.files.Peek(digest)
		held[file.segment] = append(held[file.segment], file)
		if !slices.Contains(file.segment.files, digest) {
			t.Errorf("the segment of file %d doesn't know of it", digest[0])
		}
		if !bytes.Equal(file.bytes(), m.content(digest[0])) {
			t.Errorf("file %d has other bytes", digest[0])
		}
	}
	var mapped int64
	for _, s := range m.segments {
		mapped += int64(len(s.data))
		files := held[s]
		delete(held, s)
		slices.SortFunc(files, func(a, b *memoryFile) int { return a.from - b.from })
		live, end := 0, 0
		for _, file := range files {
			if file.from < end {
				t.Error("two files lie on each other")
			}
			live += file.size
			end = file.from + file.size
		}
		if s.live != live || end > s.filled || s.filled > len(s.data) || s.readers.Load() != 0 {
			t.Errorf("%d of %d bytes are filled, %d files end at %d with %d bytes; %d count, and %d readers",
				s.filled, len(s.data), len(files), end, live, s.live, s.readers.Load())
		}
		if live == 0 && s != m.open {
			t.Error("a segment is kept for nothing")
		}
	}
	if len(held) > 0 || m.mapped.Load() != mapped || m.bytes() > m.limit {
		t.Errorf("%d bytes are taken, %d mapped for %d; files lie in %d segments more", m.bytes(), m.mapped.Load(), mapped, len(held))
	}
}

func TestASegmentIsASixteenthOfMemoryInWholePages(t *testing.T) {
	page := int64(os.Getpagesize())
	for _, test := range []struct {
		limit, segment, largest int64
	}{
		{1, page, 0},
		{64, page, 1},
		{16*2*page - 1, page, page/2 - 1},
		{16 * 2 * page, 2 * page, page / 2},
		{16*3*page - 1, 2 * page, 3*page/4 - 1},
		{16 << 20, 1 << 20, 256 << 10},
		{16<<20 - 1, 1<<20 - page, 256<<10 - 1},
		{1 << 30, 1 << 20, 256 << 10},
	} {
		if size, largest := segmentSize(test.limit), largestInMemory(test.limit); int64(size) != test.segment || largest != test.largest {
			t.Errorf("of %d bytes a segment takes %d, and the largest file has %d", test.limit, size, largest)
		}
		if test.largest > test.segment/2 {
			t.Errorf("of %d bytes, a file of %d has no place in what can be freed of a segment", test.limit, test.largest)
		}
	}
}

// TestFilesLieOneBehindTheOtherToTheLastByte: what fits is put beside the others, and the next file begins a segment.
func TestFilesLieOneBehindTheOtherToTheLastByte(t *testing.T) {
	m := newTestTier(1 << 20)
	segment := segmentSize(m.limit)
	for i := range byte(8) {
		m.put(t, i, segment/4)
		if got, want := len(m.segments), int(i)/4+1; got != want {
			t.Fatalf("%d files of a fourth lie in %d segments", i+1, got)
		}
	}
	if want := int64(2*segment + 8*memoryOverhead); m.bytes() != want {
		t.Errorf("%d bytes are taken, not %d", m.bytes(), want)
	}
}

// TestMemoryTakesAllOfItsLimit has one that a segment and its files fill just so, and one byte less.
func TestMemoryTakesAllOfItsLimit(t *testing.T) {
	page := os.Getpagesize()
	for less := range int64(2) {
		m := newTestTier(int64(page) + 2*memoryOverhead - less)
		for i, want := range []bool{true, less == 0, false} {
			place := m.write(byte(i), 100)
			if (place != nil) != want {
				t.Fatalf("file %d has a place: %v, with %d of %d bytes", i, !want, m.bytes(), m.limit)
			}
			if place == nil {
				break
			}
			m.publish(Digest{byte(i)}, place)
			defer place.segment.leave() // nothing may go
		}
	}
	for less := range int64(2) {
		m := newTestTier(int64(2*page) + 2*memoryOverhead - less)
		m.put(t, 0, page)
		if m.put(t, 1, page); len(m.segments) != 2-int(less) {
			t.Errorf("%d bytes are taken of %d", m.bytes(), m.limit)
		}
	}
	m := newTestTier(int64(page) + 2*memoryOverhead)
	m.put(t, 0, 1)
	m.promoting[Digest{1}] = struct{}{}
	if m.use(t, 0); m.write(2, 1) != nil && m.files.Len() > 0 {
		t.Error("what is on its way in doesn't count")
	}
}

// TestWhatWasUsedSinceItCameStaysUpToHalfOfTheRoom fills all segments, uses some files, and needs room.
func TestWhatWasUsedSinceItCameStaysUpToHalfOfTheRoom(t *testing.T) {
	eighth := os.Getpagesize() / 8
	for _, test := range []struct {
		name string
		used []byte
		want []byte
	}{
		{"none", nil, nil},
		{"some", []byte{1, 3}, []byte{1, 3}},
		{"the first", []byte{0}, []byte{0}},
		{"just half", []byte{0, 2, 4, 6}, []byte{0, 2, 4, 6}},
		{"more than half, of which the last used stay", []byte{7, 1, 5, 3, 2}, []byte{1, 2, 3, 5}},
		{"all", []byte{0, 1, 2, 3, 4, 5, 6, 7}, []byte{4, 5, 6, 7}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newTestTier(int64(8*eighth + 8*memoryOverhead))
			for i := range byte(8) {
				m.put(t, i, eighth)
			}
			m.limit += memoryOverhead // for the next one
			for _, i := range test.used {
				m.use(t, i)
			}
			if !m.put(t, 100, eighth) || !slices.Equal(m.has(), append(slices.Clone(test.want), 100)) {
				t.Errorf("what is left is %v", m.has())
			}
			if n := len(m.open.files); n != len(test.want)+1 {
				t.Errorf("%d files are listed", n)
			}
			// What stayed has lost its former uses: next time it goes first.
			for i := range byte(7) {
				if m.open.filled+eighth <= len(m.open.data) {
					m.put(t, 101+i, eighth)
				}
			}
			m.use(t, 100)
			if !m.put(t, 120, eighth) || !slices.Equal(m.has(), []byte{100, 120}) {
				t.Errorf("the next time %v are left", m.has())
			}
		})
	}
}

// TestAFileThatWasUsedBeforeTheLastCameStays: what came last and wasn't used goes, and takes no other with it.
func TestAFileThatWasUsedBeforeTheLastCameStays(t *testing.T) {
	fourth := os.Getpagesize() / 4
	m := newTestTier(int64(4*fourth + 5*memoryOverhead))
	for i := range byte(4) {
		m.put(t, i, fourth)
		if i == 1 {
			m.use(t, 0)
			m.use(t, 1)
		}
	}
	if !m.put(t, 4, fourth) || !slices.Equal(m.has(), []byte{0, 1, 4}) {
		t.Errorf("what is left is %v", m.has())
	}
}

// TestAFileThatIsTooLargeForHalfOfTheRoomDoesNotStay, however often it is used, or there would be no room for the next.
func TestAFileThatIsTooLargeForHalfOfTheRoomDoesNotStay(t *testing.T) {
	page := os.Getpagesize()
	for more := range 2 {
		m := newTestTier(int64(page) + 2*memoryOverhead)
		m.put(t, 0, page/2+more)
		m.use(t, 0)
		m.put(t, 1, page/2)
		if stays := more == 0; m.use(t, 0) != stays || !m.use(t, 1) {
			t.Errorf("a file of half of the room and %d bytes stays: %v", more, !stays)
		}
	}
}

// TestTheSegmentOfTheFileThatWasUsedLeastRecentlyIsUsedAgain, or if that is being read the one that was filled first.
func TestTheSegmentOfTheFileThatWasUsedLeastRecentlyIsUsedAgain(t *testing.T) {
	page := os.Getpagesize()
	for _, test := range []struct {
		name string
		read []byte
		// left are the files that stay of three, each of which fills a segment; nil for no room.
		left []byte
	}{
		{"none is being read", nil, []byte{1, 3}},
		{"that of the file is being read", []byte{2}, []byte{2, 3}},
		{"two are being read", []byte{2, 1}, []byte{1, 2}},
		{"all are being read", []byte{1, 2, 3}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newTestTier(int64(3*page + 4*memoryOverhead))
			for i := range byte(3) {
				m.put(t, 1+i, page)
			}
			files := make(map[byte]*memoryFile)
			for _, i := range []byte{2, 3, 1} { // in the order of use
				files[i] = m.get(Digest{i})
				files[i].segment.leave()
			}
			for _, i := range test.read {
				files[i].segment.enter()
			}
			place := m.write(9, page)
			if (place != nil) != (test.left != nil) {
				t.Fatalf("there is a place: %v", place != nil)
			}
			for _, i := range test.read {
				files[i].segment.leave()
			}
			if place == nil {
				return
			}
			m.publish(Digest{9}, place)
			place.segment.leave()
			m.check(t)
			if !slices.Equal(m.has(), append(slices.Clone(test.left), 9)) {
				t.Errorf("what is left is %v", m.has())
			}
			if m.segments[2] != place.segment {
				t.Error("the segment that is filled now isn't the last")
			}
		})
	}
}

// TestAFileThatComesBackIsNotLostWithItsFormerPlace has a file go, and come back into another segment.
func TestAFileThatComesBackIsNotLostWithItsFormerPlace(t *testing.T) {
	page := os.Getpagesize()
	again := func(t *testing.T) (m *testTier, former *segment) {
		t.Helper()
		m = newTestTier(int64(2*page + 4*memoryOverhead))
		m.put(t, 1, page/2)
		m.put(t, 2, page/4)
		former = m.open
		m.remove(Digest{1})
		m.check(t)
		m.put(t, 3, page/2)
		if m.put(t, 1, page/2); m.open == former {
			t.Fatal("it came back to where it was")
		}
		return m, former
	}
	m, former := again(t)
	m.drop(former)
	m.drop(former) // again, which says nothing
	m.check(t)
	if !slices.Equal(m.has(), []byte{1, 3}) {
		t.Errorf("with its former segment a file goes; what is left is %v", m.has())
	}
	m, former = again(t)
	m.use(t, 1)
	m.compact(former)
	if !slices.Equal(m.has(), []byte{1, 3}) || former.live != 0 {
		t.Errorf("in its former segment a file is moved, which holds %d bytes; what is left is %v", former.live, m.has())
	}
	m.open = former
	if m.put(t, 1, page/2); !m.use(t, 1) || former.live != page/2 || m.files.Len() != 2 {
		t.Errorf("a file that is read into memory twice takes %d bytes; there are %v", former.live, m.has())
	}
}

// TestAFileThatComesBackToItsSegmentTakesItsRoomOnce when room is made there, and the segment is given back when it goes.
func TestAFileThatComesBackToItsSegmentTakesItsRoomOnce(t *testing.T) {
	page := os.Getpagesize()
	for name, size := range map[string]int{"that stays twice over": page / 4, "that stays once": page/4 + 1} {
		t.Run("a file "+name, func(t *testing.T) {
			m := newTestTier(int64(page) + 4*memoryOverhead)
			m.put(t, 1, size)
			m.remove(Digest{1})
			m.put(t, 2, size)
			m.put(t, 1, size)
			m.use(t, 1)
			if !m.put(t, 3, page/2) || !slices.Equal(m.has(), []byte{1, 3}) {
				t.Errorf("what is left is %v", m.has())
			}
			m.remove(Digest{1})
			m.remove(Digest{3})
			if m.check(t); m.open.live != 0 {
				t.Errorf("%d bytes count as held", m.open.live)
			}
		})
	}
}

// TestASegmentThatHoldsNothingIsGivenBack, but not the one that is filled next, nor while somebody reads from it.
func TestASegmentThatHoldsNothingIsGivenBack(t *testing.T) {
	page := os.Getpagesize()
	m := newTestTier(int64(8 * page))
	m.put(t, 1, page)
	m.put(t, 2, page/2)
	m.remove(Digest{1})
	m.remove(Digest{1}) // again, which says nothing
	m.check(t)
	m.remove(Digest{2})
	if m.check(t); m.mapped.Load() != int64(page) || m.open == nil {
		t.Errorf("%d bytes are mapped, and one segment is to be filled", m.mapped.Load())
	}
	m.put(t, 3, page)
	m.check(t) // which finds the empty one gone
	place := m.write(4, page)
	m.disown(place)
	if m.open = nil; place.segment.live != 0 {
		t.Errorf("what nobody has takes %d bytes", place.segment.live)
	}
	m.dropIfEmpty(place.segment)
	if mapped := m.mapped.Load(); mapped != int64(2*page) || !bytes.Equal(place.bytes(), m.content(4)) {
		t.Errorf("while it is read, %d bytes are mapped", mapped)
	}
	place.segment.leave()
	if mapped := m.mapped.Load(); mapped != int64(page) {
		t.Errorf("when it was read, %d bytes are mapped", mapped)
	}
}

// TestMemoryThatIsLoweredGivesBackWhatWasUsedLeastRecently, and goes on with segments of another size.
func TestMemoryThatIsLoweredGivesBackWhatWasUsedLeastRecently(t *testing.T) {
	page := os.Getpagesize()
	each := int64(page + memoryOverhead)
	for _, test := range []struct {
		limit int64
		want  []byte
	}{
		{4 * each, []byte{1, 2, 3, 4}},
		{4*each - 1, []byte{1, 2, 4}},
		{3 * each, []byte{1, 2, 4}},
		{2 * each, []byte{1, 4}},
		{each, []byte{4}},
		{each - 1, nil},
		{0, nil},
		{-1, nil},
	} {
		m := newTestTier(4*each + memoryOverhead)
		for i := range byte(4) {
			m.put(t, 1+i, page)
		}
		for _, i := range []byte{3, 2, 1, 4} {
			m.use(t, i)
		}
		m.trim(test.limit)
		m.check(t)
		if !slices.Equal(m.has(), test.want) || m.bytes() > max(test.limit, 0) {
			t.Errorf("lowered to %d, %v are left with %d bytes", test.limit, m.has(), m.bytes())
		}
		if (m.open != nil) != slices.Contains(test.want, 4) {
			t.Errorf("lowered to %d, the segment that was filled last is used: %v", test.limit, m.open != nil)
		}
	}
	m := newTestTier(int64(4 * page))
	place := m.write(1, page)
	m.trim(0) // a segment without files
	if m.publish(Digest{1}, place); m.files.Len() != 0 || m.mapped.Load() != int64(page) || !bytes.Equal(place.bytes(), m.content(1)) {
		t.Errorf("a file that was on its way is held; %d bytes are mapped", m.mapped.Load())
	}
	place.segment.leave()
	m.check(t)
	m.put(t, 1, page)
	m.promoting[Digest{5}] = struct{}{}
	if m.trim(each + memoryOverhead - 1); m.files.Len() != 0 {
		t.Error("what is on its way in doesn't count")
	}
	delete(m.promoting, Digest{5})
	m.limit = int64(32*page) + memoryOverhead
	m.put(t, 2, 2*page)
	m.limit = int64(3 * page) // without trim, as when readers stay
	if !m.put(t, 3, page) || m.use(t, 2) {
		t.Error("a segment of a former limit is used again")
	}
	if len(m.open.data) != page {
		t.Errorf("segments take %d bytes still", len(m.open.data))
	}
}

// TestMemoryHoldsWhatItShouldWhateverComes puts, uses and removes files at random, while limits change and files are read.
func TestMemoryHoldsWhatItShouldWhateverComes(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 0)) //nolint:gosec // G404: a test that can be repeated
	page := os.Getpagesize()
	m := newTestTier(int64(64 * page))
	for range 3000 {
		number := byte(random.Uint32N(100)) //nolint:gosec // G115: less than 100
		switch random.IntN(10) {
		case 0:
			m.remove(Digest{number})
		case 1:
			if random.IntN(20) == 0 {
				m.limit = int64((1 + random.IntN(64)) * page)
				m.trim(m.limit)
			}
		case 2:
			if place := m.write(number+100, 1+random.IntN(segmentSize(m.limit)/2)); place != nil {
				m.disown(place)
				place.segment.leave()
			}
		case 3, 4, 5:
			m.use(t, number)
		default:
			if m.files.Contains(Digest{number}) {
				m.remove(Digest{number})
			}
			m.put(t, number, 1+random.IntN(min(page, segmentSize(m.limit)/4)))
		}
		if m.check(t); t.Failed() {
			return
		}
	}
	if m.trim(0); m.mapped.Load() != 0 || len(m.segments) != 0 || m.files.Len() != 0 {
		t.Errorf("%d bytes are left", m.mapped.Load())
	}
}
