package pagetest

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a page may take to become what a test waits for.
const patience = 60 * time.Second

// foreignName leads to this machine in the tests' browsers.
const foreignName = "evil.example"

// tab is a tab of a browser, as a person has it.
type tab struct {
	ctx context.Context
	t   *testing.T
	// scripts says that scripts run.
	scripts bool

	mu sync.Mutex
	// complaints are what the browser's console has said.
	complaints []string
}

// look is how a tab is looked at.
type look struct {
	width, height int64
	dark          bool
	// withoutScripts says that scripts are switched off.
	withoutScripts bool
	// zone is the viewer's; UTC if it is empty.
	zone string
}

// desktop and phone are looks.
var (
	desktop = look{width: 1280, height: 900}
	phone   = look{width: 360, height: 740}
)

// openBrowser starts a browser of its own, which ends with the test. Without one the test is skipped.
func openBrowser(t *testing.T, how look) *tab {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("no browser is here: install Debian's package chromium")
	}
	// A name that anybody could let lead to this machine.
	rules := chromedp.Flag("host-resolver-rules", "MAP "+foreignName+" 127.0.0.1")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(int(how.width), int(how.height)), rules)
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses root else
	}
	allocated, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocated)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits until its folder isn't used any more
		cancel()
	})
	opened := &tab{ctx: ctx, t: t, scripts: !how.withoutScripts}
	if err := chromedp.Do(ctx); err != nil { // starts the browser, which ends with ctx
		t.Fatalf("starting %s: %v", program, err)
	}
	if err := chromedp.Listen(ctx, opened.hear); err != nil {
		t.Fatal(err)
	}
	scheme := "light"
	if how.dark {
		scheme = "dark"
	}
	command(opened, log.Enable, cdp.Empty{})
	command(opened, runtime.Enable, cdp.Empty{})
	command(opened, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	command(opened, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: cmp.Or(how.zone, "UTC")})
	command(opened, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: how.withoutScripts})
	opened.do(chromedp.EmulateViewport(how.width, how.height))
	return opened
}

// hear notes what the console says: errors of scripts, and what the Content-Security-Policy has stopped.
func (b *tab) hear(event any) {
	said := ""
	switch event := event.(type) {
	case *runtime.EventExceptionThrown:
		said = event.ExceptionDetails.Text
		if thrown := event.ExceptionDetails.Exception; thrown != nil {
			said += " " + thrown.Description
		}
	case *log.EventEntryAdded:
		if event.Entry.Level == "error" {
			said = event.Entry.Text + " " + event.Entry.URL
		}
	}
	if said != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.complaints = append(b.complaints, said)
	}
}

// heard returns what the console has said.
func (b *tab) heard() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.complaints...)
}

// command has the browser do something that no person can.
func command[P, R any](b *tab, what cdp.Command[P, R], parameters P) (answer R) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	answer, err := chromedp.Call(ctx, what, parameters)
	if err != nil {
		b.t.Fatalf("%s: %v", what.Method, err)
	}
	return answer
}

// do does what a person does, one after another.
func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("in the browser: %v; the console says %q", err, b.heard())
	}
}

// read returns what an expression gives.
func read[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v; the console says %q", expression, err, b.heard())
	}
	return value
}

// await waits until an expression is true.
func (b *tab) await(what, expression string) {
	b.t.Helper()
	b.awaitFor(patience, what, expression)
}

// awaitFor waits longer.
func (b *tab) awaitFor(limit time.Duration, what, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, limit)
	defer cancel()
	for ctx.Err() == nil {
		// A page that is being left has nothing to say.
		if is, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")")); err == nil && is {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	b.t.Fatalf("waited in vain until %s; the page says\n%s\nand the console %q", what, b.text(), b.heard())
}

// text is what a person reads on the page.
func (b *tab) text() string {
	b.t.Helper()
	return read[string](b, `document.body.innerText`)
}

// open opens an address and waits until the page is there.
func (b *tab) open(address string) {
	b.t.Helper()
	b.do(chromedp.Navigate(address), chromedp.WaitReady("body"))
}

// click clicks what a selector finds first, and waits until the next page is there.
func (b *tab) click(selector string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(selector)); err != nil {
		b.t.Fatalf("clicking %s: %v; the page says\n%s", selector, err, b.text())
	}
}

// expect fails the test unless the page says all of that.
func (b *tab) expect(texts ...string) {
	b.t.Helper()
	shown := b.text()
	for _, text := range texts {
		if !strings.Contains(shown, text) {
			b.t.Errorf("the page doesn't say %q; it says\n%s", text, shown)
		}
	}
}

// picture keeps a picture of the whole page in the folder that PICTURES names; nothing is kept without.
func (b *tab) picture(name string) {
	b.t.Helper()
	folder := os.Getenv("PICTURES")
	if folder == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	whole := chromedp.FullScreenshot(100)
	if read[int](b, `document.documentElement.scrollHeight`) > 7000 {
		whole = chromedp.CaptureScreenshot() // what one sees at first
	}
	drawn, err := chromedp.Run(ctx, whole)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), drawn, 0o600); err != nil {
		b.t.Fatal(err)
	}
}
