package command

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestLongWorkTellsALineNowAndThenWhereNobodyWatchesABar(t *testing.T) {
	var out bytes.Buffer
	p := (&invocation{out: &out}).newProgress("verifying")
	p.show(1, 1000, 1<<20, 1<<30)
	if out.Len() != 0 {
		t.Errorf("at once it tells %q", out.String())
	}
	p.told = time.Now().Add(-lineEvery)
	p.show(500, 1000, 1<<29, 1<<30)
	p.show(501, 1000, 1<<29, 1<<30)
	p.end()
	if want := "verifying: 500 of 1000 files, 512 MiB of 1.0 GiB\n"; out.String() != want {
		t.Errorf("it tells %q", out.String())
	}
	out.Reset()
	p = (&invocation{out: &out, json: true}).newProgress("verifying")
	p.told = time.Now().Add(-lineEvery)
	if p.show(1, 2, 1, 2); out.Len() != 0 {
		t.Errorf("among JSON it tells %q", out.String())
	}
}

// TestABarsWordsAndItsLengthAreOfOneTime looks at what stands on the terminal after each look.
func TestABarsWordsAndItsLengthAreOfOneTime(t *testing.T) {
	var out bytes.Buffer
	p := (&invocation{out: &out}).newProgress("fetching")
	p.addBar()
	for _, look := range []struct {
		files, ofFiles int
		bytes, ofBytes int64
		want           string // what stands on the line, but for the bar and the time
	}{
		{0, 0, 0, 0, "fetching, finding out which files there are"},
		{0, 6, 0, 600 << 20, "fetching, 0 of 6 files, 0 B of 600 MiB 0%"},
		// Five files were stored before. 500 MiB within a moment are no rate.
		{5, 6, 500 << 20, 600 << 20, "fetching, 5 of 6 files, 500 MiB of 600 MiB 83%"},
		{6, 6, 500 << 20, 600 << 20, ""}, // gone at the end, also where one content is two files
	} {
		out.Reset()
		p.show(look.files, look.ofFiles, look.bytes, look.ofBytes)
		lines := strings.Split(out.String(), "\r")
		line := regexp.MustCompile(`^\S\s|\s+(\||\[).*`).ReplaceAllString(lines[len(lines)-1], "")
		if got := strings.Join(strings.Fields(line), " "); got != look.want {
			t.Errorf("%d of %d files: %q, as %q", look.files, look.ofFiles, out.String(), got)
		}
	}
	p.end()
}

func TestWhoStopsWaitingLeavesTheWorkRunning(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // as Ctrl-C does
	command := new(cobra.Command)
	command.SetContext(ctx)
	looks := 0
	err := (&invocation{command: command}).watch(func() (bool, error) {
		looks++
		return false, nil
	})
	if err == nil || looks != 1 {
		t.Errorf("%d looks, %v", looks, err)
	}
}

func TestATokenFileHoldsOneTokenAndNothingElse(t *testing.T) {
	for content, want := range map[string]string{"abc\n": "abc", "  abc\r\n": "abc", "": "", " \n": "", "two tokens": "", "two\ntokens": ""} {
		got, err := readToken("-", strings.NewReader(content))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	if _, err := readToken(t.TempDir()+"/missing", nil); err == nil {
		t.Error("a missing file is a token")
	}
	if got, err := readToken("", nil); got != "" || err != nil {
		t.Errorf("without a file: %q, %v", got, err)
	}
}
