package history

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// breakingDisk is the operating system's, whose calls fail when it is told so.
type breakingDisk struct {
	osDisk
	opening, creating, settingAside, reading, writing error
}

type breakingFile struct {
	File
	disk *breakingDisk
}

func (d *breakingDisk) Open(path string) (File, error) {
	if d.opening != nil {
		return nil, d.opening
	}
	file, err := d.osDisk.Open(path)
	if err != nil {
		return nil, err
	}
	return breakingFile{file, d}, nil
}

func (d *breakingDisk) Create(path string, content []byte) error {
	if d.creating != nil {
		return d.creating
	}
	return d.osDisk.Create(path, content)
}

func (d *breakingDisk) SetAside(path string) error {
	if d.settingAside != nil {
		return d.settingAside
	}
	return d.osDisk.SetAside(path)
}

func (f breakingFile) ReadAt(p []byte, offset int64) (int, error) {
	if f.disk.reading != nil {
		return 0, f.disk.reading
	}
	return f.File.ReadAt(p, offset)
}

func (f breakingFile) WriteAt(p []byte, offset int64) (int, error) {
	if f.disk.writing != nil {
		return 0, f.disk.writing
	}
	return f.File.WriteAt(p, offset)
}

func TestAHistoryGoesOnAfterARestart(t *testing.T) {
	e := newEdge(t)
	e.mustKeep(t)
	e.count(1)
	e.pass(time.Minute)
	e.count(2)
	e.pass(30 * time.Second) // a stop
	e.mustKeep(t)

	e.now = e.now.Add(10 * time.Second)
	e.restart()
	e.mustKeep(t)
	e.count(4)
	e.pass(20 * time.Second)
	e.mustKeep(t)
	e.expect(t, Hour, map[int]int64{0: 1, 1: 6})
	e.expect(t, Day, map[int]int64{0: 7})
	e.expect(t, Quarter, map[int]int64{0: 7})

	e.now = noon.Add(20 * time.Minute) // a stop that takes long
	e.restart()
	e.mustKeep(t)
	e.count(8)
	e.pass(time.Minute)
	e.expect(t, Hour, map[int]int64{0: 1, 1: 6, 20: 8})
	e.expect(t, Day, map[int]int64{0: 7, 20: 8})
	e.expect(t, Quarter, map[int]int64{0: 15})
	if e.logs.Len() > 0 {
		t.Errorf("told %v", e.logs.All())
	}
}

// TestKill9LosesTheLastMinuteAlone ends without a last KeepIn.
func TestKill9LosesTheLastMinuteAlone(t *testing.T) {
	e := newEdge(t)
	e.mustKeep(t)
	for range 3 {
		e.count(1)
		e.pass(time.Minute)
		e.mustKeep(t)
	}
	e.count(5)
	e.now = e.now.Add(50 * time.Second)
	e.restart()
	e.mustKeep(t)
	e.pass(10 * time.Second)
	e.expect(t, Hour, map[int]int64{0: 1, 1: 1, 2: 1, 3: 0})
	e.expect(t, Quarter, map[int]int64{0: 3})
}

// TestASlotThatIsDamagedIsUnknownAndNothingElseIsLost damages slots in all ways that a disk may: half written, zeros, a bit, another
// slot's bytes.
func TestASlotThatIsDamagedIsUnknownAndNothingElseIsLost(t *testing.T) {
	e := newEdge(t)
	for range 10 {
		e.count(1)
		e.pass(time.Minute)
	}
	e.mustKeep(t)
	whole, err := os.ReadFile(e.path)
	if err != nil {
		t.Fatal(err)
	}
	rings := newRings()
	offset := rings.offset(place{0, rings[0].placeOf(noon.Add(4 * time.Minute).Unix())})
	other := rings.offset(place{0, rings[0].placeOf(noon.Add(5 * time.Minute).Unix())})
	for name, test := range map[string]struct {
		harm  func(slot []byte)
		isLog bool
	}{
		"the first half is new":     {func(slot []byte) { slot[8]++ }, true},
		"a bit of the time":         {func(slot []byte) { slot[0] ^= 1 }, true},
		"a bit of the checksum":     {func(slot []byte) { slot[255] ^= 1 }, true},
		"a bit of what says naught": {func(slot []byte) { slot[230] ^= 1 }, true},
		"the second half is lost":   {func(slot []byte) { clear(slot[128:]) }, true},
		"lost":                      {func(slot []byte) { clear(slot) }, false},
		"written to another place":  {func(slot []byte) { copy(slot, whole[other:other+slotSize]) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			harmed := bytes.Clone(whole)
			test.harm(harmed[offset : offset+slotSize])
			if err := os.WriteFile(e.path, harmed, 0o600); err != nil {
				t.Fatal(err)
			}
			e.restart()
			e.mustKeep(t)
			e.expect(t, Hour, map[int]int64{0: 1, 1: 1, 2: 1, 3: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1})
			e.expect(t, Day, map[int]int64{0: 5, 5: 5})
			e.expect(t, Quarter, map[int]int64{0: 10})
			if told := e.logs.FilterMessageSnippet("is damaged").Len() == 1; told != test.isLog {
				t.Errorf("told %v", e.logs.All())
			}
		})
	}
}

func TestAFileThatIsNoHistoryIsSetAsideAndAnotherBegun(t *testing.T) {
	for name, test := range map[string]struct {
		harm func(t *testing.T, path string)
		why  error
	}{
		"empty":         {func(t *testing.T, path string) { mustWrite(t, path, nil) }, errOtherSize},
		"a text":        {func(t *testing.T, path string) { mustWrite(t, path, []byte("1  ls\n2  cd\n")) }, errOtherSize},
		"cut short":     {func(t *testing.T, path string) { mustWrite(t, path, mustRead(t, path)[:100_000]) }, errOtherSize},
		"a byte longer": {func(t *testing.T, path string) { mustWrite(t, path, append(mustRead(t, path), 0)) }, errOtherSize},
		"zeros":         {func(t *testing.T, path string) { mustWrite(t, path, make([]byte, 646_912)) }, errDamaged},
		"a bit of its header": {func(t *testing.T, path string) {
			content := mustRead(t, path)
			content[5] ^= 1
			mustWrite(t, path, content)
		}, errDamaged},
		"another version's": {func(t *testing.T, path string) {
			content := mustRead(t, path)
			copy(content, withSum([]byte("gitlab_packages history 2\n"), headerSize))
			mustWrite(t, path, content)
		}, errOtherFormat},
		"with other bounds": {func(t *testing.T, path string) {
			other, rings := bounds, newRings()
			other[3] = .02
			mustWrite(t, path, rings.marshal(other))
		}, errOtherFormat},
		"a directory": {func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, ErrNoFile},
		"a pipe": {func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, ErrNoFile},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			e.count(1)
			e.pass(time.Minute)
			e.mustKeep(t)
			test.harm(t, e.path)
			was, err := os.Lstat(e.path)
			if err != nil {
				t.Fatal(err)
			}
			e.restart()
			e.mustKeep(t)
			e.count(2)
			e.pass(time.Minute)
			e.mustKeep(t)
			e.expect(t, Hour, map[int]int64{1: 2})
			told := e.logs.FilterMessageSnippet("set aside").All()
			if len(told) != 1 || told[0].ContextMap()["file"] != e.path || !bytes.Contains([]byte(told[0].ContextMap()["error"].(string)), []byte(test.why.Error())) {
				t.Errorf("told %v, want %v", told, test.why)
			}
			if aside, err := os.Lstat(e.path + DamagedSuffix); err != nil || !os.SameFile(was, aside) {
				t.Errorf("what was there is lost: %v", err)
			}
			e.restart()
			e.mustKeep(t)
			e.expect(t, Hour, map[int]int64{1: 2})
		})
	}
}

func TestAHistoryGoesOnInMemoryWhileTheDiskFails(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(e *edge, t *testing.T)
		fail    func(disk *breakingDisk, err error)
	}{
		"writing": {func(*edge, *testing.T) {}, func(disk *breakingDisk, err error) { disk.writing = err }},
		"opening": {(*edge).letGo, func(disk *breakingDisk, err error) { disk.opening = err }},
		"reading": {(*edge).letGo, func(disk *breakingDisk, err error) { disk.reading = err }},
		"making it anew": {(*edge).remove, func(disk *breakingDisk, err error) {
			disk.creating = err
		}},
		"opening what was made": {(*edge).remove, func(disk *breakingDisk, err error) { disk.opening = err }},
		"setting it aside": {func(e *edge, t *testing.T) {
			e.Release()
			mustWrite(t, e.path, nil)
		}, func(disk *breakingDisk, err error) { disk.settingAside = err }},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			e.count(1)
			e.pass(time.Minute)
			e.mustKeep(t)
			test.prepare(e, t)
			test.fail(e.disk, syscall.ENOSPC)
			for range 3 {
				e.count(2)
				e.pass(time.Minute)
				if err := e.KeepIn(e.path); !errors.Is(err, syscall.ENOSPC) || e.IsKept() {
					t.Fatalf("%v, kept: %t", err, e.IsKept())
				}
			}
			want := map[int]int64{0: 1, 1: 2, 2: 2, 3: 2}
			e.expect(t, Hour, want)
			test.fail(e.disk, nil)
			e.mustKeep(t)
			e.expect(t, Hour, want)
			e.restart()
			e.mustKeep(t)
			e.expect(t, Hour, want)
			e.expect(t, Quarter, map[int]int64{0: 7})
		})
	}
}

func (e *edge) letGo(*testing.T) { e.Release() }

func (e *edge) remove(t *testing.T) {
	e.Release()
	if err := os.Remove(e.path); err != nil {
		t.Fatal(err)
	}
}

// TestWhatWasCountedWithoutAFileIsAddedToTheOneThatIsFound starts while the disk isn't there yet, in the middle of an hour and even
// of a minute of which the file knows a part.
func TestWhatWasCountedWithoutAFileIsAddedToTheOneThatIsFound(t *testing.T) {
	e := newEdge(t)
	e.count(1)
	e.pass(time.Minute)
	e.count(2)
	e.pass(20 * time.Second)
	e.mustKeep(t)
	e.restart()
	e.count(4)
	e.pass(40 * time.Second)
	e.count(8)
	e.pass(time.Minute)
	e.expect(t, Hour, map[int]int64{1: 4, 2: 8})
	for range 2 { // and only once
		e.mustKeep(t)
		e.Release()
		e.mustKeep(t)
		e.expect(t, Hour, map[int]int64{0: 1, 1: 6, 2: 8})
		e.expect(t, Quarter, map[int]int64{0: 15})
	}
}

func TestAFileThatIsRemovedUnderARunningEdgeIsMadeAgainWithAll(t *testing.T) {
	e := newEdge(t)
	e.count(1)
	e.pass(time.Minute)
	e.mustKeep(t)
	if err := os.Remove(e.path); err != nil {
		t.Fatal(err)
	}
	e.count(2)
	e.pass(time.Minute)
	e.mustKeep(t)
	e.restart()
	e.mustKeep(t)
	e.expect(t, Hour, map[int]int64{0: 1, 1: 2})
}

// TestADirectoryThatCannotBeUsedForHoursCostsNothing has the disk come back when rings have gone round.
func TestADirectoryThatCannotBeUsedForHoursCostsNothing(t *testing.T) {
	e := newEdge(t)
	e.count(1)
	e.pass(time.Minute)
	e.mustKeep(t)
	e.Release()
	want := make(map[int]int64)
	for minute := 1; minute < 200; minute++ {
		e.count(int64(minute))
		e.pass(time.Minute)
		if minute >= 140 {
			want[minute] = int64(minute)
		}
	}
	e.expect(t, Hour, want)
	e.mustKeep(t)
	e.expect(t, Hour, want)
	e.restart()
	e.mustKeep(t)
	e.expect(t, Hour, want)
	e.expect(t, Quarter, map[int]int64{0: 1 + 59*60/2, 60: 89.5 * 60, 120: 149.5 * 60, 180: 189.5 * 20})
}

// TestWhatAFileWasMadeWithIsNotAddedToIt has the disk fail right after the file was made.
func TestWhatAFileWasMadeWithIsNotAddedToIt(t *testing.T) {
	e := newEdge(t)
	e.count(1)
	e.pass(time.Minute)
	e.disk.writing = syscall.EIO
	_ = e.KeepIn(e.path) // which makes it
	e.disk.writing = nil
	e.Release()
	e.mustKeep(t)
	e.expect(t, Hour, map[int]int64{0: 1})
}

func TestAHistoryMovesToADirectoryThatHasNone(t *testing.T) {
	e := newEdge(t)
	former := e.path
	e.count(1)
	e.pass(time.Minute)
	e.mustKeep(t)
	e.count(2)
	e.pass(time.Minute)
	e.path = filepath.Join(t.TempDir(), "history")
	e.mustKeep(t)
	e.expect(t, Hour, map[int]int64{0: 1, 1: 2})
	e.count(4)
	e.pass(time.Minute)
	e.mustKeep(t)
	e.restart()
	e.mustKeep(t)
	e.expect(t, Hour, map[int]int64{0: 1, 1: 2, 2: 4})

	// The former one has what was counted until then, and goes on from there.
	e.path = former
	e.count(8)
	e.pass(time.Minute)
	e.mustKeep(t)
	e.expect(t, Hour, map[int]int64{0: 1, 1: 2})
}

// TestWhatALostDirectoryCannotTakeIsTheNextOnes moves to a directory that has a history, from one whose file is gone.
func TestWhatALostDirectoryCannotTakeIsTheNextOnes(t *testing.T) {
	e := newEdge(t)
	next := e.path
	e.count(1)
	e.pass(time.Minute)
	e.mustKeep(t)
	e.restart()
	e.path = filepath.Join(t.TempDir(), "history")
	e.mustKeep(t)
	if err := os.Remove(e.path); err != nil {
		t.Fatal(err)
	}
	e.count(2)
	e.pass(time.Minute)
	e.path = next
	e.mustKeep(t)
	e.expect(t, Hour, map[int]int64{0: 1, 1: 2})
}

func TestAFileThatAKilledProcessLeftHalfMadeIsNoHindrance(t *testing.T) {
	e := newEdge(t)
	mustWrite(t, e.path+NewSuffix, []byte("half"))
	if err := os.Chmod(e.path+NewSuffix, 0o400); err != nil {
		t.Fatal(err)
	}
	e.mustKeep(t)
	if info, err := os.Stat(e.path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Lstat(e.path + NewSuffix); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
}

// TestTheFileHasTheSizeAndTheRingsThatAreDrawn holds the drawing in doc.go.
func TestTheFileHasTheSizeAndTheRingsThatAreDrawn(t *testing.T) {
	rings := newRings()
	for i, want := range []int64{4096, 19_712, 93_696, 646_912} {
		if got := rings.offset(place{i, 0}); got != want {
			t.Errorf("ring %d begins at %d, want %d", i, got, want)
		}
	}
	if headerSize%slotSize != 0 || 4096%slotSize != 0 || 512%slotSize != 0 {
		t.Error("a slot may lie in two sectors")
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func mustWrite(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
