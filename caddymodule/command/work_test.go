package command

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestLongWorkTellsALineNowAndThenWhereNobodyWatchesABar(t *testing.T) {
	var out bytes.Buffer
	p := (&invocation{out: &out}).newProgress("verifying")
	p.show(1<<20, 1<<30, "1 of 1000 files")
	if out.Len() != 0 {
		t.Errorf("at once it tells %q", out.String())
	}
	p.told = time.Now().Add(-lineEvery)
	p.show(1<<29, 1<<30, "500 of 1000 files")
	p.show(1<<29, 1<<30, "501 of 1000 files")
	p.end()
	if want := "verifying: 500 of 1000 files, 512 MiB of 1.0 GiB\n"; out.String() != want {
		t.Errorf("it tells %q", out.String())
	}
	out.Reset()
	p = (&invocation{out: &out, json: true}).newProgress("verifying")
	p.told = time.Now().Add(-lineEvery)
	if p.show(1, 2, "x"); out.Len() != 0 {
		t.Errorf("among JSON it tells %q", out.String())
	}
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
