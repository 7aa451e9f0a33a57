package cache

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"go.uber.org/zap"
)

// Limits bound what the store takes, in bytes.
type Limits struct {
	// MaxSize covers blobs, each once, fills with their reservations, and removed files that are still being read.
	MaxSize int64
	// Memory bounds the memory tier; 0 for none.
	Memory int64
	// MaxObject is the largest file that is kept; 0 for what MaxSize allows.
	MaxObject int64
	// MinFree stays free on the file system.
	MinFree int64
}

// Config says where and how a store keeps its files.
type Config struct {
	// Dir is the store's directory; it is made if need be.
	Dir    string
	Limits Limits
	// Logger hears of what an admin would act on; nil for nobody.
	Logger *zap.Logger
	// Now tells the time; nil for time.Now.
	Now func() time.Time
	// FS is where blobs and fills are; nil for the operating system's.
	FS FS
}

// maxHotRecords bounds the records that are held decoded, so that a hit needs no look into the index.
const maxHotRecords = 16 << 10

// Store keeps files on disk under their SHA-256, an index of their names, and the smallest and most used in memory. It
// is safe for concurrent use.
type Store struct {
	dir         string
	fs          FS
	logger      *zap.Logger
	now         func() time.Time
	started     time.Time // what node.confirmed counts from
	lock        *os.File
	index       index
	generations generations

	// persisting keeps persist from running twice at once. It is taken before all others; no request takes it.
	persisting sync.Mutex

	// mu guards all below up to the blank line, and the fields of nodes and blobs. Requests take it: nothing is read,
	// written or waited for under it. It is taken after a fill's lock, and before none.
	mu     sync.Mutex
	limits Limits
	closed bool
	// entries are all known entries, by last use.
	entries *simplelru.LRU[keyHash, *node]
	// hot holds records of some entries; pending those of all that aren't durable yet.
	hot     *simplelru.LRU[keyHash, *Entry]
	pending map[keyHash]*Entry
	blobs   map[Digest]*blobState
	// orphans are blobs that no entry names any more and whose files are still there.
	orphans map[Digest]struct{}
	// removals are entries that are gone for look-ups and not yet from the index.
	removals []*removal
	// touched are last uses that the index doesn't know yet.
	touched map[keyHash]time.Time
	// loading is true until all entries are in entries; forgotten are those removed meanwhile.
	loading   bool
	forgotten map[keyHash]struct{}
	memory    *simplelru.LRU[Digest, []byte]
	serial    uint64
	parts     uint64
	space     space
	counters  counters

	// wake tells the janitor that there is work now, dirty tells keepDurable that something became whole.
	wake   chan struct{}
	dirty  chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// node is an entry as memory has it.
type node struct {
	digest Digest
	serial uint64
	// confirmed is when the upstream confirmed the entry, since Store.started; meaningful if generation is the key's.
	confirmed   time.Duration
	isConfirmed bool
	generation  Generation
}

// blobState is a blob as memory has it.
type blobState struct {
	size    int64
	entries int // that name it
	open    int // readers
	// durable says that a power cut can't take the file.
	durable bool
	// busy is set while the file is being put under its name or removed, and closed when that is over.
	busy chan struct{}
	// damaged says that the file was found not to be what its name says, and must not be used again.
	damaged bool
	// unlinked says that the file is gone from the directory and lives for its readers alone.
	unlinked bool
}

// removal is a batch of entries on their way out of the index.
type removal struct {
	keys   [][]byte
	hashes []keyHash
	// done gets the result when the removal is durable, or can't be for now. It holds one value.
	done chan error
}

type counters struct {
	evictions, diskErrors, checksumFailures, fills int64
	// freed is the sum of all bytes that removing files gave back.
	freed int64
}

// Open opens the store in cfg.Dir and returns at once, whatever its size: look-ups ask the index while the rest loads.
// ErrLocked says that another process holds the directory. A damaged index is set aside and an empty one begun.
func Open(cfg Config) (*Store, error) {
	s := &Store{
		dir: cfg.Dir, fs: cfg.FS, logger: cfg.Logger, now: cfg.Now, limits: cfg.Limits,
		pending: make(map[keyHash]*Entry), blobs: make(map[Digest]*blobState), orphans: make(map[Digest]struct{}),
		touched: make(map[keyHash]time.Time), forgotten: make(map[keyHash]struct{}),
		loading: true, wake: make(chan struct{}, 1), dirty: make(chan struct{}, 1),
	}
	if s.fs == nil {
		s.fs = osFS{}
	}
	if s.logger == nil {
		s.logger = zap.NewNop()
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.started = s.now()
	s.generations.seed = maphash.MakeSeed()
	s.space.changed = make(chan struct{})
	s.entries = newLRU[keyHash, *node](math.MaxInt)
	s.hot = newLRU[keyHash, *Entry](maxHotRecords)
	s.memory = newLRU[Digest, []byte](math.MaxInt)

	if err := s.takeDirectory(); err != nil {
		return nil, err
	}
	if err := s.openIndex(); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	// All end with ctx; load ends by itself too.
	s.work.Go(s.load)
	s.work.Go(s.tend)
	s.work.Go(s.keepDurable)
	return s, nil
}

func newLRU[K comparable, V any](most int) *simplelru.LRU[K, V] {
	lru, err := simplelru.NewLRU[K, V](most, nil)
	if err != nil {
		panic(err) // only for a size that isn't positive
	}
	return lru
}

// takeDirectory makes the directory with its subdirectories, locks it, and removes parts that an earlier process left.
func (s *Store) takeDirectory() (err error) {
	for _, path := range []string{s.dir, blobsPath(s.dir), fillsPath(s.dir)} {
		if err := s.fs.MkdirAll(path); err != nil {
			return fmt.Errorf("making the store's directory: %w", err)
		}
	}
	s.lock, err = os.OpenFile(lockPath(s.dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("locking the store's directory: %w", err)
	}
	defer func() {
		if err != nil {
			_ = s.lock.Close()
		}
	}()
	if err := lockFile(s.lock); err != nil {
		return fmt.Errorf("locking the store's directory: %w", err)
	}
	for first := range 256 {
		if err := s.fs.MkdirAll(shardPath(s.dir, byte(first))); err != nil { //nolint:gosec // below 256
			return fmt.Errorf("making the store's directory: %w", err)
		}
	}
	if err := s.fs.SyncDir(blobsPath(s.dir)); err != nil {
		return fmt.Errorf("making the store's directory: %w", err)
	}
	parts, err := s.fs.ReadDir(fillsPath(s.dir))
	if err != nil {
		return fmt.Errorf("looking for unfinished fills: %w", err)
	}
	for _, name := range parts {
		if err := s.fs.Remove(filepath.Join(fillsPath(s.dir), name)); err != nil {
			return fmt.Errorf("removing an unfinished fill: %w", err)
		}
	}
	return nil
}

// openIndex opens index.db, if need be a new one.
func (s *Store) openIndex() error {
	path := indexPath(s.dir)
	db, err := openIndex(path)
	if errors.Is(err, errDamagedIndex) {
		aside := damagedIndexPath(s.dir, s.now().Unix())
		s.logger.Error("the index of the store can't be read; it is set aside and an empty one begun",
			zap.String("set_aside", aside), zap.Error(err))
		if err := os.Rename(path, aside); err != nil {
			return fmt.Errorf("setting the damaged index aside: %w", err)
		}
		db, err = openIndex(path)
	}
	if err != nil {
		return err
	}
	s.index.mu.Lock()
	s.index.db = db
	s.index.mu.Unlock()
	total, err := s.storedBytes()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.space.blobs = total
	s.mu.Unlock()
	return nil
}

// SetLimits puts other limits into force. What is too much for them is evicted in the background.
func (s *Store) SetLimits(limits Limits) {
	s.mu.Lock()
	s.limits = limits
	s.trimMemoryLocked()
	s.mu.Unlock()
	s.wakeJanitor()
}

func (s *Store) wakeJanitor() { signal(s.wake) }

// signal wakes the goroutine that reads from a channel with room for one, unless it is about to look anyway.
func signal(channel chan<- struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}

// Close makes what is whole durable, ends the background work and gives the directory back. Fills that are running
// then fail with ErrClosed; open blobs stay readable.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
	s.remove()
	s.persist()
	return errors.Join(s.index.close(), s.lock.Close())
}

// Stats are the store's numbers at one moment.
type Stats struct {
	Entries int
	// Bytes is all that counts towards MaxSize; of these, Reserved is for fills and Lingering removed but still open.
	Bytes, Reserved, Lingering int64
	MemoryBytes                int64
	Fills                      int64
	Evictions                  int64
	DiskErrors                 int64
	ChecksumFailures           int64
	Loading                    bool
}

// Stats returns the store's numbers.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Entries: s.entries.Len(), Bytes: s.space.used(), Reserved: s.space.reserved, Lingering: s.space.lingering,
		MemoryBytes: s.space.memory, Fills: s.counters.fills, Evictions: s.counters.evictions,
		DiskErrors: s.counters.diskErrors, ChecksumFailures: s.counters.checksumFailures, Loading: s.loading,
	}
}
