package history

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"go.uber.org/zap"
)

// KeepIn writes what isn't in a file yet into the one at path. The first call with a path opens that file and goes on in it: the
// history is the file's then, with what was in no file before. Where none is there, one is made with all that is known. One that
// can't be read as a history is set aside, and told in the log. A file that was removed or replaced since is another one.
//
// An error says that the disk failed. The history goes on in memory then, and the next call tries again.
func (h *History) KeepIn(path string) error {
	if h.file != nil && h.path != path && h.file.IsAt(h.path) {
		_ = h.save() // what can't be written there is for the next file
	}
	if h.file != nil && (h.path != path || !h.file.IsAt(path)) {
		h.Release()
	}
	if h.file == nil {
		if err := h.open(path); err != nil {
			return err
		}
	}
	return h.save()
}

// Release closes the file, and writes nothing. The history goes on in memory.
func (h *History) Release() {
	if h.file != nil {
		_ = h.file.Close() // what was written is the system's
	}
	h.file = nil
	h.setKept(false)
}

func (h *History) setKept(kept bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = kept
}

// open begins to use the file at path.
func (h *History) open(path string) error {
	file, read, err := h.load(path)
	switch {
	case err == nil:
		h.file, h.path = file, path
		h.goOn(read)
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return h.create(path)
	case !isNoHistory(err):
		return fmt.Errorf("opening the history: %w", err)
	}
	if failed := h.config.Disk.SetAside(path); failed != nil {
		return fmt.Errorf("setting the history aside: %w", failed)
	}
	h.config.Logger.Warn("the edge's history can't be used; it is set aside, and another one begun", zap.String("file", path),
		zap.String("set_aside", path+DamagedSuffix), zap.Error(err))
	return h.create(path)
}

// load opens the file at path and reads it.
func (h *History) load(path string) (File, rings, error) {
	read := newRings()
	file, err := h.config.Disk.Open(path)
	if err != nil {
		return nil, read, err
	}
	// A byte more than it should have tells one that is longer.
	content := make([]byte, read.fileSize()+1)
	n, err := readAll(file, content)
	var damaged int
	if err == nil {
		damaged, err = read.unmarshal(content[:n], h.config.Bounds)
	}
	if err != nil {
		return nil, read, errors.Join(err, file.Close())
	}
	if damaged > 0 {
		h.config.Logger.Warn("the edge's history is damaged; nothing is known of the steps that are", zap.String("file", path),
			zap.Int("damaged", damaged))
	}
	return file, read, nil
}

// goOn makes what was read from a file the history, with what is in no file yet.
func (h *History) goOn(read rings) {
	now := h.config.Now().Unix()
	h.mu.Lock()
	defer h.mu.Unlock()
	for at, waiting := range h.unsaved {
		there := &read[at.ring].slots[at.slot]
		if there.known && there.time == waiting.time {
			there.counts.Add(waiting.counts)
			continue
		}
		*there = waiting
	}
	read.markAhead(now)
	h.rings = read
}

// create makes a file of all that is known, and uses it.
func (h *History) create(path string) error {
	h.mu.Lock()
	content := h.rings.marshal(h.config.Bounds)
	h.mu.Unlock()
	if err := h.config.Disk.Create(path, content); err != nil {
		return fmt.Errorf("making the history: %w", err)
	}
	file, err := h.config.Disk.Open(path)
	if err != nil {
		return fmt.Errorf("opening the history: %w", err)
	}
	h.file, h.path = file, path
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.unsaved)
	return nil
}

// save writes to the file what isn't there yet.
func (h *History) save() (err error) {
	defer func() { h.setKept(err == nil) }()
	h.mu.Lock()
	places := slices.Collect(maps.Keys(h.unsaved))
	slots := make([][]byte, len(places))
	for i, at := range places {
		slots[i] = h.rings[at.ring].slots[at.slot].marshal()
	}
	h.mu.Unlock()
	for i, at := range places {
		if _, err := h.file.WriteAt(slots[i], h.rings.offset(at)); err != nil {
			return fmt.Errorf("writing the history: %w", err)
		}
		h.mu.Lock()
		delete(h.unsaved, at)
		h.mu.Unlock()
	}
	return nil
}
