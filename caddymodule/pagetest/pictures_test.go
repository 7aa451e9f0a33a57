package pagetest

import (
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

// places are all pages.
var places = []string{"", "?span=week", "files", "files?project=24", "projects", "actions", "troubles", "purge?project=24&package=edge", "purge?grants=yes&all=yes", "switch?all=yes&state=off"}

// TestThePagesFitAndSayNothingToTheConsole opens each page in light and dark, wide and narrow. None may be wider than the screen, and no
// script may fail or be stopped.
func TestThePagesFitAndSayNothingToTheConsole(t *testing.T) {
	s := startSite(t, morning(), "actions")
	for name, how := range map[string]look{
		"light": desktop, "dark": {width: 1280, height: 900, dark: true}, "phone": phone, "phone-dark": {width: 360, height: 740, dark: true},
		"tablet": {width: 768, height: 1024},
	} {
		t.Run(name, func(t *testing.T) {
			b := openBrowser(t, how)
			for _, place := range append(places, "nowhere/at/all") {
				b.open(s.url + place)
				if wide := read[int64](b, `document.documentElement.scrollWidth`); wide > how.width {
					t.Errorf("/%s is %d wide", place, wide)
				}
				b.picture(name + "-" + strings.NewReplacer("?", "_", "/", "_", "&", "_", "=", "_").Replace(place))
			}
			for _, said := range b.heard() {
				if !strings.Contains(said, "404 (Not Found)") {
					t.Errorf("the console says %s", said)
				}
			}
		})
	}
}

// TestAnEmptyAndABrokenEdgeHaveAPage looks at the two ends.
func TestAnEmptyAndABrokenEdgeHaveAPage(t *testing.T) {
	s := startSite(t, fakeedge.Empty(time.Now()), "")
	b := openBrowser(t, desktop)
	b.open(s.url)
	b.picture("empty")
	b.expect("Working.", "Nothing is on its way in.", "Nothing is stored yet.", "Nothing was downloaded in the last hour.")
	s.edge.Change(func(world *fakeedge.World) { *world = fakeedge.Down(time.Now()) })
	b.open(s.url)
	b.picture("down")
	b.expect("Not working as it should: gitlab.example.com doesn't answer.")
}
