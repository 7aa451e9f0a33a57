package cache_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

var kills = flag.Int("kills", 20, "how often the store's process is killed")

// killedDirectory, in the environment, makes this test binary the process that is killed.
const killedDirectory = "CACHE_TEST_KILLED_DIRECTORY"

const (
	killedKeys = 40
	// killedMaxSize leaves the anchor in while three fills of unknown length take room ahead.
	killedMaxSize = 16 << 20
)

func killedKey(i int) cache.Key { return cachetest.KeyOf(fmt.Sprint("file", i)) }

// labelled is a file that says which key and version it is: the rest follows from that. Some keys share their bytes.
func labelled(name string, version uint64) []byte {
	random := rand.New(rand.NewPCG(version, uint64(len(name)))) //nolint:gosec // to be the same each time
	data := fmt.Appendf(nil, "%s\n%d\n", name, version)
	return append(data, cachetest.Content(byte(version%256), random.IntN(150_000))...)
}

// isLabelled reports whether the bytes are those of one of the names, in whatever version.
func isLabelled(data []byte, names ...string) (version uint64, ok bool) {
	name, rest, _ := bytes.Cut(data, []byte("\n"))
	number, _, _ := bytes.Cut(rest, []byte("\n"))
	version, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil || !bytes.Equal(data, labelled(string(name), version)) {
		return 0, false
	}
	return version, slices.Contains(names, string(name))
}

func readAll(store *cache.Store, key cache.Key) ([]byte, error) {
	entry, err := store.Lookup(key)
	if err != nil {
		return nil, err
	}
	blob, err := store.OpenBlob(entry)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	return io.ReadAll(blob)
}

// TestTheProcessThatIsKilled is no test of its own: it is what TestNothingWrongIsLeftByKilling kills.
func TestTheProcessThatIsKilled(t *testing.T) {
	dir := os.Getenv(killedDirectory)
	if dir == "" {
		t.Skip("only runs as a process of another test")
	}
	store, err := cache.Open(cache.Config{Dir: dir, Limits: cache.Limits{MaxSize: killedMaxSize, Memory: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	// All end with the process.
	for range 3 {
		work.Go(func() {
			for {
				useAtRandom(t, store)
			}
		})
	}
	anchor := cachetest.KeyOf("anchor")
	for version := uint64(time.Now().UnixNano()); ; version++ { //nolint:gosec // not before 1970
		g := store.Raise(anchor, cache.Published)
		data := labelled("anchor", version)
		fill, err := store.Begin(anchor, g, cache.FillSpec{Size: int64(len(data))})
		if err != nil {
			continue // no room while it loads
		}
		if _, err = fill.Write(data); err == nil {
			_, err = fill.Commit(g)
		}
		fill.Abort(err)
		if err == nil && store.Sync(context.Background()) == nil {
			_, _ = fmt.Printf("durable %d\n", version) // the other process may be gone
		}
	}
}

// useAtRandom does one thing to a store.
func useAtRandom(t *testing.T, store *cache.Store) {
	i := rand.IntN(killedKeys) //nolint:gosec // no secret
	key, name := killedKey(i), fmt.Sprint("shared", i/2)
	switch rand.IntN(10) { //nolint:gosec // no secret
	case 0:
		_, _ = store.Purge(context.Background(), cache.Selector(key))
	case 1, 2, 3:
		g := store.Raise(key, cache.Published)
		data := labelled(name, rand.Uint64N(4)) //nolint:gosec // no secret
		size := int64(len(data))
		if i%3 == 0 {
			size = -1
		}
		fill, err := store.Begin(key, g, cache.FillSpec{Size: size, Parts: true})
		if err != nil {
			return
		}
		if i%3 == 1 {
			data, err = pourAhead(fill, data)
		}
		for len(data) > 0 && err == nil {
			var n int
			n, err = fill.Write(data[:min(len(data), 20_000)])
			data = data[n:]
		}
		if err == nil {
			_, err = fill.Commit(g)
		}
		fill.Abort(err)
	default:
		data, err := readAll(store, key)
		if err != nil {
			if !errors.Is(err, cache.ErrMiss) {
				t.Error(err)
			}
			return
		}
		if _, ok := isLabelled(data, name); !ok {
			_, _ = fmt.Printf("wrong bytes under %s\n", key)
		}
	}
}

// pourAhead writes all but the beginning of a file before that, and returns what is to be written after it.
func pourAhead(fill *cache.Fill, data []byte) ([]byte, error) {
	from := len(data) / 4
	part, err := fill.Ahead(int64(from), fill.Size())
	if err != nil {
		return nil, err
	}
	defer part.Close()
	for at := from; at < len(data) && err == nil; at += 20_000 {
		_, err = part.Write(data[at:min(at+20_000, len(data))])
	}
	if err == nil {
		_, err = fill.Write(data[:from])
	}
	if err == nil {
		_, err = fill.Advance()
	}
	return nil, err
}

// TestNothingWrongIsLeftByKilling kills a process that uses a store in all ways, at random moments, and looks at what is
// left: nothing is wrong, nothing is left over, and what was durable is there.
func TestNothingWrongIsLeftByKilling(t *testing.T) {
	times := *kills
	if testing.Short() {
		times = min(times, 5)
	}
	dir := filepath.Join(t.TempDir(), "store")
	var durable uint64
	for range times {
		durable = max(durable, runAndKill(t, dir))
		store := open(t, dir, nil, cache.Limits{MaxSize: killedMaxSize})
		<-store.Ready()
		judgeKilled(t, store, dir, durable)
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			return
		}
	}
}

// runAndKill returns the last version of the anchor that the process knew to be durable.
func runAndKill(t *testing.T, dir string) (durable uint64) {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run=^TestTheProcessThatIsKilled$") //nolint:gosec // this test's own binary
	command.Env = append(os.Environ(), killedDirectory+"="+dir)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	var once sync.Once
	for lines.Scan() {
		line := lines.Text()
		number, ok := strings.CutPrefix(line, "durable ")
		if !ok {
			t.Error(line)
			_ = command.Process.Kill()
			continue
		}
		if durable, err = strconv.ParseUint(number, 10, 64); err != nil {
			t.Error(err)
		}
		once.Do(func() {
			// A moment that nobody chose.
			time.AfterFunc(time.Duration(rand.IntN(int(300*time.Millisecond))), func() { _ = command.Process.Kill() }) //nolint:gosec // no secret
		})
	}
	_ = command.Wait() // it was killed
	return durable
}

func judgeKilled(t *testing.T, store *cache.Store, dir string, durable uint64) {
	t.Helper()
	for i := range killedKeys {
		data, err := readAll(store, killedKey(i))
		if errors.Is(err, cache.ErrMiss) {
			continue
		}
		if _, ok := isLabelled(data, fmt.Sprint("shared", i/2)); err != nil || !ok {
			t.Errorf("%s: %d wrong bytes, %v", killedKey(i), len(data), err)
		}
	}
	anchor, err := readAll(store, cachetest.KeyOf("anchor"))
	version, ok := isLabelled(anchor, "anchor")
	if err != nil || !ok || version < durable {
		t.Errorf("version %d was durable, and now there is %d: %v", durable, version, err)
	}
	var total int64
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range blobs {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	stats := store.Stats()
	if stats.Bytes != total || stats.Blobs != len(blobs) || stats.Damaged != 0 || stats.Bytes > killedMaxSize {
		t.Errorf("%d files of %d bytes are left, and the store counts %+v", len(blobs), total, stats)
	}
	if parts, err := os.ReadDir(filepath.Join(dir, "fills")); err != nil || len(parts) > 0 {
		t.Errorf("%d parts are left, %v", len(parts), err)
	}
}
