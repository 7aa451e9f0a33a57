package caddymodule

import (
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
)

// TestDefaultsOfASharedStoreAreThoseOfTheDocs reads the table of docs/settings.md. The bucket's own test has the region and the endpoint.
func TestDefaultsOfASharedStoreAreThoseOfTheDocs(t *testing.T) {
	docs, err := os.ReadFile("../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	said := func(setting string) string {
		t.Helper()
		row := regexp.MustCompile("(?m)^\\| `" + setting + "` \\| `([^`]+)` \\|").FindSubmatch(docs)
		if row == nil {
			t.Fatalf("there is no row of %s", setting)
		}
		return string(row[1])
	}
	settings := &SharedStore{URL: "s3://edges"}
	config, err := settings.config()
	if err != nil {
		t.Fatal(err)
	}
	config.Transport = http.DefaultTransport
	shared, err := settings.open(config)
	if err != nil {
		t.Fatal(err)
	}
	for setting, is := range map[string]time.Duration{"first_byte": shared.FirstByte(), "refresh": shared.Refresh()} {
		if want, err := caddy.ParseDuration(said(setting)); err != nil || is != want {
			t.Errorf("%s is %s, and should be %s, %v", setting, is, want, err)
		}
	}
	if want, err := humanize.ParseBytes(said("min_size")); err != nil || shared.minSize != int64(want) { //nolint:gosec // a small number
		t.Errorf("min_size is %d, and should be %d, %v", shared.minSize, want, err)
	}
	if said("direction") != directionBoth || !shared.reads || !shared.writes {
		t.Errorf("reads %v, writes %v", shared.reads, shared.writes)
	}
}
