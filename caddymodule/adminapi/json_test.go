package adminapi_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// TestTheNamesInJSONStayWhatScriptsKnow writes each request and answer with all its fields. The names are those that people's
// scripts use: none may be changed.
func TestTheNamesInJSONStayWhatScriptsKnow(t *testing.T) {
	at := time.Date(2026, time.November, 28, 12, 0, 0, 0, time.UTC)
	ratio, size := 0.5, int64(2)
	project := adminapi.ProjectStatus{Upstream: "u", Project: "24", Names: []string{"group/app"}, State: "off", From: "run time", Since: &at}
	const projectJSON = `"upstream":"u","project":"24","names":["group/app"],"state":"off","from":"run time","since":"2026-11-28T12:00:00Z"`
	for want, value := range map[string]any{
		`{"build":{"version":"v1.2.3","commit":"c","modified":true,"caddy":"v2","go":"go1"},"started":"2026-11-28T12:00:00Z","uptime_seconds":1,"working":true,"switches":"read","requests":{"hit":2},"hit_ratio":0.5,` +
			`"bytes_sent":{"disk":3},"bytes_upstream":4,"bytes_saved":5,"bytes_warmed":6,` +
			`"stores":[{"directory":"d","usable":true,"since":"2026-11-28T12:00:00Z","loading":true,"read":"2026-11-28T12:00:00Z","bytes":1,"max_size":2,"pinned_bytes":3,"memory_bytes":4,"entries":5,"files":6,"fills":7,` +
			`"found_files":14,"found_bytes":15,"grants":8,"evictions":9,"no_room":10,"disk_errors":11,"checksum_failures":12,"damaged_files":13,` +
			`"shared_store":{"store":"s3://b","endpoint":"https://e","reads":true,"writes":true,"state":"down","since":"2026-11-28T12:00:00Z","reason":"r","owed_files":16,"owed_bytes":17,"owed_evictions":18}}],` +
			`"upstreams":[{"upstream":"u","gitlab":"up","object_storage":"down","gitlab_since":"2026-11-28T12:00:00Z","object_storage_since":"2026-11-28T12:00:00Z","gitlab_answered":"2026-11-28T12:00:00Z","object_storage_answered":"2026-11-28T12:00:00Z","at_start":{"asked":"2026-11-28T12:00:00Z","seconds":0.5,"status":401,"text":"t",` +
			`"looks_like_gitlab":true},"rules":["13.5"],"probe_answered":true,"switched":"on","from":"config","since":"2026-11-28T12:00:00Z"}],` +
			`"recent_failures":[{"time":"2026-11-28T12:00:00Z","what":"w","file":"f","error":"e","times":2}]}`: adminapi.Status{
			Build:   adminapi.Build{Version: "v1.2.3", Commit: "c", Modified: true, Caddy: "v2", Go: "go1"},
			Started: at, UptimeSeconds: 1, Working: true, Switches: adminapi.SwitchesRead, Requests: map[string]int64{"hit": 2}, HitRatio: &ratio,
			BytesSent: map[string]int64{"disk": 3}, BytesUpstream: 4, BytesSaved: 5, BytesWarmed: 6,
			Stores: []adminapi.StoreStatus{{
				Directory: "d", Usable: true, Since: &at, Loading: true, Read: &at, Bytes: 1, MaxSize: 2, PinnedBytes: 3, MemoryBytes: 4, Entries: 5, Files: 6, Fills: 7, FoundFiles: 14, FoundBytes: 15, Grants: 8,
				Evictions: 9, NoRoom: 10, DiskErrors: 11, ChecksumFailures: 12, Damaged: 13,
				SharedStore: &adminapi.SharedStoreStatus{Store: "s3://b", Endpoint: "https://e", Reads: true, Writes: true, State: adminapi.SharedDown, Since: &at, Reason: "r", OwedFiles: 16, OwedBytes: 17, OwedEvictions: 18},
			}},
			Upstreams: []adminapi.UpstreamStatus{{
				Upstream: "u", GitLab: adminapi.Up, ObjectStorage: adminapi.Down, GitLabSince: &at, ObjectStorageSince: &at, GitLabAnswered: &at, ObjectStorageAnswered: &at,
				AtStart: &adminapi.StartAnswer{Asked: at, Seconds: 0.5, Status: 401, Text: "t", LooksLikeGitLab: true}, Rules: []string{"13.5"},
				ProbeAnswered: true, Switched: "on", From: "config", Since: &at,
			}},
			RecentFailures: []adminapi.Failure{{Time: at, What: "w", File: "f", Error: "e", Times: 2}},
		},
		`{"others":[{"upstream":"u","project":"","state":"on","from":"config's default"}],"projects":[{` + projectJSON + `}]}`: adminapi.ProjectList{
			Others: []adminapi.ProjectStatus{{Upstream: "u", State: "on", From: "config's default"}}, Projects: []adminapi.ProjectStatus{project},
		},
		`{"upstream":"u","project":"24"}`: adminapi.SwitchRequest{Upstream: "u", Project: "24"},
		`{"all":true}`:                    adminapi.SwitchRequest{All: true},
		`{` + projectJSON + `,"kept":[{` + projectJSON + `}],"warning":"w"}`: adminapi.SwitchAnswer{
			ProjectStatus: project, Kept: []adminapi.ProjectStatus{project}, Warning: "w",
		},
		`{"entries":[{"directory":"d","upstream":"u","project":"24","package":"p","version":"1","file":"f","size":1,"sha256":"s","stored":"2026-11-28T12:00:00Z",` +
			`"confirmed":"2026-11-28T12:00:00Z","last_used":"2026-11-28T12:00:00Z","hits":2,"pinned_until":"2026-11-28T12:00:00Z"}],"next":"n"}`: adminapi.EntryList{
			Entries: []adminapi.EntryStatus{{
				Directory: "d", Upstream: "u", Project: "24", Package: "p", Version: "1", File: "f", Size: 1, SHA256: "s", Stored: at, Confirmed: &at, LastUsed: at, Hits: 2, PinnedUntil: &at,
			}},
			Next: "n",
		},
		`{"upstream":"u","project":"24","package":"p","version":"1","file":"f","all":true,"soft":true,"grants":true,"dry_run":true}`: adminapi.PurgeRequest{
			Upstream: "u", Project: "24", Package: "p", Version: "1", File: "f", All: true, Soft: true, Grants: true, DryRun: true,
		},
		`{"fills":[{"directory":"d","upstream":"u","project":"24","package":"p","version":"1","file":"f","bytes":1,"size":2,"from":"gitlab","connections":5,"callers":3,"begun":"2026-11-28T12:00:00Z"}],"fills_total":4,` +
			`"uploads":[{"upstream":"u","project":"24","package":"p","version":"1","file":"f","bytes":1,"size":null,"begun":"2026-11-28T12:00:00Z"}],"uploads_total":5,"warmings":[],"verifications":[]}`: adminapi.Activity{
			Fills:      []adminapi.FillStatus{{Directory: "d", Upstream: "u", Project: "24", Package: "p", Version: "1", File: "f", Bytes: 1, Size: &size, From: adminapi.FromGitLab, Connections: 5, Callers: 3, Begun: at}},
			FillsTotal: 4, Uploads: []adminapi.UploadStatus{{Upstream: "u", Project: "24", Package: "p", Version: "1", File: "f", Bytes: 1, Begun: at}},
			UploadsTotal: 5, Warmings: []adminapi.WarmingStatus{}, Verifications: []adminapi.VerificationStatus{},
		},
		`{"at":"2026-11-28T12:00:00Z","bytes":1,"entries":2,"projects":[{"upstream":"u","project":"24","bytes":3,"entries":4,"hits":5,"packages":[{"package":"p","bytes":6,"entries":7,"hits":8}],` +
			`"other_packages":9,"other_bytes":10}],"other_projects":11,"other_bytes":12,"most_used":[],"largest":[]}`: adminapi.Usage{
			At: at, Bytes: 1, Entries: 2, Projects: []adminapi.ProjectUsage{{
				Upstream: "u", Project: "24", Bytes: 3, Entries: 4, Hits: 5, Packages: []adminapi.PackageUsage{{Package: "p", Bytes: 6, Entries: 7, Hits: 8}}, OtherPackages: 9, OtherBytes: 10,
			}}, OtherProjects: 11, OtherBytes: 12, MostUsed: []adminapi.EntryStatus{}, Largest: []adminapi.EntryStatus{},
		},
		`{"refusals":[{"time":"2026-11-28T12:00:00Z","upstream":"u","project":"24","outcome":"refused","status":403,"why":"w","times":1}],"others":{"time":"2026-11-28T12:00:00Z","times":2}}`: adminapi.RefusalList{
			Refusals: []adminapi.Refusal{{Time: at, Upstream: "u", Project: "24", Outcome: "refused", Status: 403, Why: "w", Times: 1}}, Others: adminapi.RefusalsOfOthers{Time: &at, Times: 2},
		},
		`{"page":"p"}`: adminapi.Signpost{Page: "p"},
		`{"entries":1,"bytes":2,"held_bytes":4,"grants":3,"names":["n"],"warning":"w"}`: adminapi.PurgeAnswer{
			Entries: 1, Bytes: 2, HeldBytes: 4, Grants: 3, Names: []string{"n"}, Warning: "w",
		},
		`{"verifications":[{"directory":"d","running":true,"begun":"2026-11-28T12:00:00Z","ended":"2026-11-28T12:00:00Z","entries":1,"total":2,"bytes":3,` +
			`"total_bytes":4,"files":5,"damaged":6,"error":"e"}]}`: adminapi.VerificationList{Verifications: []adminapi.VerificationStatus{{
			Directory: "d", Running: true, Begun: &at, Ended: &at, Entries: 1, Total: 2, Bytes: 3, TotalBytes: 4, Files: 5, Damaged: 6, Error: "e",
		}}},
		`{"upstream":"u","project":"24","package":"p","version":"1","file":"f","all":true}`: adminapi.UnpinRequest{
			Upstream: "u", Project: "24", Package: "p", Version: "1", File: "f", All: true,
		},
		`{"span":"hour","step":60,"points":[{"time":"2026-11-28T12:00:00Z","known":true,"requests":1,"downloads":2,"hits":3,"uploads":4,"refused":5,"failed":6,` +
			`"bytes_sent":7,"bytes_upstream":8,"asked":9,"spared":10,"first_byte_median":0.5,"first_byte_99th":0.5}],` +
			`"total":{"time":"2026-11-28T12:00:00Z","known":false,"requests":0,"downloads":0,"hits":0,"uploads":0,"refused":0,"failed":0,` +
			`"bytes_sent":0,"bytes_upstream":0,"asked":0,"spared":0,"first_byte_median":null,"first_byte_99th":null},"kept":true}`: adminapi.History{
			Span: adminapi.SpanHour, Step: 60, Points: []adminapi.HistoryPoint{{
				Time: at, Known: true, Requests: 1, Downloads: 2, Hits: 3, Uploads: 4, Refused: 5, Failed: 6, BytesSent: 7, BytesUpstream: 8, Asked: 9, Spared: 10,
				FirstByteMedian: &ratio, FirstByte99th: &ratio,
			}}, Total: adminapi.HistoryPoint{Time: at}, Kept: true,
		},
		`{"pins":1,"names":["n"],"warning":"w"}`: adminapi.UnpinAnswer{Pins: 1, Names: []string{"n"}, Warning: "w"},
		`{"upstream":"u","project":"24","package":"p","version":"1","token":"t","directory":"d","pin":"30d"}`: adminapi.WarmRequest{
			Upstream: "u", Project: "24", Package: "p", Version: "1", Token: "t", Directory: "d", Pin: "30d",
		},
		`{"id":"i","running":true,"joined":true,"upstream":"u","project":"24","package":"p","version":"1","directories":["d"],"anonymous":true,"listed":true,"files":1,"bytes":2,"already":3,"fetched":4,"pinned":5,"failed":6,"done_bytes":7,"no_room":true,"left":8,` +
			`"waits_until":"2026-11-28T12:00:00Z","errors":["e"],"error":"f",` +
			`"begun":"2026-11-28T12:00:00Z","ended":"2026-11-28T12:00:00Z"}`: adminapi.WarmingStatus{
			ID: "i", Running: true, Joined: true, Upstream: "u", Project: "24", Package: "p", Version: "1", Directories: []string{"d"}, Anonymous: true, NoRoom: true, Left: 8, WaitsUntil: &at,
			Listed: true, Files: 1, Bytes: 2, Already: 3, Fetched: 4, Pinned: 5, Failed: 6, DoneBytes: 7, Errors: []string{"e"}, Error: "f", Begun: at, Ended: &at,
		},
	} {
		got, err := json.Marshal(value)
		if err != nil || string(got) != want {
			t.Errorf("%T is written as\n%s, want\n%s; %v", value, got, want, err)
		}
	}
}

func TestARequestSaysWhatItIsAbout(t *testing.T) {
	for _, test := range []struct {
		request interface{ Check() error }
		want    string
	}{
		{adminapi.SwitchRequest{Project: "24"}, ""},
		{adminapi.SwitchRequest{All: true}, ""},
		{adminapi.SwitchRequest{}, "which project? Name one, or say all"},
		{adminapi.SwitchRequest{Upstream: "u"}, "which project? Name one, or say all"},
		{adminapi.SwitchRequest{Project: "24", All: true}, "either all, or a project; not both"},
		{adminapi.PurgeRequest{All: true}, ""},
		{adminapi.PurgeRequest{All: true, Soft: true}, ""},
		{adminapi.PurgeRequest{Project: "24", Package: "p", Version: "1", File: "f", Soft: true}, ""},
		{adminapi.PurgeRequest{Project: "24", Grants: true}, ""},
		{adminapi.PurgeRequest{All: true, Grants: true}, ""},
		{adminapi.PurgeRequest{}, "what is to be purged? Name a project, and its package, version and file if you like; or say all"},
		{adminapi.PurgeRequest{All: true, File: "f"}, "either all, or a project; not both"},
		{adminapi.PurgeRequest{Project: "24", Version: "1"}, "a version needs its package, and a file its version"},
		{adminapi.PurgeRequest{Project: "24", Package: "p", File: "f"}, "a version needs its package, and a file its version"},
		{adminapi.PurgeRequest{Project: "24", Grants: true, Soft: true}, "grants are those of a project or of all, and can't be soft"},
		{adminapi.PurgeRequest{Project: "24", Package: "p", Grants: true}, "grants are those of a project or of all, and can't be soft"},
	} {
		told := ""
		if err := test.request.Check(); err != nil {
			told = err.Error()
		}
		if told != test.want {
			t.Errorf("%+v: %q, want %q", test.request, told, test.want)
		}
	}
}
