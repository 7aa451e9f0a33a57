package cachetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// Content returns bytes that are always the same for the same seed and length.
func Content(seed byte, length int) []byte {
	data := make([]byte, length)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data) // never fails
	return data
}

// KeyOf returns a key for a file name.
func KeyOf(file string) cache.Key {
	return cache.Key{Upstream: "https://gitlab.example.com", Project: "group/app", Package: "package", Version: "1.0.0", File: file}
}

// Promise is what may be found under a key after a crash at some moment.
type Promise struct {
	// May are the contents that it may have, Missing whether it may be a miss.
	May     map[cache.Digest]bool
	Missing bool
}

// Scenario is what happens to a store in the tests of faults and power cuts, and what may be found afterwards.
type Scenario struct {
	// Dir and FS are the store's.
	Dir string
	FS  cache.FS
	// Troubled says that operations may fail for the disk's sake. What is read must still be right.
	Troubled bool

	t     testing.TB
	store *cache.Store
	// latest is what was committed last under each key; absent for nothing.
	latest map[cache.Key]cache.Digest

	// mu guards promises; nothing is called under it.
	mu       sync.Mutex
	promises map[cache.Key]Promise
}

// Promises returns what may be found now.
func (c *Scenario) Promises() map[cache.Key]Promise {
	c.mu.Lock()
	defer c.mu.Unlock()
	promises := make(map[cache.Key]Promise, len(c.promises))
	for key, p := range c.promises {
		promises[key] = Promise{maps.Clone(p.May), p.Missing}
	}
	return promises
}

// Play plays the scenario to its end.
func (c *Scenario) Play(t testing.TB) {
	c.t, c.latest, c.promises = t, make(map[cache.Key]cache.Digest), make(map[cache.Key]Promise)
	c.open(cache.Limits{MaxSize: 4 << 20, Memory: 4 << 20, UploadRoom: 1 << 20})
	c.put("small", Content(1, 1000), 1000)
	c.put("large", Content(2, 150_000), 150_000)
	c.sync()
	c.read("small", "large")

	c.put("same", Content(2, 150_000), 150_000) // stored once, under two names
	c.link("linked", Content(2, 150_000))
	c.put("small", Content(3, 2000), 2000) // in the place of another
	c.sync()
	c.pin("small")
	c.read("small", "large", "same", "linked")

	c.put("unknown", Content(4, 200_000), -1)
	c.putBroken("short", Content(5, 150_000), 160_000, nil)
	c.putBroken("wrong", Content(6, 150_000), 150_000, Content(7, 150_000))
	c.putSuperseded("superseded", Content(8, 100_000))
	c.putByParts("parts", Content(23, 250_000), nil)
	c.putByParts("holes", Content(24, 250_000), errors.New("the line broke"))
	c.upload("uploaded", Content(21, 200_000), true)
	c.upload("unproven", Content(22, 100_000), false)
	c.purge("large")
	c.read("small", "same", "linked", "unknown", "large", "short", "wrong", "superseded", "parts", "holes", "uploaded", "unproven")

	c.reopen(cache.Limits{MaxSize: 4 << 20})
	c.read("small", "same", "linked", "unknown", "large", "parts", "holes", "uploaded", "unproven")
	c.put("unknown", Content(9, 120_000), 120_000)
	c.purge("")
	c.read("small", "unknown")

	for i := range 5 {
		c.put(fmt.Sprint("filler", i), Content(byte(10+i), 90_000), 90_000)
	}
	c.read("filler0")
	c.sync()
	c.mayMiss()
	c.store.SetLimits(cache.Limits{MaxSize: 250_000})
	c.sync()
	c.put("last", Content(20, 80_000), 80_000)
	c.read("filler0", "filler1", "filler4", "last")
	c.close()
}

// maxTries is how often the store is opened while the disk is in trouble, more than a passing trouble lasts.
const maxTries = 30

// open opens the store; with a troubled disk it may take more than one try.
func (c *Scenario) open(limits cache.Limits) {
	for try := 0; ; try++ {
		store, err := cache.Open(cache.Config{Dir: c.Dir, FS: c.FS, Limits: limits})
		if err == nil {
			<-store.Ready()
			c.store = store
			return
		}
		if !c.Troubled || try == maxTries {
			c.t.Fatalf("opening the store: %v", err)
		}
	}
}

func (c *Scenario) close() {
	err := c.store.Close()
	c.trouble("closing the store", err)
	if err == nil {
		c.keep()
	}
}

func (c *Scenario) reopen(limits cache.Limits) {
	c.close()
	if c.Troubled {
		// What the disk refused is gone, and what was there before may be back; unconfirmed, as all is after a start.
		clear(c.latest)
	}
	c.open(limits)
}

// trouble accepts errors of a troubled disk.
func (c *Scenario) trouble(doing string, err error) {
	c.t.Helper()
	if err != nil && !c.Troubled {
		c.t.Fatalf("%s: %v", doing, err)
	}
}

// promise changes what may be found under a key.
func (c *Scenario) promise(key cache.Key, change func(*Promise)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, known := c.promises[key]
	if !known {
		p = Promise{May: make(map[cache.Digest]bool), Missing: true}
	}
	change(&p)
	c.promises[key] = p
}

// keep makes what was committed last the only thing that may be found, and, if the disk is well, that must be.
func (c *Scenario) keep() {
	for key, digest := range c.latest {
		c.promise(key, func(p *Promise) {
			if !c.Troubled {
				p.May, p.Missing = map[cache.Digest]bool{digest: true}, false
			}
		})
	}
}

// mayMiss lets everything be evicted.
func (c *Scenario) mayMiss() {
	for key := range c.latest {
		c.promise(key, func(p *Promise) { p.Missing = true })
		delete(c.latest, key)
	}
}

func (c *Scenario) sync() {
	err := c.store.Sync(context.Background())
	c.trouble("syncing", err)
	if err == nil {
		c.keep()
	}
}

// put stores a file while a reader follows it.
func (c *Scenario) put(file string, data []byte, size int64) {
	key, digest := KeyOf(file), cache.Digest(sha256.Sum256(data))
	c.promise(key, func(p *Promise) { p.May[digest] = true })
	g := c.store.Generation(key)
	fill, err := c.store.Begin(key, g, cache.FillSpec{Size: size})
	for tries := 0; errors.Is(err, cache.ErrNoRoom) && !c.Troubled && tries < 10; tries++ {
		// On a machine that is busy the janitor may take longer to evict than a fill waits.
		fill, err = c.store.Begin(key, g, cache.FillSpec{Size: size})
	}
	if err != nil {
		c.trouble("beginning "+file, err)
		return
	}
	_, err = c.pour(fill, data, data)
	if err == nil {
		_, err = fill.Commit(g)
	}
	fill.Abort(err)
	c.trouble("storing "+file, err)
	if err == nil {
		c.latest[key] = digest
	}
}

// pour writes data into a fill in pieces and starts a reader, which must get no byte that is not whole's.
func (c *Scenario) pour(fill *cache.Fill, data, whole []byte) (*sync.WaitGroup, error) {
	reader, err := fill.NewReader(context.Background())
	if err != nil {
		c.t.Fatalf("following: %v", err)
	}
	var reading sync.WaitGroup
	// Ends with the fill.
	reading.Go(func() {
		defer reader.Close()
		got, err := io.ReadAll(reader)
		if !bytes.HasPrefix(whole, got) || (err == nil && len(got) != len(whole)) {
			c.t.Errorf("a reader got %d bytes that are not the file's %d, and %v", len(got), len(whole), err)
		}
	})
	for len(data) > 0 {
		piece := data[:min(len(data), 70_000)]
		data = data[len(piece):]
		if _, err := fill.Write(piece); err != nil {
			return &reading, err
		}
	}
	return &reading, nil
}

// putBroken writes a body that must not be kept.
func (c *Scenario) putBroken(file string, data []byte, size int64, named []byte) {
	key := KeyOf(file)
	spec := cache.FillSpec{Size: size}
	if named != nil {
		spec.SHA256 = sha256.Sum256(named)
	}
	g := c.store.Generation(key)
	fill, err := c.store.Begin(key, g, spec)
	if err != nil {
		c.trouble("beginning "+file, err)
		return
	}
	reading, err := c.pour(fill, data, append(bytes.Clone(data), 0)) // so that no reader may think it whole
	if err == nil {
		_, err = fill.Commit(g)
	}
	fill.Abort(err)
	reading.Wait()
	if err == nil {
		c.t.Errorf("%s was kept", file)
	}
}

// putByParts stores a file of which parts arrive ahead, the last first. It breaks off with holes if broken isn't nil.
func (c *Scenario) putByParts(file string, data []byte, broken error) {
	key, digest := KeyOf(file), cache.Digest(sha256.Sum256(data))
	if broken == nil {
		c.promise(key, func(p *Promise) { p.May[digest] = true })
	}
	g := c.store.Generation(key)
	fill, err := c.store.Begin(key, g, cache.FillSpec{Size: int64(len(data)), SHA256: digest, Parts: true})
	if err != nil {
		c.trouble("beginning "+file, err)
		return
	}
	reading, err := c.pour(fill, data[:20_000], data)
	for end := len(data); err == nil && end > 30_000; end -= 55_000 {
		err = bringPart(fill, data[:end], end-50_000) // and a hole before it
	}
	if err == nil {
		err = broken
	}
	for err == nil && fill.Written() < int64(len(data)) {
		if _, err = fill.Write(data[fill.Written():]); errors.Is(err, cache.ErrTaken) {
			_, err = fill.Advance()
		}
	}
	if err == nil {
		_, err = fill.Commit(g)
	}
	fill.Abort(err)
	reading.Wait()
	if !errors.Is(err, broken) {
		c.trouble("storing "+file+" by parts", err)
	}
	if err == nil {
		c.latest[key] = digest
	}
}

// bringPart writes data ahead, from an offset to its end.
func bringPart(fill *cache.Fill, data []byte, from int) error {
	part, err := fill.Ahead(int64(from), int64(len(data)))
	if err != nil {
		return err
	}
	defer part.Close()
	for at := from; at < len(data) && err == nil; at += 40_000 {
		_, err = part.Write(data[at:min(at+40_000, len(data))])
	}
	return err
}

// upload copies an upload, which becomes an entry if somebody vouches for it, and else stays open.
func (c *Scenario) upload(file string, data []byte, vouched bool) {
	key, digest := KeyOf(file), cache.Digest(sha256.Sum256(data))
	if vouched {
		c.promise(key, func(p *Promise) { p.May[digest] = true })
	}
	g := c.store.Generation(key)
	fill, err := c.store.Begin(key, g, cache.FillSpec{Size: -1, Copy: cache.UnprovenUpload("192.0.2.1")})
	if err != nil {
		c.trouble("beginning "+file, err)
		return
	}
	_, err = c.pour(fill, data, data)
	if !vouched {
		c.trouble("copying "+file, err)
		return
	}
	if err == nil {
		err = fill.Adopt()
	}
	if err == nil {
		_, err = fill.Commit(g)
	}
	fill.Abort(err)
	c.trouble("adopting "+file, err)
	if err == nil {
		c.latest[key] = digest
	}
}

// putSuperseded stores a file that is published over meanwhile.
func (c *Scenario) putSuperseded(file string, data []byte) {
	key := KeyOf(file)
	g := c.store.Generation(key)
	fill, err := c.store.Begin(key, g, cache.FillSpec{Size: int64(len(data))})
	if err != nil {
		c.trouble("beginning "+file, err)
		return
	}
	reading, err := c.pour(fill, data, data)
	c.store.Raise(key, cache.Published)
	if err == nil {
		_, err = fill.Commit(g)
	}
	fill.Abort(err)
	reading.Wait()
	if !errors.Is(err, cache.ErrSuperseded) && !errors.Is(err, cache.ErrDisk) {
		c.t.Errorf("%s was committed in an older generation: %v", file, err)
	}
}

func (c *Scenario) link(file string, data []byte) {
	key, digest := KeyOf(file), cache.Digest(sha256.Sum256(data))
	c.promise(key, func(p *Promise) { p.May[digest] = true })
	_, err := c.store.Link(key, c.store.Generation(key), cache.FillSpec{Size: int64(len(data)), SHA256: digest})
	c.trouble("linking "+file, err)
	if err == nil {
		c.latest[key] = digest
	}
}

// purge removes a file, or all if it is "".
func (c *Scenario) purge(file string) {
	selector := cache.Selector(KeyOf(file))
	matches := func(key cache.Key) bool { return file == "" || key == KeyOf(file) }
	for key := range c.Promises() {
		if matches(key) {
			c.promise(key, func(p *Promise) { p.Missing = true })
		}
	}
	_, err := c.store.Purge(context.Background(), selector)
	c.trouble("purging", err)
	for key := range c.Promises() {
		if !matches(key) {
			continue
		}
		if err != nil {
			continue
		}
		delete(c.latest, key)
		c.promise(key, func(p *Promise) { p.May = make(map[cache.Digest]bool) })
	}
	if err == nil {
		return
	}
	// It may have come to none, some or all of them.
	for key := range c.Promises() {
		if matches(key) {
			delete(c.latest, key)
		}
	}
}

// read reads files. A miss is right where nothing must be there; other bytes than those committed last never are.
func (c *Scenario) read(files ...string) {
	for _, file := range files {
		key := KeyOf(file)
		want, stored := c.latest[key]
		got, err := ReadDigest(c.store, key)
		switch {
		case err == nil && got == want:
		case err == nil && !stored && c.Promises()[key].May[got]:
		case err == nil:
			c.t.Errorf("%s has other bytes than were stored", file)
		case stored && !c.Troubled:
			c.t.Errorf("%s can't be read: %v", file, err)
		case !errors.Is(err, cache.ErrMiss) && !c.Troubled:
			c.t.Errorf("%s: %v instead of a miss", file, err)
		}
	}
}

// pin pins a file. Without a disk it stays unpinned, and as it is.
func (c *Scenario) pin(file string) {
	err := c.store.Pin(context.Background(), KeyOf(file), time.Now().Add(time.Hour))
	if err != nil && !c.Troubled {
		c.t.Errorf("pinning: %v", err)
	}
}
