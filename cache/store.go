package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Limits bound what the store takes, in bytes.
type Limits struct {
	// MaxSize covers blobs, each once, fills with their reservations, and what is still there after its end: files that
	// are being read, and those that the disk doesn't remove.
	MaxSize int64
	// Memory bounds the memory tier; 0 for none.
	Memory int64
	// MaxObject is the largest file that is kept; 0 for what MaxSize allows.
	MaxObject int64
	// MaxPinned bounds the bytes of pinned files; 0 for half of MaxSize.
	MaxPinned int64
	// KeepsOwed says that there is a shared store to get what is owed (Fill.Owe), so that this is kept from eviction for a while. Else
	// it is evicted like the rest, and not counted as lost to anybody.
	KeepsOwed bool
	// MinFree stays free on the file system; 0 for no bound.
	MinFree int64
	// UploadRoom is the part of MaxSize that is kept for the copies of uploads that nobody has vouched for (UnprovenUpload);
	// 0 keeps none of these. Entries and all other fills have the rest of MaxSize.
	UploadRoom int64
}

// Config says where and how a store keeps its files.
type Config struct {
	// Dir is the store's directory; it is made if need be, readable by its owner alone.
	Dir    string
	Limits Limits
	// Logger hears of what an admin would act on; nil for nobody.
	Logger *zap.Logger
	// Now tells the time; nil for time.Now.
	Now func() time.Time
	// OnFull, if set, is told when the file system has no room for a file, and when it has again. It must not wait for
	// anything.
	OnFull func(full bool)
	// FS is where blobs and fills are; nil for the operating system's.
	FS FS
}

// Store keeps files on disk under their SHA-256, an index of their names, and the smallest and most used in memory. It
// is safe for concurrent use.
//
// What belongs together is in rooms, types whose methods touch only their own fields. The rooms below mu are guarded by it; their
// methods are called with it held, and so are those of Store whose names end with Locked, which join rooms.
type Store struct {
	dir    string
	fs     FS
	logger *zap.Logger
	now    func() time.Time
	onFull func(bool)
	full   atomic.Bool // onFull was told so
	// started is what node.confirmed counts from.
	started time.Time
	process uint64 // names this process's parts
	lock    *os.File
	split   atomic.Bool // a fill could not be renamed to a blob, since that is on another file system now
	// index is index.db, generations what no answer from before a publish or purge outlives, counters what only grows. Each
	// guards itself.
	index       index
	generations generations
	counters    counters
	// mending keeps two from beginning another index at once. It is taken before all others, and by no request that finds
	// the index well.
	mending sync.Mutex

	// mu guards all below up to the blank line, and the fields of nodes and blobs. Requests take it: nothing is read,
	// written or waited for under it. It is taken after a fill's lock and index.mu, and before none.
	mu        sync.Mutex
	limits    Limits
	closed    bool
	serial    uint32 // of the last commit
	verifying uint32 // number of the last verification
	// starting: what is known of the start, until all of the index is in memory (starting.go).
	starting starting
	// entries: all known entries, by last use (recency.go); blobs: what they name (node.go).
	entries *recency
	blobs   map[Digest]*blobState
	// memory: the bytes of small blobs (memory.go).
	memory memoryTier
	// answers: which answers of the upstream count no more (answers.go).
	answers answers
	// fills: files on their way in (fills.go); beginnings: what is kept of those that broke off (beginning.go).
	fills      fills
	beginnings beginnings
	// space: who takes how many bytes, and who waits for some (space.go).
	space space
	// pins: what stays, whatever is evicted (pins.go); owed: what a shared store is still to get (owed.go).
	pins pins
	owed owed
	// durability: entries' records that memory has, and what the index and the disk don't have for sure yet (durability.go).
	durability durability
	// leaving: entries and files on their way out (leaving.go, stuck.go).
	leaving leaving

	// wake tells the janitor that there is work now, synced that files were synced. ctx ends the background work.
	wake   chan struct{}
	synced chan *batch
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// Open opens the store in cfg.Dir and returns at once, whatever its size: look-ups ask the index while the rest loads.
// ErrLocked says that another process holds the directory, ErrSplit that it isn't on one file system, ErrOccupied that it holds
// somebody else's files, ErrNewerFormat that a later version wrote it. An index of an earlier version becomes one of
// this version (format.go). A damaged one, and one from before there was that, is set aside and an empty one begun.
func Open(cfg Config) (*Store, error) {
	s := newStore(cfg)
	if err := s.takeDirectory(); err != nil {
		return nil, err
	}
	if err := s.beginIndex(); err != nil {
		return nil, errors.Join(err, s.index.close(), s.lock.Close())
	}
	// Both end with ctx; load ends by itself too.
	s.work.Go(s.load)
	s.work.Go(s.tend)
	return s, nil
}

func newStore(cfg Config) *Store {
	s := &Store{
		dir: cfg.Dir, fs: cfg.FS, logger: cfg.Logger, now: cfg.Now, limits: cfg.Limits, onFull: cfg.OnFull,
		process:  rand.Uint64(), //nolint:gosec // it must only differ from earlier ones
		starting: newStarting(), entries: newRecency(), blobs: make(map[Digest]*blobState), memory: newMemoryTier(),
		fills: fills{running: make(map[*Fill]struct{})}, pins: newPins(), owed: newOwed(), durability: newDurability(), leaving: newLeaving(),
		wake: make(chan struct{}, 1), synced: make(chan *batch, 1),
	}
	if s.fs == nil {
		s.fs = OS()
	}
	if s.logger == nil {
		s.logger = zap.NewNop()
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.started = s.now()
	s.space.copies, s.beginnings.least = newCopies(), leastBeginning
	slots := newSlots()
	s.generations.begin(slots)
	s.answers.begin(slots)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// takeDirectory makes the directory with its subdirectories and locks it.
func (s *Store) takeDirectory() (err error) {
	if err := checkOccupied(s.dir); err != nil {
		return err
	}
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
	if s.starting.oldParts, err = s.fs.ReadDir(fillsPath(s.dir)); err != nil {
		return fmt.Errorf("looking for unfinished fills: %w", err)
	}
	if err := s.makeShards(); err != nil {
		return err
	}
	return s.checkOneDisk()
}

// makeShards makes the directories of blobs that aren't there, and names them durably: a blob's own sync doesn't reach
// above its directory.
func (s *Store) makeShards() error {
	names, err := s.fs.ReadDir(blobsPath(s.dir))
	if err != nil {
		return fmt.Errorf("looking for the directories of blobs: %w", err)
	}
	present := make(map[string]struct{}, len(names))
	for _, name := range names {
		present[name] = struct{}{}
	}
	for first := range 256 {
		path := shardPath(s.dir, byte(first)) //nolint:gosec // below 256
		if _, ok := present[filepath.Base(path)]; ok {
			continue
		}
		if err := s.fs.MkdirAll(path); err != nil {
			return fmt.Errorf("making a directory of blobs: %w", err)
		}
	}
	if err := s.fs.SyncDir(blobsPath(s.dir)); err != nil {
		return fmt.Errorf("making the directories of blobs: %w", err)
	}
	return nil
}

// SetLimits puts other limits into force. What is too much for them is evicted in the background, and no longer pinned;
// copies of uploads that are too many are dropped.
func (s *Store) SetLimits(limits Limits) {
	s.mu.Lock()
	s.limits = limits
	s.pins.trim(s.mostPinnedLocked())
	s.leaveToEntriesLocked()
	s.memory.trim(limits.Memory)
	copies := s.takeExcessCopiesLocked()
	s.mu.Unlock()
	for _, f := range copies {
		f.drop()
	}
	s.wakeJanitor()
}

// Ready is closed when all entries are in memory and files that nothing names are removed. The store serves before. A store that
// ends while it still loads is never ready: who waits for Ready waits for Done, too.
func (s *Store) Ready() <-chan struct{} { return s.starting.ready }

// Done is closed when Close or Abandon ends the store's background work. From then on it makes no room and loads nothing more.
func (s *Store) Done() <-chan struct{} { return s.ctx.Done() }

// EndFills ends running fills, and lets none begin any more. Their readers get ErrFillsEnded after the bytes that are there.
func (s *Store) EndFills() {
	s.mu.Lock()
	s.fills.ended = true
	running := slices.Collect(maps.Keys(s.fills.running))
	s.mu.Unlock()
	for _, f := range running {
		f.Abort(ErrFillsEnded)
		// A commit that has begun doesn't take long; in a store that is closed it ends with ErrClosed if it comes too late.
		<-f.Done()
	}
}

// Close ends running fills (EndFills), makes what is whole durable, ends the background work and gives the directory back.
// Open blobs stay readable.
func (s *Store) Close() error {
	if !s.end() {
		return nil
	}
	s.letBeginningsGo(true)
	s.removeGivenUpPins(true)
	err := s.finishDurable()
	return errors.Join(err, s.index.close(), s.lock.Close())
}

// end ends running fills and the background work, once; false means that it was done before.
func (s *Store) end() bool {
	s.mu.Lock()
	before := s.closed
	s.closed = true
	s.memory.trim(0)
	s.mu.Unlock()
	if before {
		return false
	}
	s.EndFills()
	s.cancel()
	s.work.Wait()
	return true
}
