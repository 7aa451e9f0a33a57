package command

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/goldentest"
)

// goldenRun is one run of the command in a golden file.
type goldenRun struct {
	args string // as typed, without spaces in any
	// answers are the admin API's; none for a run that must fail before it makes a call.
	answers []any
}

// TestGoldensOfTheCommand has what runs of the command print, their errors and exit codes, in testdata/*.txt.
func TestGoldensOfTheCommand(t *testing.T) {
	// Times are printed as this machine has them.
	local := time.Local
	t.Cleanup(func() { time.Local = local })
	time.Local = time.UTC

	at := time.Date(2026, 11, 29, 8, 30, 0, 0, time.UTC)
	ratio := 0.75
	well := adminapi.Status{
		Working: true, Switches: adminapi.SwitchesRead, UptimeSeconds: 3600, HitRatio: &ratio,
		Requests:  map[string]int64{"hit": 75, "miss": 20, "streamed": 5},
		BytesSent: map[string]int64{"disk": 3 << 30, "fill": 1 << 30}, BytesUpstream: 1 << 30, BytesSaved: 3 << 30,
		Stores:    []adminapi.StoreStatus{{Directory: "/cache", Usable: true, Bytes: 1 << 30, MaxSize: 10 << 30, Entries: 20}},
		Upstreams: []adminapi.UpstreamStatus{{Upstream: "https://gitlab.example.com", GitLab: adminapi.Up, ObjectStorage: adminapi.Up, Switched: "on", From: "config's default"}},
	}
	ill := well
	ill.Working, ill.Switches = false, adminapi.SwitchesRecalled
	ill.Stores = []adminapi.StoreStatus{{
		Directory: "/cache", Since: &at, MaxSize: 10 << 30,
		SharedStore: &adminapi.SharedStoreStatus{
			Store: "s3://packages-edge/berlin", Endpoint: "https://minio.example.com", State: adminapi.SharedDown, Since: &at, Reason: "reading an object: the storage doesn't answer",
			OwedFiles: 3, OwedBytes: 5 << 20, OwedEvictions: 1,
		},
	}}
	ill.Upstreams = []adminapi.UpstreamStatus{
		{Upstream: "https://gitlab.example.com", GitLab: adminapi.Down, GitLabSince: &at, ObjectStorage: adminapi.Up, Switched: "on", From: "config's default"},
		{Upstream: "https://other.example.com", GitLab: adminapi.Up, ObjectStorage: adminapi.Down, ObjectStorageSince: &at, Switched: "off", From: "run time, for all", Since: &at},
	}
	ill.RecentFailures = []adminapi.Failure{
		{Time: at, Times: 12, What: "GitLab can't be asked", Error: "connection refused"},
		{Time: at, Times: 1, What: "a fetch broke off for good", File: "24/my_package/1.0.0/app.zip", Error: "unexpected EOF"},
	}
	on := adminapi.ProjectStatus{Upstream: "https://gitlab.example.com", Project: "24", State: "on", From: "config's default"}
	warming := adminapi.WarmingStatus{ID: "W1", Anonymous: true, Files: 6, Bytes: 600 << 20, Fetched: 1, Already: 5}
	noneListed := adminapi.WarmingStatus{ID: "W1", Anonymous: true, Error: "listing the package: GitLab answered 404"}
	size := int64(3 << 30)
	busy := adminapi.Activity{
		Fills: []adminapi.FillStatus{
			{Directory: "/cache", Upstream: "https://gitlab.example.com", Project: "24", Package: "my_package", Version: "1.0.0", File: "app.zip", Bytes: 1 << 30, Size: &size, From: adminapi.FromObjectStorage, Connections: 4, Callers: 3, Begun: at},
			{Directory: "/cache", Upstream: "https://gitlab.example.com", Project: "group/app", Package: "my_package", Version: "1.0.0", File: "notes.txt", Bytes: 512, From: adminapi.FromGitLab, Begun: at},
		}, FillsTotal: 4,
		Uploads: []adminapi.UploadStatus{{Upstream: "https://gitlab.example.com", Project: "24", Package: "my_package", Version: "1.0.1", File: "app.zip", Bytes: 3 << 20, Size: &size, Begun: at}}, UploadsTotal: 2,
		Warmings:      []adminapi.WarmingStatus{{ID: "W1", Running: true, Upstream: "https://gitlab.example.com", Project: "24", Package: "my_package", Files: 6, Fetched: 1, Begun: at}},
		Verifications: []adminapi.VerificationStatus{{Directory: "/cache"}},
	}
	idle := adminapi.Activity{Verifications: []adminapi.VerificationStatus{{Directory: "/cache"}}}
	usage := adminapi.Usage{
		At: at, Bytes: 5 << 30, Entries: 40, OtherProjects: 2, OtherBytes: 1 << 20,
		Projects: []adminapi.ProjectUsage{
			{Upstream: "https://gitlab.example.com", Project: "24", Bytes: 4 << 30, Entries: 30, Hits: 75, OtherPackages: 1, OtherBytes: 1 << 30, Packages: []adminapi.PackageUsage{{Package: "my_package", Bytes: 3 << 30, Entries: 29, Hits: 75}}},
			{Upstream: "https://gitlab.example.com", Project: "group/app", Bytes: 1 << 30, Entries: 8, Packages: []adminapi.PackageUsage{{Package: "tools", Bytes: 1 << 30, Entries: 8}}},
		},
		MostUsed: []adminapi.EntryStatus{{Upstream: "https://gitlab.example.com", Project: "24", Package: "my_package", Version: "1.0.0", File: "app.zip", Size: 3 << 30, Hits: 70}},
		Largest:  []adminapi.EntryStatus{{Upstream: "https://gitlab.example.com", Project: "24", Package: "my_package", Version: "1.0.0", File: "app.zip", Size: 3 << 30, Hits: 70}},
	}
	refused := adminapi.RefusalList{
		Refusals: []adminapi.Refusal{
			{Time: at, Upstream: "https://gitlab.example.com", Project: "24", Outcome: "refused", Status: 403, Why: "GitLab said 403 Forbidden", Times: 12},
			{Time: at, Upstream: "https://gitlab.example.com", Project: "group/app", Outcome: "invalid", Status: 400, Why: "the version's name is against the rules (13.5)", Times: 1},
		},
		Others: adminapi.RefusalsOfOthers{Time: &at, Times: 1000},
	}
	objects := []string{"s3://bucket/edge/blobs/ab/abcd"}
	for name, runs := range map[string][]goldenRun{
		"activity": {{"activity", []any{busy}}, {"activity", []any{idle}}},
		"usage":    {{"usage", []any{usage}}, {"usage --packages", []any{usage}}, {"usage", []any{adminapi.Usage{At: at}}}},
		"refusals": {{"refusals", []any{refused}}, {"refusals", []any{adminapi.RefusalList{}}}},
		"purge": {
			{"purge 24 my_package", []any{adminapi.PurgeAnswer{Entries: 2, Bytes: 3 << 20, HeldBytes: 1 << 20, Names: []string{"group/app"}, SharedObjects: objects, FurtherSharedObjects: 1}}},
			{"purge 24 my_package --dry-run", []any{adminapi.PurgeAnswer{Entries: 1, Bytes: 3 << 20, HeldBytes: 1 << 20, Names: []string{"group/app"}, SharedObjects: objects}}},
			{"purge --all --soft --dry-run", []any{adminapi.PurgeAnswer{Entries: 3}}},
			{"purge 24 --grants --dry-run", []any{adminapi.PurgeAnswer{Grants: 1}}},
		},
		"status": {{"status", []any{well}}, {"status", []any{ill}}, {"status --check", []any{well}}},
		"reset":  {{"reset 24", []any{adminapi.SwitchAnswer{ProjectStatus: on, Warning: "nothing was said of 24 at run time, so nothing has changed"}}}},
		"warm":   {{"warm 24 my_package", []any{warming}}, {"warm 24 my_package", []any{noneListed}}},
		"unknown_verbs": {
			{args: "prge 24"},
			{args: "prge 24 --soft"},
			{args: "--soft prge 24"},
			{args: "Status"},
			{args: "stat"},
			{args: "delete 24"},
			{args: "ls"},
			{args: "frobnicate"},
			{args: "help prge"},
			{args: "--json"},
		},
		"wrong_arguments": {
			{args: "status 24"},
			{args: "activity 24"},
			{args: "usage 24"},
			{args: "refusals 24"},
			{args: "projects 24"},
			{args: "verify all"},
			{args: "demo twice"},
			{args: "version 2"},
			{args: "entries 24 p 1 f g"},
			{args: "purge"},
			{args: "purge all --all"},
			{args: "purge 24 p 1 f g"},
			{args: "purge 24 --sofft"},
			{args: "purge 24 --grants --soft"},
			{args: "purge 24 p --grants"},
			{args: "enable"},
			{args: "disable"},
			{args: "reset"},
			{args: "disable 24 25"},
			{args: "disable 24 --all"},
			{args: "warm"},
			{args: "warm 24"},
			{args: "warm 24 p 1 f"},
			{args: "verify --stop --detach"},
			{args: "entries --limit many"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var all strings.Builder
			for _, run := range runs {
				runIt := runAsTyped
				if run.answers != nil {
					runIt = newStandIn(t, run.answers...).run
				}
				code, printed, failure := runIt(t, strings.Fields(run.args)...)
				if run.answers == nil && code == 0 {
					t.Errorf("%s is taken", run.args)
				}
				fmt.Fprintf(&all, "$ caddy gitlab-packages %s\n%s", run.args, printed)
				if failure != "" {
					fmt.Fprintf(&all, "Error: %s\n", failure)
				}
				fmt.Fprintf(&all, "# exit code %d\n\n", code)
			}
			goldentest.Text(t, filepath.Join("testdata", name+".txt"), all.String())
		})
	}
}

// TestEachVerbsExamplesAreUnderstood reads the examples in the help of each verb as the command would.
func TestEachVerbsExamplesAreUnderstood(t *testing.T) {
	for _, verb := range verbs() {
		lines := regexp.MustCompile(`(?m)^  caddy (.*?)(?: [<|].*)?$`).FindAllStringSubmatch(verb.Example, -1)
		if len(lines) == 0 || len(lines) != strings.Count(verb.Example, "\n")+1 {
			t.Errorf("%s has the examples\n%s", verb.Name(), verb.Example)
		}
		for _, line := range lines {
			command, args, err := newRoot().Find(strings.Fields(line[1]))
			if err == nil {
				err = command.ParseFlags(args)
			}
			if err == nil {
				err = command.ValidateArgs(command.Flags().Args())
			}
			if err != nil || command.Name() != verb.Name() {
				t.Errorf("%s: %v", line[0], err)
			}
		}
		_, help, _ := runAsTyped(t, verb.Name(), "--help")
		if !strings.Contains(help, "Examples:\n"+verb.Example) {
			t.Errorf("its help shows no examples:\n%s", help)
		}
		if _, same, _ := runAsTyped(t, "help", verb.Name()); same != help {
			t.Errorf("help %s prints\n%s", verb.Name(), same)
		}
	}
}

func TestWithoutAVerbTheHelpOfAllIsPrinted(t *testing.T) {
	for _, args := range [][]string{{}, {"help"}, {"--help"}} {
		code, printed, failure := runAsTyped(t, args...)
		if code != 0 {
			t.Errorf("%v: exit code %d, %s", args, code, failure)
		}
		for _, verb := range verbs() {
			if !strings.Contains(printed, "\n  "+verb.Name()+" ") {
				t.Errorf("%v: nothing of %s in\n%s", args, verb.Name(), printed)
			}
		}
	}
}

func TestTheVersionNamesTheModuleAndTheCommit(t *testing.T) {
	build := adminapi.Build{Version: "v1.2.3", Commit: "2f0bd4d1a7b9", Caddy: "v2.11.9", Go: "go1.26.0"}
	for _, test := range []struct {
		edit func(*adminapi.Build)
		want string // the second line
	}{
		{func(*adminapi.Build) {}, "Commit  2f0bd4d1a7b9"},
		{func(b *adminapi.Build) { b.Modified = true }, "Commit  2f0bd4d1a7b9, with changes that aren't committed"},
		{func(b *adminapi.Build) { b.Commit = "" }, "Commit  unknown"},
	} {
		told := build
		test.edit(&told)
		var out strings.Builder
		if err := showBuild(&out, told, false); err != nil {
			t.Fatal(err)
		}
		want := "Module  github.com/gitlab-edge/caddy-gitlab-packages v1.2.3\n" + test.want + "\nCaddy   v2.11.9\nGo      go1.26.0 "
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("got\n%s\nwant\n%s", out.String(), want)
		}
	}
	var out strings.Builder
	if err := showBuild(&out, build, true); err != nil || out.String() != `{"version":"v1.2.3","commit":"2f0bd4d1a7b9","caddy":"v2.11.9","go":"go1.26.0"}`+"\n" {
		t.Errorf("%s; %v", out.String(), err)
	}
}
