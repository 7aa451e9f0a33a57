package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// countedFS knows what files take, also those that are gone from their directory and still open. It has a size of its own.
type countedFS struct {
	FS
	size int64

	mu          sync.Mutex // guards all below, and what the files have of it
	names       map[string]*countedFile
	taken, most int64
}

// countedFile is a file, whatever its names and however often it is open.
type countedFile struct {
	bytes int64
	// written are the ranges, which never overlap.
	written [][2]int64
	named   bool
	opens   int
}

// openCounted is one opening of a file.
type openCounted struct {
	File
	fs    *countedFS
	inode *countedFile
	once  sync.Once
}

func (f *countedFS) settle(file *countedFile) {
	if file != nil && !file.named && file.opens == 0 {
		f.taken -= file.bytes
	}
}

func (f *countedFS) Free(string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size - f.taken, nil
}

func (f *countedFS) Create(path string) (File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := f.FS.Create(path)
	if err != nil {
		return nil, err
	}
	f.names[path] = &countedFile{named: true, opens: 1}
	return &openCounted{File: file, fs: f, inode: f.names[path]}, nil
}

func (f *countedFS) Open(path string) (File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := f.FS.Open(path)
	if err != nil {
		return nil, err
	}
	f.names[path].opens++
	return &openCounted{File: file, fs: f, inode: f.names[path]}, nil
}

func (f *countedFS) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.names[path]; file != nil {
		file.named = false
		f.settle(file)
		delete(f.names, path)
	}
	return f.FS.Remove(path)
}

func (f *countedFS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if replaced := f.names[to]; replaced != nil {
		replaced.named = false
		f.settle(replaced)
	}
	f.names[to] = f.names[from]
	delete(f.names, from)
	return f.FS.Rename(from, to)
}

func (o *openCounted) WriteAt(p []byte, offset int64) (int, error) {
	n, err := o.File.WriteAt(p, offset)
	o.fs.mu.Lock()
	defer o.fs.mu.Unlock()
	if !o.inode.named && o.inode.opens == 0 {
		return n, err // a copy that was dropped while it was written: the system takes all back
	}
	o.inode.written = append(o.inode.written, [2]int64{offset, offset + int64(n)})
	o.inode.bytes += int64(n)
	o.fs.taken += int64(n)
	o.fs.most = max(o.fs.most, o.fs.taken)
	return n, err
}

func (o *openCounted) Truncate(size int64) error {
	err := o.File.Truncate(size)
	o.fs.mu.Lock()
	defer o.fs.mu.Unlock()
	for i, written := range o.inode.written {
		kept := min(max(written[0], size), written[1])
		o.inode.bytes -= written[1] - kept
		o.fs.taken -= written[1] - kept
		o.inode.written[i][1] = kept
	}
	return err
}

func (o *openCounted) Close() error {
	err := o.File.Close()
	o.once.Do(func() {
		o.fs.mu.Lock()
		defer o.fs.mu.Unlock()
		o.inode.opens--
		o.fs.settle(o.inode)
	})
	return err
}

// modelled is a store beside what it may say: of each key the content that was stored last, or nothing.
type modelled struct {
	*Store
	// wentOn counts the files that were stored after they had broken off.
	wentOn atomic.Int64
	keys   [40]struct {
		mu   sync.Mutex // held by whoever does something to the key
		seed byte       // of its content, from 1 on; 0 for none
	}
}

// content of a seed. There are fewer than keys, so that some share.
func (m *modelled) dataOf(seed byte) []byte { return randomBytes(1000+int(seed)*10_000, seed) }

// step does one thing to one key.
func (m *modelled) step(t *testing.T, random *rand.Rand, held *[]io.Closer) {
	i := random.IntN(len(m.keys))
	state, key, ctx := &m.keys[i], numberedKey(i), context.Background()
	state.mu.Lock()
	defer state.mu.Unlock()
	seed := byte(1 + random.UintN(25)&0xff) //nolint:gosec // up to 25
	data := m.dataOf(seed)
	g := m.Generation(key)
	switch random.IntN(12) {
	case 0:
		if _, err := m.Purge(ctx, Selector(key)); err != nil {
			t.Error(err)
		}
		state.seed = 0
	case 1:
		if _, err := m.Link(key, g, FillSpec{Size: -1, SHA256: sha256.Sum256(data)}); err == nil {
			state.seed = seed
		}
	case 2:
		err := m.Pin(ctx, key, time.Now().Add([]time.Duration{-time.Hour, time.Hour}[random.IntN(2)]))
		if err != nil && !errors.Is(err, ErrMiss) && !errors.Is(err, ErrNoRoom) {
			t.Error(err)
		}
	case 3, 4, 5:
		m.look(t, key, state.seed, random, held)
	case 6:
		m.change(key, random)
	case 7, 8:
		if m.upload(t, key, data, random, held) {
			state.seed = seed
		}
	default:
		spec, body := FillSpec{Size: int64(len(data))}, data
		switch random.IntN(4) {
		case 0:
			spec.Size = -1
		case 1:
			body = data[:len(data)/2]
		}
		breaks := spec.Size > 0 && random.IntN(3) == 0
		if breaks {
			body = data[:len(data)-1-random.IntN(900)]
		}
		spec.Parts = random.IntN(2) == 0
		f, err := m.Begin(key, g, spec)
		if err != nil {
			return
		}
		if spec.Parts && spec.Size > 0 {
			m.bringSomeAhead(t, f, data[:len(body)], breaks, random)
			body = body[f.Written():]
		}
		for len(body) > 0 && err == nil {
			n := min(len(body), 1+random.IntN(60_000))
			_, err = f.Write(body[:n])
			body = body[n:]
		}
		if err == nil && breaks {
			state.seed = m.breakOff(t, f, state.seed, seed, random, held)
			return
		}
		if err == nil {
			var entry Entry
			if entry, err = f.Commit(g); err == nil {
				for state.seed = 1; entry.Digest != sha256.Sum256(m.dataOf(state.seed)); state.seed++ {
				}
			}
		}
		f.Abort(err)
	}
}

// bringSomeAhead writes parts of a body ahead, and takes them in unless they are to be cut off.
func (m *modelled) bringSomeAhead(t *testing.T, f *Fill, body []byte, breaks bool, random *rand.Rand) {
	half := len(body) / 2
	at := half + random.IntN(len(body)-half)
	for _, from := range []int{at, half / 2} {
		a, err := f.Ahead(int64(from), int64(min(from+half/2, len(body))))
		if err == nil {
			_, err = a.Write(body[from:a.to])
			a.Close()
		}
		if err != nil && !errors.Is(err, ErrTaken) && f.Err() == nil {
			t.Error(err)
		}
	}
	for !breaks && f.Written() < int64(len(body)) && f.Err() == nil {
		if _, err := f.Write(body[f.Written():]); errors.Is(err, ErrTaken) {
			_, _ = f.Advance() // its error is the fill's
		}
	}
}

// breakOff ends a fill of the seed's content before its commit, and perhaps goes on from what it leaves. It returns the seed of
// what is stored then.
func (m *modelled) breakOff(t *testing.T, f *Fill, stored, seed byte, random *rand.Rand, held *[]io.Closer) byte {
	if reader, err := f.NewReader(context.Background()); err == nil {
		*held = append(*held, reader)
	}
	f.Leave(errors.New("the line broke"), nil)
	if random.IntN(3) == 0 {
		return stored // for somebody later, who may have another content
	}
	b := m.TakeBeginning(f.key, m.Generation(f.key))
	if b == nil {
		return stored
	}
	data := m.dataOf(seed)
	if random.IntN(4) == 0 {
		b.PutBack()
		return stored
	}
	g := m.Generation(f.key)
	next, err := m.Continue(b, g, FillSpec{Size: int64(len(data)), SHA256: sha256.Sum256(data)})
	if err != nil {
		return stored
	}
	defer func() { next.Abort(err) }()
	if _, err = next.Write(data[next.Written():]); err != nil {
		return stored
	}
	if _, err = next.Commit(g); err == nil {
		m.wentOn.Add(1)
		return seed
	}
	if errors.Is(err, ErrChecksum) {
		t.Error("what goes on from a beginning has another sum")
	}
	return stored
}

// change has the upstream say something about a key that removes nothing.
func (m *modelled) change(key Key, random *rand.Rand) {
	switch random.IntN(4) {
	case 0:
		m.Raise(key, Published)
	case 1:
		m.Doubt(key, m.now(), OtherContentNamed)
	default:
		m.Question(key, m.now(), GoneForOne)
	}
}

// heldCopy is the copy of an upload that is held open, and comes to nothing.
type heldCopy struct{ *Fill }

func (c heldCopy) Close() error {
	c.Abort(nil)
	return nil
}

// upload copies an upload that nobody has vouched for, and reports whether it became the key's entry.
func (m *modelled) upload(t *testing.T, key Key, data []byte, random *rand.Rand, held *[]io.Closer) (stored bool) {
	f, err := m.Begin(key, m.Generation(key), FillSpec{Size: -1, Copy: UnprovenUpload(strconv.Itoa(random.IntN(3)))})
	if err != nil {
		return false
	}
	*held = append(*held, heldCopy{f})
	for len(data) > 0 && err == nil {
		n := min(len(data), 1+random.IntN(60_000))
		_, err = f.Write(data[:n])
		data = data[n:]
	}
	g := m.Raise(key, Published)
	switch random.IntN(4) {
	case 0:
		return false // stays open
	case 1:
		if _, refused := f.Commit(g); !errors.Is(refused, ErrUnproven) && err == nil && !errors.Is(refused, ErrNoRoom) {
			t.Errorf("nobody vouched for what was committed with %v", refused)
		}
		return false
	}
	if f.Adopt() != nil {
		return false
	}
	if _, failed := f.Commit(g); failed != nil {
		t.Errorf("what was adopted isn't kept: %v", failed)
		return false
	}
	return true
}

// look finds what was stored last, or nothing; but always what is pinned. Some files it holds on to.
func (m *modelled) look(t *testing.T, key Key, seed byte, random *rand.Rand, held *[]io.Closer) {
	pinned := m.isPinned(key.hash())
	entry, err := m.Lookup(key)
	if err != nil {
		if pinned && seed != 0 && m.isPinned(key.hash()) {
			t.Errorf("a pinned file is gone: %v", err)
		}
		return
	}
	if seed == 0 || entry.Digest != sha256.Sum256(m.dataOf(seed)) {
		t.Errorf("found %s of seed %d", entry.Digest, seed)
	}
	blob, err := m.OpenBlob(entry)
	if err != nil {
		return
	}
	if sum := sha256.New(); copyAll(sum, blob) != nil || Digest(sum.Sum(nil)) != entry.Digest {
		t.Errorf("%s has other bytes", key)
	}
	*held = append(*held, blob)
	for len(*held) > random.IntN(4) {
		_ = (*held)[0].Close() // it was only read
		*held = (*held)[1:]
	}
}

// leastWentOn is how many files must have gone on from what had broken off, or the mix shows nothing of that.
const leastWentOn = 5

// stepUntilSomeWentOn goes on alone where the workers' turns came in an order in which few files did.
func (m *modelled) stepUntilSomeWentOn(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 0)) //nolint:gosec // a test's dice
	var held []io.Closer
	for range 5000 {
		if m.wentOn.Load() >= leastWentOn {
			break
		}
		m.step(t, random, &held)
	}
	for _, blob := range held {
		_ = blob.Close() // it was only read
	}
}

// run has several do things at once, and checks the store's sums when they are done.
func (m *modelled) run(t *testing.T, fs *countedFS, meanwhile func(random *rand.Rand)) {
	var working sync.WaitGroup
	for worker := range 4 {
		working.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(worker))) //nolint:gosec // a test's dice
			var held []io.Closer
			for range 150 {
				m.step(t, random, &held)
				meanwhile(random)
			}
			for _, blob := range held {
				_ = blob.Close() // it was only read
			}
		})
	}
	working.Wait()
	m.stepUntilSomeWentOn(t)
	if err := m.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.asJanitor(m.evict)
	if m.wentOn.Load() < leastWentOn {
		t.Errorf("only %d files went on from what had broken off", m.wentOn.Load())
	}
	if m.Stats().Stored < 30 {
		t.Errorf("only %d files were stored", m.Stats().Stored)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var blobs, pinned int64
	for _, blob := range m.blobs {
		blobs += blob.size
	}
	for _, p := range m.pins.ofKeys {
		pinned += p.bytes
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if p := m.space; blobs != p.blobs || pinned != m.pins.bytes || fs.taken != p.used() || p.beginnings != m.beginnings.bytes || p.reserved != 0 || p.lingering != 0 || p.open != 0 || p.unwritten != 0 ||
		p.copies.holding != (holding{}) || p.copies.number != 0 || len(p.copies.addresses)+len(p.copies.running) != 0 {
		t.Errorf("%d bytes are on the disk, %d in files, %d pinned (%d): %+v", fs.taken, blobs, pinned, m.pins.bytes, p)
	}
}

func openModelled(t *testing.T, size int64, limits Limits) (*modelled, *countedFS) {
	t.Helper()
	fs := &countedFS{FS: OS(), size: size, names: make(map[string]*countedFile)}
	m := &modelled{Store: openOn(t, fs, limits)}
	m.beginnings.least = 10_000
	return m, fs
}

func TestTheStoreSaysWhatAModelSaysAndTakesNoMoreThanItMay(t *testing.T) {
	const large, small = 2 << 20, 1 << 20
	const room = 600 << 10
	limits := Limits{MaxSize: large, Memory: 256 << 10, UploadRoom: room}
	m, fs := openModelled(t, 1<<40, limits)
	m.run(t, fs, func(random *rand.Rand) {
		if random.IntN(20) == 0 {
			m.SetLimits(Limits{
				MaxSize: []int64{large, small}[random.IntN(2)], Memory: limits.Memory, UploadRoom: []int64{0, room / 2, room, room}[random.IntN(4)],
			})
		}
	})
	if fs.most > large {
		t.Errorf("%d bytes were on the disk at once", fs.most)
	}
	if stats := m.Stats(); stats.Bytes > stats.MaxSize || stats.Pinned > stats.MaxSize/2 {
		t.Errorf("at rest: %+v", stats)
	}
}

func TestMinFreeStaysFreeWhileFillsWrite(t *testing.T) {
	const size, minFree = 4 << 20, 2 << 20
	m, fs := openModelled(t, size, Limits{MaxSize: 1 << 30, MinFree: minFree, MaxPinned: 1 << 20, UploadRoom: 4 << 20})
	m.run(t, fs, func(*rand.Rand) {})
	if fs.most > size-minFree {
		t.Errorf("only %d bytes were free", size-fs.most)
	}
	if m.Stats().Evictions == 0 {
		t.Error("nothing was evicted; the test shows nothing")
	}
}
