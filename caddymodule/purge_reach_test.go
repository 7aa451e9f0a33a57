package caddymodule

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAPurgeReachesWhatItNamesAndNothingElse stores files that differ in one part of their names each, and purges by ever more of
// them, also softly. What is left needs no question.
func TestAPurgeReachesWhatItNamesAndNothingElse(t *testing.T) {
	names := []string{"24 pkg 1.0.0 app.bin", "24 pkg 1.0.0 other.bin", "24 pkg 2.0.0 app.bin", "24 gkp 1.0.0 app.bin", "25 pkg 1.0.0 app.bin"}
	path := func(name string) string {
		parts := strings.Fields(name)
		return fmt.Sprintf("/api/v4/projects/%s/packages/generic/%s/%s/%s", parts[0], parts[1], parts[2], parts[3])
	}
	for purge, gone := range map[string][]string{
		"24 pkg 1.0.0 app.bin": names[:1],
		"24 pkg 1.0.0":         names[:2],
		"24 pkg":               names[:3],
		"24":                   names[:4],
		"25":                   names[4:],
		"24 pkg 3.0.0":         nil,
		"--all":                names,
	} {
		for _, soft := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, soft %v", purge, soft), func(t *testing.T) {
				gitlab := newGitLab(t)
				e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h", withAdmin)
				gitlab.SetClock(func() time.Time { return process.clock().Add(-time.Hour) })
				for i, name := range names {
					parts := strings.Fields(name)
					gitlab.Publish(map[string]int{"24": project, "25": otherProject}[parts[0]], parts[1], parts[2], parts[3], someBytes(1000, byte(i))) //nolint:gosec // few
				}
				gitlab.SetClock(process.clock)
				get := func(i int) {
					t.Helper()
					if got := e.do(t, call{path: path(names[i]), token: developer}); got.StatusCode != http.StatusOK || !bytes.Equal(got.body, someBytes(1000, byte(i))) { //nolint:gosec // few
						t.Fatalf("%s: %s", names[i], got.Status)
					}
				}
				for i := range names {
					get(i)
				}
				awaitNoFlight(t)
				args := append([]string{"purge"}, strings.Fields(purge)...)
				if soft {
					args = append(args, "--soft")
				}
				e.expectCLI(t, 0, nil, args...)
				for i, name := range names {
					gitlab.ResetRequests()
					get(i)
					if purged := len(gitlab.Requests()) > 0; purged != slices.Contains(gone, name) {
						t.Errorf("%s was purged: %v", name, purged)
					}
				}
			})
		}
	}
}
