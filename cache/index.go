package cache

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Buckets of index.db.
var (
	entriesBucket = []byte("entries") // key bytes -> record (record.go)
	usesBucket    = []byte("uses")    // key hash -> last use and key bytes
	pinsBucket    = []byte("pins")    // key bytes -> until when, 8 bytes; made with the first pin
	metaBucket    = []byte("meta")    // format -> version; bytes -> sum of all blobs and verified -> time, 8 bytes each
	formatName    = []byte("format")
	bytesName     = []byte("bytes")
	verifiedName  = []byte("verified")
)

// errDamagedIndex says that index.db can't be used. It is set aside then, and an empty one begun.
var errDamagedIndex = errors.New("the index is damaged")

// errNoIndex says that there is no index for now. The janitor tries again to begin one.
var errNoIndex = fmt.Errorf("%w: there is no index", ErrDisk)

// indexOpenTimeout bounds the wait for bbolt's own lock. Ours on the directory is held by then, so nobody should have
// it.
const indexOpenTimeout = time.Second

// index is index.db. A damaged file must not end the process, so each use of bbolt runs with faults as panics and
// panics as errors.
type index struct {
	// reads counts look-ups since what they had mapped was last given back.
	reads atomic.Int64
	// mu guards all below; it is held only to look. It is never taken with the store's lock held.
	mu     sync.Mutex
	closed bool
	// db is nil while a damaged database is gone and no other could be begun.
	db *database
	// replaced counts how often a database was given up as damaged.
	replaced int
	// condemned says why the file that still has the index's name must not be opened again, but set aside first.
	condemned error
}

// database is an open index.db, and the file once more, to look at its beginning.
type database struct {
	*bolt.DB
	file *os.File
}

// openIndex opens or makes index.db.
func openIndex(path string) (db *database, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is no file", errDamagedIndex)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // paths are made in files.go
	if err != nil {
		return nil, classifyOpenError(err)
	}
	db = &database{file: file}
	if err := db.begin(path); err != nil {
		_ = file.Close()
		return nil, err
	}
	return db, nil
}

func (db *database) begin(path string) (err error) {
	if info, err := db.file.Stat(); err != nil {
		return classifyOpenError(err)
	} else if info.Size() > 0 {
		meta, err := inspectIndex(db.file)
		if err != nil {
			return err
		}
		if err := newBoltFile(db.file).checkGraph(meta); err != nil {
			return err
		}
	}
	defer guardDamage(&err)()
	// The list of free pages is kept in the file: without it, bbolt would read the whole file here.
	db.DB, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: indexOpenTimeout, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return classifyOpenError(err)
	}
	if err = checkFormat(db.DB); err != nil {
		_ = db.Close()
		return fmt.Errorf("opening the index: %w", err)
	}
	return nil
}

// classifyOpenError tells an index that can't be read from a system that can't open it now: only the first is set
// aside.
func classifyOpenError(err error) error {
	var errno syscall.Errno
	if errors.Is(err, bolterrors.ErrTimeout) || (errors.As(err, &errno) && !isMediaError(err) && errno != syscall.EISDIR) {
		return fmt.Errorf("opening the index: %w", err)
	}
	return fmt.Errorf("%w: %w", errDamagedIndex, err)
}

// inspectIndex makes sure that the file begins as bbolt's do, and is as long as it says. Its length matters before it is
// mapped, where a page past its end would be a fault. And its beginning matters before each transaction: where that is
// damaged bbolt panics with its own locks held, and whoever comes next would wait for ever.
//
// The beginning is read before the length: bbolt makes the file longer before it says so there, and in the other order a
// file that grows meanwhile would look cut off.
func inspectIndex(file *os.File) (boltMeta, error) {
	f := newBoltFile(file)
	meta, err := f.meta()
	if err != nil {
		return boltMeta{}, err
	}
	info, err := file.Stat()
	if err != nil {
		return boltMeta{}, classifyOpenError(err)
	}
	if length := uint64(info.Size()) / f.pageSize; meta.pages > length { //nolint:gosec // not negative
		return boltMeta{}, fmt.Errorf("%w: %d of %d pages are missing", errDamagedIndex, meta.pages-length, meta.pages)
	}
	if meta.freelist == boltNoFreelist {
		return boltMeta{}, fmt.Errorf("%w: it has no list of free pages", errDamagedIndex)
	}
	return meta, nil
}

// checkFormat makes sure that the file is ours, makes one of an earlier format one of the present, and puts into an empty one what
// each has.
func checkFormat(db *bolt.DB) error {
	var format string
	ours := func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if name, _ := tx.Cursor().First(); name != nil {
				return fmt.Errorf("%w: it is another program's", errDamagedIndex)
			}
			return os.ErrNotExist
		}
		format = string(meta.Get(formatName))
		if err := checkFormatName(format); err != nil {
			return err
		}
		if tx.Bucket(entriesBucket) == nil || tx.Bucket(usesBucket) == nil {
			return fmt.Errorf("%w: it has no entries", errDamagedIndex)
		}
		return nil
	}
	err := db.View(ours)
	switch {
	case err == nil && format != indexFormat: // records of the formats that are migrated need no change
		return db.Update(func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(formatName, []byte(indexFormat)) })
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{entriesBucket, usesBucket, metaBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(metaBucket).Put(formatName, []byte(indexFormat))
	})
}

// guardDamage turns panics and memory faults of what follows in this goroutine into errDamagedIndex.
func guardDamage(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if cause := recover(); cause != nil {
			*err = fmt.Errorf("%w: %v", errDamagedIndex, cause)
		}
	}
}

// view reads the index. It also returns the database that was read, for replaceIndex.
func (x *index) view(read func(*bolt.Tx) error) (db *database, err error) {
	return x.use(func(db *database) error { return db.View(read) })
}

// update changes the index, durably and all at once.
func (x *index) update(write func(*bolt.Tx) error) (db *database, err error) {
	return x.use(func(db *database) error { return db.Update(write) })
}

// use works without a lock: a database that is closed or replaced meanwhile waits for its transactions by itself.
func (x *index) use(work func(*database) error) (db *database, err error) {
	if db, err = x.current(); err != nil {
		return nil, err
	}
	if _, err = inspectIndex(db.file); err != nil {
		if errors.Is(err, os.ErrClosed) {
			err = errNoIndex
		}
		return db, err
	}
	defer guardDamage(&err)()
	if err = work(db); errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		err = errNoIndex
	}
	return db, err
}

func (x *index) current() (*database, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.closed:
		return nil, ErrClosed
	case x.db == nil:
		return nil, errNoIndex
	}
	return x.db, nil
}

// unmap gives back what the process has mapped of the file. Else all that was ever read of it, by a start and by batches
// above all, would stay with the process: more than what the store itself has in memory of each entry.
func (x *index) unmap() {
	// Within a transaction, so that the mapping is the file's until it is done. Damage is found by those who read.
	_, _ = x.view(func(tx *bolt.Tx) error {
		unmapPages(tx.DB().Info().Data)
		return nil
	})
}

// maxMappedReads is after how many look-ups what they have mapped is given back. Each maps up to 64 KiB around what it reads.
const maxMappedReads = 128

// unmapReads gives back what look-ups have mapped, where that is much.
func (x *index) unmapReads() {
	if x.reads.Load() >= maxMappedReads {
		x.reads.Store(0)
		x.unmap()
	}
}

// close ends the use of the database.
func (x *index) close() error {
	x.mu.Lock()
	db := x.db
	x.db, x.closed = nil, true
	x.mu.Unlock()
	if db == nil {
		return nil
	}
	return db.close()
}

// closeTimeout bounds the wait for a database to close. After a panic within bbolt its own locks may be held for ever.
const closeTimeout = 5 * time.Second

func (db *database) close() error { return db.closeWithin(closeTimeout) }

func (db *database) closeWithin(limit time.Duration) error {
	closed := make(chan error, 1)
	// Ends when bbolt lets go of its locks; after damage within a transaction that may be never, and costs this
	// goroutine and the mapping.
	go func() { closed <- errors.Join(db.Close(), db.file.Close()) }() // which look at no page
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-closed:
		return err
	case <-timer.C:
		return errors.New("the index doesn't close")
	}
}

// readIndex reads a key's record; nil if there is none. A record that isn't what was written, or another key's, is none.
func (s *Store) readIndex(k Key) (entry *Entry, err error) {
	if s.index.reads.Add(1) == maxMappedReads {
		s.wakeJanitor()
	}
	err = s.viewIndex(func(tx *bolt.Tx) error {
		key := k.bytes()
		if data := tx.Bucket(entriesBucket).Get(key); data != nil {
			entry, _ = decodeRecord(key, data) // a damaged record is no entry
		}
		return nil
	})
	return entry, err
}

func (s *Store) viewIndex(read func(*bolt.Tx) error) error {
	db, err := s.index.view(read)
	return s.mindIndex(db, err)
}

func (s *Store) updateIndex(write func(*bolt.Tx) error) error {
	var db *database
	transaction := func() (err error) {
		db, err = s.index.update(func(tx *bolt.Tx) error {
			if err := write(tx); err != nil {
				return err
			}
			s.mu.Lock()
			total := max(s.space.blobs, s.space.estimate)
			s.mu.Unlock()
			return tx.Bucket(metaBucket).Put(bytesName, writeNumber(total))
		})
		return err
	}
	var err error
	if around, ok := s.fs.(IndexFS); ok {
		err = around.UpdateIndex(transaction)
	} else {
		err = transaction()
	}
	return s.mindIndex(db, err)
}

// mindIndex deals with an index that proved damaged.
func (s *Store) mindIndex(db *database, err error) error {
	if errors.Is(err, errDamagedIndex) {
		return s.replaceIndex(db, err)
	}
	return err
}
