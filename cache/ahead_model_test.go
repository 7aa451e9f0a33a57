package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// modelledFill is a fill by parts beside what it may say. What is done to it follows from bytes, so that the fuzzer can choose it.
type modelledFill struct {
	t      testing.TB
	store  *Store
	fill   *Fill
	data   []byte
	spec   FillSpec
	choice []byte
	// arrived says of each byte whether it has, and written is up to where it is taken in.
	arrived []bool
	written int
	parts   []*modelledPart
}

// modelledPart is what an Ahead may say.
type modelledPart struct {
	*Ahead
	from, at, to int
}

// endedContext has readers tell what is there now.
func endedContext() context.Context {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return ended
}

// choose takes the next choice: a number below n.
func (m *modelledFill) choose(n int) int {
	if n <= 1 {
		return 0
	}
	taken := min(len(m.choice), 2)
	var two [2]byte
	copy(two[:], m.choice[:taken])
	m.choice = m.choice[taken:]
	return int(binary.BigEndian.Uint16(two[:])) * n >> 16
}

// modelledSizes are those of a file that is held back whole, or but for a byte, and of larger ones.
var modelledSizes = []int{1000, heldBack, heldBack + 1, 150_000, 200_000}

// playFill does to a fill of a store what the choices say, and holds what it says against the model. number makes its key and
// content its own.
func playFill(t testing.TB, s *Store, number int, choice []byte) {
	m := &modelledFill{t: t, store: s, choice: choice}
	m.data = randomBytes(modelledSizes[m.choose(len(modelledSizes))], 1)
	copy(m.data, fmt.Sprint(number))
	m.arrived = make([]bool, len(m.data))
	m.spec = FillSpec{Size: int64(len(m.data)), Parts: true}
	key, finishes := numberedKey(number), m.choose(3) > 0
	m.fill = s.begin(t, key, m.spec)
	for len(m.choice) > 0 && !t.Failed() {
		m.step()
		m.check()
	}
	if finishes {
		m.finish()
	}
	wrote, err := m.fill.Commit(s.Generation(key))
	if whole := m.written == len(m.data); whole != (err == nil) || (err != nil && !errors.Is(err, ErrShort)) {
		t.Errorf("%d of %d bytes are committed with %v", m.written, len(m.data), err)
	} else if whole && (wrote.Size != int64(len(m.data)) || !bytes.Equal(s.content(t, key), m.data)) {
		t.Error("the stored file has other bytes")
	}
}

// step does one thing.
func (m *modelledFill) step() {
	size := len(m.data)
	switch m.choose(8) {
	case 0, 1:
		from := m.choose(size)
		m.begin(from, from+1+m.choose(min(size-from, 1+size/3)))
	case 2, 3, 4:
		if len(m.parts) == 0 {
			return
		}
		part := m.parts[m.choose(len(m.parts))]
		m.bring(part, m.choose(part.to-part.at+1))
	case 5:
		n := m.choose(min(size-m.written+1, 60_000))
		m.write(m.data[m.written : m.written+n])
	case 6:
		if len(m.parts) > 0 && m.choose(4) == 0 {
			m.end(m.choose(len(m.parts)))
			return
		}
		m.await()
		m.advance()
	case 7:
		if m.choose(4) == 0 {
			m.goOn()
		}
	}
}

// begin begins a part, if nobody has or brings any of its bytes.
func (m *modelledFill) begin(from, to int) {
	taken := from < m.written
	for _, other := range m.parts {
		taken = taken || (from < other.to && other.from < to)
	}
	a, err := m.fill.Ahead(int64(from), int64(to))
	if taken != errors.Is(err, ErrTaken) || taken != (err != nil) {
		m.t.Errorf("a part of bytes %d to %d, taken: %v: %v", from, to, taken, err)
	}
	if err == nil {
		m.parts = append(m.parts, &modelledPart{a, from, from, to})
	}
}

func (m *modelledFill) bring(part *modelledPart, n int) {
	if part.at == part.to {
		return // whole, or closed
	}
	if wrote, err := part.Write(m.data[part.at : part.at+n]); wrote != n || err != nil {
		m.t.Errorf("%d of %d bytes, %v", wrote, n, err)
	}
	m.note(part.at, part.at+n)
	part.at += n
	if got := part.Written(); got != int64(part.at) {
		m.t.Errorf("a part is at %d and says %d", part.at, got)
	}
}

// end has the writer of a part give up.
func (m *modelledFill) end(i int) {
	part := m.parts[i]
	part.Close()
	if n, err := part.Write(m.data[:1]); n != 0 || err == nil || m.fill.Err() != nil {
		m.t.Errorf("a part that is closed takes %d bytes, %v", n, err)
	}
	if part.to = part.at; part.at == part.from {
		m.parts = slices.Delete(m.parts, i, i+1)
	}
}

func (m *modelledFill) note(from, to int) {
	for at := from; at < to; at++ {
		m.arrived[at] = true
	}
}

// until is up to where bytes have arrived from one on.
func (m *modelledFill) until(at int) int {
	for at < len(m.data) && m.arrived[at] {
		at++
	}
	return at
}

// write writes until it meets a part.
func (m *modelledFill) write(p []byte) {
	most, met := len(p), false
	for _, part := range m.parts {
		if part.to > m.written && max(part.from, m.written) < m.written+most {
			most, met = max(part.from, m.written)-m.written, true
		}
	}
	n, err := m.fill.Write(p)
	if n != most || met != errors.Is(err, ErrTaken) || met != (err != nil) {
		m.t.Errorf("wrote %d of %d bytes where %d come before the next part, %v", n, len(p), most, err)
	}
	m.note(m.written, m.written+n)
	m.written += n
}

func (m *modelledFill) advance() {
	until := m.until(m.written)
	advanced, err := m.fill.Advance()
	if advanced != (until > m.written) || err != nil {
		m.t.Errorf("at %d, with all up to %d: advanced %v, %v", m.written, until, advanced, err)
	}
	m.written = until
}

// await looks whether there is something to take in.
func (m *modelledFill) await() {
	want := ErrGap
	for _, part := range m.parts {
		switch {
		case m.written < part.from || part.to <= m.written:
		case m.arrived[m.written]:
			want = nil
		default:
			want = context.Canceled
		}
	}
	if err := m.fill.AwaitAhead(endedContext()); !errors.Is(err, want) {
		m.t.Errorf("at %d it waits with %v, not %v", m.written, err, want)
	}
}

// finish brings all that is missing, the last part first.
func (m *modelledFill) finish() {
	for _, part := range slices.Backward(m.parts) {
		m.bring(part, part.to-part.at)
	}
	for m.written < len(m.data) && !m.t.Failed() {
		m.write(m.data[m.written:])
		m.advance()
	}
}

// goOn leaves the fill and goes on in its part: what lay ahead is gone.
func (m *modelledFill) goOn() {
	key := m.fill.key
	kept := m.fill.Leave(errLine, nil)
	if worth := m.written >= int(m.store.beginnings.least) && m.written < len(m.data); kept != worth {
		m.t.Errorf("%d bytes, kept: %v", m.written, kept)
	}
	for _, part := range m.parts {
		if n, err := part.Write(m.data[:1]); n != 0 || !errors.Is(err, errLine) {
			m.t.Errorf("a part of a fill that was left takes %d bytes, %v", n, err)
		}
	}
	m.parts = nil
	if kept {
		if got := diskUseOf(m.t, m.fill.path); got != m.fill.flushed {
			m.t.Errorf("a beginning of %d bytes has %d on the disk", m.fill.flushed, got)
		}
		next, err := m.store.Continue(m.store.mustTake(m.t, key), m.store.Generation(key), m.spec)
		if err != nil {
			m.t.Fatal(err)
		}
		m.fill = next
	} else {
		m.fill, m.written = m.store.begin(m.t, key, m.spec), 0
	}
	clear(m.arrived[m.written:])
}

func diskUseOf(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Error(err)
		return 0
	}
	return info.Size()
}

// check looks at one place of the file, and at what is counted.
func (m *modelledFill) check() {
	m.t.Helper()
	size, f := len(m.data), m.fill
	at := m.choose(size)
	until := max(at, min(m.until(at), size-heldBack))
	if got := f.ArrivedUntil(int64(at)); got != int64(until) {
		m.t.Errorf("from %d on bytes may be read up to %d, it says %d", at, until, got)
	}
	reader, err := f.NewReader(endedContext())
	if err != nil {
		m.t.Fatal(err)
	}
	defer reader.Close()
	if _, err := reader.Seek(int64(at), io.SeekStart); err != nil {
		m.t.Error(err)
	}
	if got, err := io.ReadAll(reader); !errors.Is(err, context.Canceled) || !bytes.Equal(got, m.data[at:until]) {
		m.t.Errorf("from %d on %d bytes may be read, and %d are, %v", at, until-at, len(got), err)
	}
	onDisk := int64(0)
	for _, arrived := range m.arrived[:max(size-heldBack, 0)] {
		onDisk += int64(b2i(arrived))
	}
	if f.Written() != int64(m.written) || f.onDisk != onDisk || f.reserved != int64(size) || m.store.space.unwritten != int64(size)-onDisk {
		m.t.Errorf("%d written, %d on the disk; it says %d, %d of %d, and %d to come", m.written, onDisk, f.Written(), f.onDisk, f.reserved, m.store.space.unwritten)
	}
	if info := diskUseOf(m.t, f.path); info > int64(max(size-heldBack, 0)) {
		m.t.Errorf("the end is in the part: %d bytes of %d", info, size)
	}
}

// TestAFillByPartsDoesWhatAModelDoes has parts begin, arrive, end and be taken in, in orders that nobody chose.
func TestAFillByPartsDoesWhatAModelDoes(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.beginnings.least = 1000
	random := rand.NewChaCha8([32]byte{1})
	stored := 0
	for number := range 120 {
		choice := make([]byte, 400)
		_, _ = random.Read(choice) // never fails
		playFill(t, s, number, choice)
		if t.Failed() {
			t.Fatalf("with %x", choice)
		}
		if _, err := s.Lookup(numberedKey(number)); err == nil {
			stored++
		}
		if s.space.reserved != 0 || s.space.unwritten != 0 || s.space.lingering != 0 {
			t.Fatalf("left over: %+v", s.space)
		}
	}
	t.Logf("%d files became whole", stored)
	if stored < 60 {
		t.Errorf("only %d files became whole", stored)
	}
	s.checkBytes(t, "at the end")
}

// FuzzAhead does to a fill by parts what the input says.
func FuzzAhead(f *testing.F) {
	s := openStore(f, f.TempDir(), Limits{MaxSize: 64 << 20})
	awaitLoaded(f, s)
	s.beginnings.least = 1000
	number := 0
	f.Fuzz(func(t *testing.T, choice []byte) {
		number++
		playFill(t, s, number, choice[:min(len(choice), 1000)])
		s.CheckSums(t, "afterwards")
	})
}
