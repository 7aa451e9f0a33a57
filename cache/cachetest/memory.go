package cachetest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// Memory is a file system in memory below one directory. It tells bytes and names that were synced from those that a
// power cut may take (CutPower), and counts the room that files take, as a disk does: until they have neither a name nor
// a reader. It is safe for concurrent use.
type Memory struct {
	root string

	// mu guards all below, and all nodes.
	mu       sync.Mutex
	top      *node
	capacity int64
	used     int64
	peak     int64
}

// node is a file or a directory.
type node struct {
	// names is what a directory holds, durable what of it would survive; both nil in a file.
	names, durable map[string]*node
	// data is a file's bytes, synced how many of them would survive: files only ever grow.
	data   []byte
	synced int
	// links and open hold a file's bytes.
	links, open int
}

func newDirectory() *node {
	return &node{names: make(map[string]*node), durable: make(map[string]*node)}
}

func (n *node) isDirectory() bool { return n.names != nil }

// NewMemory returns an empty file system of capacity bytes. All paths must lie below root, which is there and durable.
func NewMemory(root string, capacity int64) *Memory {
	return &Memory{root: filepath.Clean(root), top: newDirectory(), capacity: capacity}
}

// Used is how many bytes files take now, Peak how many they took at most.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Peak is the most that Used ever was.
func (m *Memory) Peak() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peak
}

// SetCapacity makes the disk larger or smaller, also smaller than what is used.
func (m *Memory) SetCapacity(capacity int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = capacity
}

// CutPower returns what the power cut leaves, as a file system below another root. What was synced is there. Of all
// else survives decides, name by name and file by file: false gives the directory's old state, and a file that ends
// where it was synced; true gives the new name, and a file that has its length, but zeros where it wasn't synced.
func (m *Memory) CutPower(root string, survives func() bool) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := NewMemory(root, m.capacity)
	copies := make(map[*node]*node)
	left.top = m.top.afterCut(survives, copies)
	for _, n := range copies {
		left.used += int64(len(n.data))
	}
	left.peak = left.used
	return left
}

func (n *node) afterCut(survives func() bool, copies map[*node]*node) *node {
	if !n.isDirectory() {
		left := copies[n]
		if left == nil {
			left = &node{data: n.data[:n.synced:n.synced]}
			if len(n.data) > n.synced && survives() {
				left.data = append(left.data, make([]byte, len(n.data)-n.synced)...)
			}
			left.synced = len(left.data)
			copies[n] = left
		}
		left.links++
		return left
	}
	left := newDirectory()
	all := make(map[string]struct{}, len(n.names))
	for _, names := range []map[string]*node{n.names, n.durable} {
		for name := range names {
			all[name] = struct{}{}
		}
	}
	for _, name := range sorted(all) {
		child := n.durable[name]
		if n.names[name] != child && survives() {
			child = n.names[name]
		}
		if child != nil {
			copied := child.afterCut(survives, copies)
			left.names[name], left.durable[name] = copied, copied
		}
	}
	return left
}

func sorted[V any](names map[string]V) []string {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// findLocked returns what a path names, nil for nothing, and the directory and the name that it has there.
func (m *Memory) findLocked(path string) (found, directory *node, name string, err error) {
	relative, err := filepath.Rel(m.root, path)
	if err != nil || strings.HasPrefix(relative, "..") {
		return nil, nil, "", fmt.Errorf("%s is not below %s", path, m.root)
	}
	found = m.top
	if relative == "." {
		return found, nil, "", nil
	}
	for part := range strings.SplitSeq(relative, string(filepath.Separator)) {
		switch {
		case found == nil:
			return nil, nil, "", failure("find", path, syscall.ENOENT)
		case !found.isDirectory():
			return nil, nil, "", failure("find", path, syscall.ENOTDIR)
		}
		directory, name, found = found, part, found.names[part]
	}
	return found, directory, name, nil
}

func failure(op, path string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }

// releaseLocked gives a file's room back when nothing holds it any more.
func (m *Memory) releaseLocked(n *node) {
	if n.links == 0 && n.open == 0 {
		m.used -= int64(len(n.data))
	}
}

// Create implements cache.FS.
func (m *Memory) Create(path string) (cache.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, directory, name, err := m.findLocked(path)
	if err != nil {
		return nil, err
	}
	if found != nil {
		return nil, failure("create", path, syscall.EEXIST)
	}
	n := &node{links: 1, open: 1}
	directory.names[name] = n
	return &memoryFile{fs: m, node: n, name: name, writable: true}, nil
}

// Open implements cache.FS.
func (m *Memory) Open(path string) (cache.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, _, name, err := m.findLocked(path)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, failure("open", path, syscall.ENOENT)
	case found.isDirectory():
		return nil, failure("open", path, syscall.EISDIR)
	}
	found.open++
	return &memoryFile{fs: m, node: found, name: name}, nil
}

// Rename implements cache.FS.
func (m *Memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	moved, source, sourceName, err := m.findLocked(from)
	if err != nil {
		return err
	}
	old, target, targetName, err := m.findLocked(to)
	switch {
	case err != nil:
		return err
	case moved == nil:
		return failure("rename", from, syscall.ENOENT)
	}
	delete(source.names, sourceName)
	target.names[targetName] = moved
	if old != nil && old != moved {
		old.links--
		m.releaseLocked(old)
	}
	return nil
}

// Remove implements cache.FS.
func (m *Memory) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, directory, name, err := m.findLocked(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && found == nil:
		return nil
	case err != nil:
		return err
	case found.isDirectory() && len(found.names) > 0:
		return failure("remove", path, syscall.ENOTEMPTY)
	}
	delete(directory.names, name)
	if !found.isDirectory() {
		found.links--
		m.releaseLocked(found)
	}
	return nil
}

// MkdirAll implements cache.FS.
func (m *Memory) MkdirAll(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	relative, err := filepath.Rel(m.root, path)
	if err != nil || strings.HasPrefix(relative, "..") {
		return fmt.Errorf("%s is not below %s", path, m.root)
	}
	at := m.top
	for part := range strings.SplitSeq(relative, string(filepath.Separator)) {
		if part == "." {
			continue
		}
		child := at.names[part]
		if child == nil {
			child = newDirectory()
			at.names[part] = child
		}
		if !child.isDirectory() {
			return failure("mkdir", path, syscall.ENOTDIR)
		}
		at = child
	}
	return nil
}

// ReadDir implements cache.FS.
func (m *Memory) ReadDir(path string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	directory, err := m.directoryLocked(path)
	if err != nil {
		return nil, err
	}
	return sorted(directory.names), nil
}

func (m *Memory) directoryLocked(path string) (*node, error) {
	found, _, _, err := m.findLocked(path)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, failure("open", path, syscall.ENOENT)
	case !found.isDirectory():
		return nil, failure("open", path, syscall.ENOTDIR)
	}
	return found, nil
}

// SyncDir implements cache.FS.
func (m *Memory) SyncDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	directory, err := m.directoryLocked(path)
	if err != nil {
		return err
	}
	directory.syncNames()
	return nil
}

func (n *node) syncNames() {
	n.durable = make(map[string]*node, len(n.names))
	for name, child := range n.names {
		n.durable[name] = child
	}
}

// SyncAll implements cache.FS.
func (m *Memory) SyncAll(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.top.syncAll()
	return nil
}

func (n *node) syncAll() {
	if !n.isDirectory() {
		n.synced = len(n.data)
		return
	}
	n.syncNames()
	for _, child := range n.names {
		child.syncAll()
	}
}

// Free implements cache.FS.
func (m *Memory) Free(string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.capacity-m.used, 0), nil
}

// Truncate cuts a file short, behind its users' backs.
func (m *Memory) Truncate(path string, length int) error {
	return m.damage(path, func(n *node) { n.data = n.data[:length:length] })
}

// Flip changes one byte of a file, behind its users' backs.
func (m *Memory) Flip(path string, at int) error {
	return m.damage(path, func(n *node) {
		n.data = slices.Clone(n.data)
		n.data[at] ^= 0xff
	})
}

func (m *Memory) damage(path string, change func(*node)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, _, _, err := m.findLocked(path)
	if err != nil {
		return err
	}
	if found == nil || found.isDirectory() {
		return failure("damage", path, syscall.ENOENT)
	}
	m.used -= int64(len(found.data))
	change(found)
	m.used += int64(len(found.data))
	found.synced = min(found.synced, len(found.data))
	return nil
}

// memoryFile is an open file of Memory. Its position is for one goroutine.
type memoryFile struct {
	fs       *Memory
	node     *node
	name     string
	writable bool
	offset   int64
	closed   bool
}

func (f *memoryFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.offset)
	f.offset += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *memoryFile) ReadAt(p []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, fs.ErrClosed
	}
	if offset >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write appends. On a full disk it writes what fits.
func (f *memoryFile) Write(p []byte) (int, error) {
	m := f.fs
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case f.closed:
		return 0, fs.ErrClosed
	case !f.writable:
		return 0, failure("write", f.name, syscall.EBADF)
	}
	n := int(min(int64(len(p)), max(m.capacity-m.used, 0)))
	f.node.data = append(f.node.data, p[:n]...)
	f.offset += int64(n)
	m.used += int64(n)
	m.peak = max(m.peak, m.used)
	if n < len(p) {
		return n, failure("write", f.name, syscall.ENOSPC)
	}
	return n, nil
}

func (f *memoryFile) Seek(offset int64, whence int) (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += int64(len(f.node.data))
	}
	if f.closed || offset < 0 {
		return 0, failure("seek", f.name, syscall.EINVAL)
	}
	f.offset = offset
	return offset, nil
}

func (f *memoryFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.synced = len(f.node.data)
	return nil
}

func (f *memoryFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	f.node.open--
	f.fs.releaseLocked(f.node)
	return nil
}

func (f *memoryFile) Stat() (fs.FileInfo, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return memoryInfo{f.name, int64(len(f.node.data))}, nil
}

type memoryInfo struct {
	name string
	size int64
}

func (i memoryInfo) Name() string     { return i.name }
func (i memoryInfo) Size() int64      { return i.size }
func (memoryInfo) Mode() fs.FileMode  { return 0o600 }
func (memoryInfo) ModTime() time.Time { return time.Time{} }
func (memoryInfo) IsDir() bool        { return false }
func (memoryInfo) Sys() any           { return nil }
