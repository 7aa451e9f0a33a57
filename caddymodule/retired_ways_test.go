package caddymodule

import "testing"

// TestAWayThatNoConfigGoesIsNoOutage reloads with other settings of the transport while GitLab is down.
func TestAWayThatNoConfigGoesIsNoOutage(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	awaitProbeAnswered(t)
	gitlab.SetDown(true)
	await(t, func() bool {
		e.do(t, call{path: filePath("cold.bin"), token: developer})
		return isDown("gitlab")
	})
	e.reload(t, "transport http {\n dial_timeout 2s\n }")
	await(t, func() bool { return len(runningState().allBreakers()) == 1 })
	if isDown("gitlab") {
		t.Error("a way that no config goes counts as an outage")
	}
}
