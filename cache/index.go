package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Buckets of index.db.
var (
	entriesBucket = []byte("entries") // key bytes -> record
	usesBucket    = []byte("uses")    // key hash -> last use, Unix nanoseconds, 8 bytes
	metaBucket    = []byte("meta")    // format -> version, bytes -> sum of all blobs, 8 bytes
	formatName    = []byte("format")
	bytesName     = []byte("bytes")
)

// indexFormat changes when an older edge could not read what a newer one wrote.
const indexFormat = "gitlab_packages 1"

// errDamagedIndex says that index.db can't be used. It is set aside then, and an empty one begun.
var errDamagedIndex = errors.New("the index is damaged")

// indexOpenTimeout bounds the wait for bbolt's own lock. Ours on the directory is held by then, so nobody should have
// it.
const indexOpenTimeout = time.Second

// index is index.db. A damaged file must not end the process, so each use of bbolt runs with faults as panics and
// panics as errors.
type index struct {
	// mu is held for reading by each use, and for writing while the database is replaced or closed. It is never taken
	// with the store's lock held.
	mu sync.RWMutex
	db *bolt.DB
}

// openIndex opens or makes index.db.
func openIndex(path string) (db *bolt.DB, err error) {
	defer guardDamage(&err)()
	db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: indexOpenTimeout, FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		if errors.Is(err, os.ErrPermission) || errors.Is(err, bolterrors.ErrTimeout) {
			return nil, fmt.Errorf("opening the index: %w", err)
		}
		return nil, fmt.Errorf("%w: %w", errDamagedIndex, err)
	}
	if err = checkIndex(db, path); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// checkIndex makes sure that the file is ours and as long as it says: a page past its end would be a fault.
func checkIndex(db *bolt.DB, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("opening the index: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w: %d bytes are missing", errDamagedIndex, tx.Size()-info.Size())
		}
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if name, _ := tx.Cursor().First(); name != nil {
				return fmt.Errorf("%w: it is another program's", errDamagedIndex)
			}
			for _, name := range [][]byte{entriesBucket, usesBucket, metaBucket} {
				if _, err := tx.CreateBucket(name); err != nil {
					return err
				}
			}
			return tx.Bucket(metaBucket).Put(formatName, []byte(indexFormat))
		}
		if format := meta.Get(formatName); string(format) != indexFormat || tx.Bucket(entriesBucket) == nil || tx.Bucket(usesBucket) == nil {
			return fmt.Errorf("%w: its format is %q", errDamagedIndex, format)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the index: %w", err)
	}
	return nil
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

func (x *index) view(read func(*bolt.Tx) error) (err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.db == nil {
		return ErrClosed
	}
	defer guardDamage(&err)()
	return x.db.View(read)
}

func (x *index) update(write func(*bolt.Tx) error) (err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.db == nil {
		return ErrClosed
	}
	defer guardDamage(&err)()
	return x.db.Update(write)
}

// read returns a key's record; nil if there is none. A record that isn't what was written, or another key's, is none.
func (x *index) read(k Key) (*Entry, error) {
	var entry *Entry
	err := x.view(func(tx *bolt.Tx) error {
		data := tx.Bucket(entriesBucket).Get(k.bytes())
		if data == nil {
			return nil
		}
		found, err := decodeRecord(data)
		if err == nil && found.Key == k {
			entry = found
		}
		return nil
	})
	return entry, err
}

// close ends the use of the database. With faults around it may leave it open; the process ends soon then.
func (x *index) close() (err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.db == nil {
		return nil
	}
	db := x.db
	x.db = nil
	defer guardDamage(&err)()
	return db.Close()
}

func readNumber(data []byte) int64 {
	if len(data) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(data)) //nolint:gosec // written by writeNumber
}

func writeNumber(n int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n)) //nolint:gosec // read by readNumber
}
