package command

import (
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func TestStatusShowsWhereAnEdgeStands(t *testing.T) {
	build := adminapi.Build{Version: "v1.2.3", Commit: "2f0bd4d1a7b9", Caddy: "v2.11.9", Go: "go1.26.0"}
	answered := &adminapi.StartAnswer{Text: "answered in 85 ms"}
	refused := &adminapi.StartAnswer{Text: "no answer after 2 ms: connection refused"}
	store := adminapi.StoreStatus{Directory: "/cache", Usable: true, FoundFiles: 12, FoundBytes: 3 << 30}
	unusable, loading := store, store
	unusable.Usable, loading.Loading = false, true
	gitlab := func(state string, atStart *adminapi.StartAnswer) []adminapi.UpstreamStatus {
		return []adminapi.UpstreamStatus{{Upstream: "https://gitlab", GitLab: state, ObjectStorage: adminapi.Unasked, AtStart: atStart, Rules: []string{"13.5", "current"}}}
	}
	modified := build
	modified.Modified = true
	for _, test := range []struct {
		args   string
		status adminapi.Status
		want   []string
	}{
		{"status", adminapi.Status{Build: build, Upstreams: gitlab(adminapi.Up, answered), Stores: []adminapi.StoreStatus{store}}, []string{
			"v1.2.3, commit 2f0bd4d1a7b9; Caddy v2.11.9, go1.26.0\n", "https://gitlab  answered in 85 ms", "rules 13.5, current\n", "/cache          12 files found, 3.0 GiB\n",
		}},
		{"status", adminapi.Status{Build: modified, Upstreams: gitlab(adminapi.Unasked, nil), Stores: []adminapi.StoreStatus{loading}}, []string{
			"commit 2f0bd4d1a7b9 with changes;", "no answer yet", "/cache          is still being read\n",
		}},
		{"status", adminapi.Status{Upstreams: gitlab(adminapi.Unanswered, refused), Stores: []adminapi.StoreStatus{unusable}}, []string{
			"unknown; Caddy unknown, unknown\n", "connection refused", "/cache          can't be used\n",
		}},
		{"status --check", adminapi.Status{Switches: adminapi.SwitchesRead, Upstreams: gitlab(adminapi.Up, answered)}, []string{"working\n"}},
		{"status --check", adminapi.Status{Switches: adminapi.SwitchesRead, Upstreams: gitlab(adminapi.Unasked, nil)}, []string{"working\n"}},
		{"status --check", adminapi.Status{Switches: adminapi.SwitchesRead, Upstreams: gitlab(adminapi.Down, refused)}, []string{
			"working; https://gitlab: gitlab down, object storage unasked\n",
		}},
		{"status --check", adminapi.Status{Switches: adminapi.SwitchesRead, Upstreams: gitlab(adminapi.Unanswered, refused)}, []string{
			"working; https://gitlab: gitlab unanswered (no answer after 2 ms: connection refused), object storage unasked\n",
		}},
	} {
		code, printed, failure := newStandIn(t, test.status).run(t, strings.Fields(test.args)...)
		if code != 0 || failure != "" {
			t.Errorf("%s: exit code %d, %s", test.args, code, failure)
		}
		for _, part := range test.want {
			if !strings.Contains(printed, part) {
				t.Errorf("%s: no %q in\n%s", test.args, part, printed)
			}
		}
	}
}
