package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"go.uber.org/zap"
)

// Copies of the switches are for a start that finds the shared ones damaged. One lies in each cache directory, beside the
// index. Another is the version before the last change, in Caddy's storage.
const (
	// switchesCopyName is the copy's name in a cache directory.
	switchesCopyName = "switches.json"
	// previousSwitchesKey is the version before the last change in Caddy's storage.
	previousSwitchesKey = "gitlab_packages/switches.previous.json"
	// damagedSwitchesKey is where a damaged version is set aside when a command writes a good one in its place.
	damagedSwitchesKey = "gitlab_packages/switches.damaged.json"
)

// directoryCopy is the copy in one cache directory.
type directoryCopy struct {
	directory string
	// isHeld reports whether this process holds the directory. One that another process holds isn't written to.
	isHeld func() bool
}

// errDamagedSwitches says that the shared switches are there and can't be understood.
var errDamagedSwitches = errors.New("they are damaged")

// parseSwitches reads what marshal wrote.
func parseSwitches(data []byte) (*storedSwitches, error) {
	stored := new(storedSwitches)
	if err := json.Unmarshal(data, stored); err != nil {
		return nil, fmt.Errorf("reading the run-time switches: %w: %w", errDamagedSwitches, err)
	}
	if stored.Version != switchesVersion {
		return nil, fmt.Errorf("reading the run-time switches: %w: they have version %d, and this edge knows %d",
			errDamagedSwitches, stored.Version, switchesVersion)
	}
	for known, said := range stored.Upstreams {
		if said == nil {
			return nil, fmt.Errorf("reading the run-time switches: %w: those of %s are null", errDamagedSwitches, known)
		}
	}
	return stored, nil
}

// marshal writes the switches as they lie in Caddy's storage and in copies.
func (s *storedSwitches) marshal() ([]byte, error) {
	whole := s.clone()
	whole.Version = switchesVersion
	data, err := json.MarshalIndent(whole, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the run-time switches: %w", err)
	}
	return data, nil
}

// recall joins the copies in these directories and the version before the last change. Nil means that there is no good one.
func (s *switchStore) recall(ctx context.Context, directories []string) (joined *storedSwitches) {
	take := func(data []byte, err error, from string) {
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		var found *storedSwitches
		if err == nil {
			found, err = parseSwitches(data)
		}
		switch {
		case err != nil:
			s.logger.Error("a copy of the run-time switches can't be read", zap.String("copy", from), zap.Error(err))
		case joined == nil:
			joined = found.clone()
		default:
			joined = joined.strictest(found)
		}
	}
	for _, directory := range directories {
		path := filepath.Join(directory, switchesCopyName)
		data, err := os.ReadFile(path) //nolint:gosec // the admin's own directory
		take(data, err, path)
	}
	ctx, cancel := context.WithTimeout(ctx, switchesTimeout)
	defer cancel()
	data, err := s.storage.Load(ctx, previousSwitchesKey)
	take(data, err, previousSwitchesKey)
	return joined
}

// useCopy has keepCopies write one more copy.
func (s *switchStore) useCopy(copied directoryCopy) {
	s.copiesMu.Lock()
	defer s.copiesMu.Unlock()
	s.copies = append(s.copies, copied)
}

// keepCopies writes what holds now into the cache directories, where something else is there. It does nothing while the
// shared switches can't be read: then the copies are what is known.
func (s *switchStore) keepCopies() {
	s.copiesMu.Lock()
	defer s.copiesMu.Unlock()
	if s.reading() != switchesRead {
		return
	}
	data, err := s.present.Load().marshal()
	if err != nil {
		return // those that were read can be written
	}
	for _, copied := range s.copies {
		if !copied.isHeld() {
			continue
		}
		if err := replaceFile(filepath.Join(copied.directory, switchesCopyName), data); err != nil {
			s.copyTrouble.Do(func() {
				s.logger.Error("a copy of the run-time switches can't be written; should those in Caddy's storage be damaged, the edge would not know them",
					zap.String("directory", copied.directory), zap.Error(err))
			})
		}
	}
}

// replaceFile gives a file this content, durably and all at once. A file that has it already isn't touched.
func replaceFile(path string, data []byte) error {
	if present, err := os.ReadFile(path); err == nil && bytes.Equal(present, data) { //nolint:gosec // see recall
		return nil
	}
	next, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.new")
	if err != nil {
		return err
	}
	_, err = next.Write(data)
	err = errors.Join(err, next.Sync(), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	directory, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// strictest joins two copies of which nobody knows which is newer. Off wins over the config's word, and the config's word
// over on.
func (s *storedSwitches) strictest(other *storedSwitches) *storedSwitches {
	joined := s.clone()
	for upstream, theirs := range other.clone().Upstreams {
		if ours := joined.Upstreams[upstream]; ours != nil {
			joined.Upstreams[upstream] = ours.strictest(theirs)
		} else {
			joined.Upstreams[upstream] = theirs.strictest(new(runtimeSwitches))
		}
	}
	for upstream, ours := range joined.Upstreams {
		if other.Upstreams[upstream] == nil {
			joined.Upstreams[upstream] = ours.strictest(new(runtimeSwitches))
		}
	}
	return joined
}

func (r *runtimeSwitches) strictest(other *runtimeSwitches) *runtimeSwitches {
	joined := &runtimeSwitches{All: stricter(r.All, other.All), Projects: make(map[string]runtimeSwitch)}
	names := slices.Collect(maps.Keys(r.Projects))
	names = slices.AppendSeq(names, maps.Keys(other.Projects))
	for _, name := range names {
		if said := stricter(r.of(name), other.of(name)); said != nil {
			joined.Projects[name] = *said
		}
	}
	return joined
}

func (r *runtimeSwitches) of(name string) *runtimeSwitch {
	if said, ok := r.Projects[name]; ok {
		return &said
	}
	return nil
}

// stricter returns the one of two that allows less; nil is the config's word. Of two that say the same, the later counts.
func stricter(a, b *runtimeSwitch) *runtimeSwitch {
	switch {
	case a == nil && b == nil:
		return nil
	case a == nil || b == nil:
		said := a
		if a == nil {
			said = b
		}
		if said.On {
			return nil
		}
		return said
	case a.On != b.On && a.On:
		return b
	case a.On != b.On:
		return a
	case b.Since.After(a.Since):
		return b
	}
	return a
}
