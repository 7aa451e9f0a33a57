package pagetest

import (
	"bufio"
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// docsPictures are those in docs/pictures, and what each of them shows.
var docsPictures = map[string]struct {
	look
	place string
}{
	"page-light": {look{width: 1240, height: 1960}, "?span=day"},
	"page-dark":  {look{width: 1240, height: 1960, dark: true}, "?span=day"},
	"page-phone": {look{width: 390, height: 1560}, "?span=day"},
}

// mostBytes is how large a picture may be: who reads the docs loads them.
const mostBytes = 300 << 10

// TestThePicturesOfTheDocs draws the page of an edge that has worked for a day (TestADayToLookAt in caddymodule) into docs/pictures. It is
// run by hand, with DOCS_PICTURES=yes.
func TestThePicturesOfTheDocs(t *testing.T) {
	if os.Getenv("DOCS_PICTURES") == "" {
		t.Skip("only with DOCS_PICTURES=yes")
	}
	page := passADay(t)
	for name, picture := range docsPictures {
		b := openBrowser(t, picture.look)
		b.open(page + picture.place)
		b.await("it is live", `!document.querySelector("[data-mark=live]").hidden`)
		drawn, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if drawn, err = smaller(drawn); err != nil {
			t.Fatal(err)
		}
		if len(drawn) > mostBytes {
			t.Errorf("%s has %d bytes", name, len(drawn))
		}
		if err := os.WriteFile(filepath.Join("..", "..", "docs", "pictures", name+".png"), drawn, 0o644); err != nil { //nolint:gosec // a page of the docs
			t.Fatal(err)
		}
	}
}

// smaller writes a picture with its 256 most frequent colours, and the nearest of them for the others: those are shades at the edges of
// letters.
func smaller(drawn []byte) ([]byte, error) {
	whole, err := png.Decode(bytes.NewReader(drawn))
	if err != nil {
		return nil, err
	}
	times := make(map[color.Color]int)
	for y := range whole.Bounds().Dy() {
		for x := range whole.Bounds().Dx() {
			times[whole.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(times), func(a, b color.Color) int { return cmp.Compare(times[b], times[a]) })
	few := image.NewPaletted(whole.Bounds(), colours[:min(len(colours), 256)])
	places := make(map[color.Color]uint8, len(colours))
	for _, colour := range colours {
		places[colour] = uint8(few.Palette.Index(colour)) //nolint:gosec // below 256
	}
	for y := range whole.Bounds().Dy() {
		for x := range whole.Bounds().Dx() {
			few.SetColorIndex(x, y, places[whole.At(x, y)])
		}
	}
	var written bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&written, few)
	return written.Bytes(), err
}

// passADay starts an edge whose day passes in minutes, and returns its page's address. It ends with the test.
func passADay(t *testing.T) (page string) {
	t.Helper()
	program := filepath.Join(programFolder, "day")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "./caddymodule") //nolint:gosec // the repository's own program
	build.Dir = filepath.Join("..", "..")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v; %s", err, said)
	}
	day := exec.Command(program, "-test.run", "^TestADayToLookAt$", "-day") //nolint:gosec // built above
	day.Dir = ".."
	input, err := day.StdinPipe() // whose end ends it
	if err != nil {
		t.Fatal(err)
	}
	output, err := day.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := day.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		said, _ := io.ReadAll(output)
		if err := day.Wait(); err != nil {
			t.Errorf("%v; %s", err, said)
		}
	})
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if address, is := strings.CutPrefix(lines.Text(), "page: "); is {
			return address
		}
		t.Log(lines.Text())
	}
	t.Fatal("the day has ended early")
	return ""
}
