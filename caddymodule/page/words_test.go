package page

import (
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

func TestCharactersThatCantBeSeenAreShown(t *testing.T) {
	for name, want := range map[string]string{
		"caddy.bin": "caddy.bin", "with space": "with space", "ünïcödé": "ünïcödé", "👩‍👧": "👩‍👧", "עברית": "עברית", "\uFFFD": "\uFFFD",
		"\u202Egnp.exe": "⟨U+202E⟩gnp.exe", "a\x00b": "a⟨U+0000⟩b", "a\nb": "a⟨U+000A⟩b", "zero\u200Bwidth": "zero⟨U+200B⟩width", "\xff": "⟨FF⟩", "no\u00A0break": "no⟨U+00A0⟩break",
	} {
		if got := visible(name); got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}

func TestNumbersHaveUnits(t *testing.T) {
	ms := func(seconds float64) *float64 { return &seconds }
	for got, want := range map[string]string{
		sizeText(0): "0 B", sizeText(1536): "1.5 KiB", sizeText(31 << 30): "31 GiB", sizeText(-1024): "−1.0 KiB",
		countText(1204): "1,204", plural(1, "file", "files"): "1 file", plural(2000, "file", "files"): "2,000 files",
		percentText(1): "100%", percentText(0.99999): "99.9%", percentText(0.9727): "97.3%", percentText(0.00001): "<0.1%", percentText(0): "0%",
		ratioText(1, 0): "–", ratioText(-5, 10): "0%",
		rateText(10<<20, 2*time.Second): "5.0 MiB/s", rateText(10, time.Millisecond): "–",
		secondsText(nil): "–", secondsText(ms(0.0009)): "0.9 ms", secondsText(ms(0.085)): "85 ms", secondsText(ms(1.34)): "1.3 s",
		durationText(12 * time.Second): "12 s", durationText(3 * time.Minute): "3 min", durationText(125 * time.Minute): "2 h 5 min", durationText(2 * time.Hour): "2 h", durationText(52 * time.Hour): "2 days", durationText(-time.Second): "0 s",
	} {
		if got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
}

// TestTheVerdictSaysWhatIsWrongAndSinceWhen goes through all that can be wrong.
func TestTheVerdictSaysWhatIsWrongAndSinceWhen(t *testing.T) {
	began := testTime.Add(-time.Hour)
	for name, test := range map[string]struct {
		change func(*adminapi.Status)
		mood   string
		text   string
		since  bool
	}{
		"all is well": {func(*adminapi.Status) {}, moodGood, "Working.", false},
		"GitLab is down": {func(status *adminapi.Status) {
			status.Upstreams[0].GitLab, status.Upstreams[0].GitLabSince, status.Working = adminapi.Down, &began, false
			status.RecentFailures = nil // they are bounded, and may tell of it no more
		}, moodBad, "Not working as it should: gitlab.example.com doesn't answer.", true},
		"GitLab was never heard of": {func(status *adminapi.Status) { status.Upstreams[0].GitLab, status.Working = adminapi.Unanswered, false }, moodBad, "Not working as it should: gitlab.example.com hasn't answered yet.", true},
		"it redirects":              {func(status *adminapi.Status) { status.Upstreams[0].GitLab, status.Working = adminapi.Redirects, false }, moodBad, "Not working as it should: gitlab.example.com redirects to https, so that no file can be fetched.", true},
		"the storage is down, and the disk gone": {func(status *adminapi.Status) {
			status.Upstreams[0].ObjectStorage, status.Upstreams[0].ObjectStorageSince = adminapi.Down, &began
			status.Stores[0].Usable, status.Working = false, false
		}, moodBad, "Not working as it should: the object storage of gitlab.example.com doesn't answer and the cache directory gitlab-packages can't be used.", true},
		"the switches are gone": {func(status *adminapi.Status) { status.Switches, status.Working = adminapi.SwitchesUnknown, false }, moodBad, "Not working as it should: the run-time switches can't be read, and all requests get 503.", false},
		"the bucket is down": {func(status *adminapi.Status) {
			status.Stores[0].SharedStore.State, status.Stores[0].SharedStore.Since = adminapi.SharedDown, &began
		}, moodWarn, "Working, but the bucket can't be used.", true},
		"the disk was full": {func(status *adminapi.Status) {
			status.RecentFailures = []adminapi.Failure{{Time: began, What: "the disk has no room: " + fakeedge.Directory}}
		}, moodWarn, "Working, but the disk had no room lately.", true},
		"files were damaged":          {func(status *adminapi.Status) { status.Stores[0].Damaged = 2 }, moodWarn, "Working, but 2 stored files were found damaged.", false},
		"nothing has been asked":      {func(status *adminapi.Status) { status.Upstreams[0].GitLab = adminapi.Unasked }, moodGood, "Working.", false},
		"there is no edge":            {func(status *adminapi.Status) { status.Upstreams, status.Stores = nil, nil }, moodIdle, "No site of this config has an edge: there is no gitlab_packages in it.", false},
		"nobody knows what it is":     {func(status *adminapi.Status) { status.Working = false }, moodBad, "Not working as it should.", false},
		"somebody else answers there": {func(status *adminapi.Status) { status.Upstreams[0].AtStart.LooksLikeGitLab = false }, moodWarn, "Working, but gitlab.example.com didn't answer the start's question as GitLab does.", true},
	} {
		t.Run(name, func(t *testing.T) {
			world := morning()
			test.change(&world.Status)
			got := verdictOf(world.Status)
			if got.Mood != test.mood || got.Text != test.text || got.Since.Known != test.since {
				t.Errorf("%+v", got)
			}
			if strings.HasSuffix(name, "is down") && !got.Since.At.Equal(began) {
				t.Errorf("since %v", got.Since.At)
			}
			for _, state := range statesOf(world.Status) {
				if state.Word == "" || state.Mood == "" {
					t.Errorf("a state without a word: %+v", state)
				}
				if !state.Since.Known && state.Name != "Switches" {
					t.Errorf("a state without a time: %+v", state)
				}
			}
		})
	}
}

// TestEachStateHasATimeThatIsItsOwn goes through what each thing can be, well or not.
func TestEachStateHasATimeThatIsItsOwn(t *testing.T) {
	at := func(minutes int) *time.Time {
		then := testTime.Add(time.Duration(minutes) * time.Minute)
		return &then
	}
	started, opened, read, answered, began := at(-60), at(-59), at(-58), at(-1), at(-10)
	for _, test := range []struct {
		what   string
		change func(*adminapi.Status, *adminapi.UpstreamStatus, *adminapi.StoreStatus)
		name   string
		when   string
		since  *time.Time
	}{
		{"asked at the start", nil, "GitLab", "asked", started},
		{"answers", func(_ *adminapi.Status, u *adminapi.UpstreamStatus, _ *adminapi.StoreStatus) { u.AtStart = nil }, "GitLab", "last answered", answered},
		{"down", func(_ *adminapi.Status, u *adminapi.UpstreamStatus, _ *adminapi.StoreStatus) {
			u.GitLab, u.GitLabSince = adminapi.Down, began
		}, "GitLab", "since", began},
		{"unasked", func(_ *adminapi.Status, u *adminapi.UpstreamStatus, _ *adminapi.StoreStatus) {
			u.GitLab, u.AtStart, u.GitLabAnswered = adminapi.Unasked, nil, nil
		}, "GitLab", "since", started},
		{"answers", nil, "Object storage", "last answered", answered},
		{"down", func(_ *adminapi.Status, u *adminapi.UpstreamStatus, _ *adminapi.StoreStatus) {
			u.ObjectStorage, u.ObjectStorageSince = adminapi.Down, began
		}, "Object storage", "since", began},
		{"unasked", func(_ *adminapi.Status, u *adminapi.UpstreamStatus, _ *adminapi.StoreStatus) {
			u.ObjectStorage, u.ObjectStorageAnswered = adminapi.Unasked, nil
		}, "Object storage", "since", started},
		{"up", func(_ *adminapi.Status, _ *adminapi.UpstreamStatus, s *adminapi.StoreStatus) {
			s.SharedStore.Since = began
		}, "Bucket", "since", began},
		{"untried", func(_ *adminapi.Status, _ *adminapi.UpstreamStatus, s *adminapi.StoreStatus) {
			s.SharedStore.State, s.SharedStore.Since = adminapi.SharedUntried, nil
		}, "Bucket", "since", started},
		{"well", nil, "Disk", "open since", opened},
		{"was full", func(status *adminapi.Status, _ *adminapi.UpstreamStatus, _ *adminapi.StoreStatus) {
			status.RecentFailures = []adminapi.Failure{{Time: *began, What: "the disk has no room: " + fakeedge.Directory}}
		}, "Disk", "last", began},
		{"tried in vain", func(status *adminapi.Status, _ *adminapi.UpstreamStatus, s *adminapi.StoreStatus) {
			s.Usable, s.Since = false, began
			status.RecentFailures = []adminapi.Failure{{Time: *answered, What: "the cache directory can't be used: " + fakeedge.Directory}}
		}, "Disk", "last tried", answered},
		{"not usable", func(_ *adminapi.Status, _ *adminapi.UpstreamStatus, s *adminapi.StoreStatus) {
			s.Usable, s.Since = false, began
		}, "Disk", "since", began},
		{"read", nil, "Index", "read", read},
		{"being read", func(_ *adminapi.Status, _ *adminapi.UpstreamStatus, s *adminapi.StoreStatus) {
			s.Loading, s.Read = true, nil
		}, "Index", "since", opened},
		{"not open", func(_ *adminapi.Status, _ *adminapi.UpstreamStatus, s *adminapi.StoreStatus) {
			s.Usable, s.Since = false, began
		}, "Index", "since", began},
	} {
		t.Run(test.name+" "+test.what, func(t *testing.T) {
			status := morning().Status
			upstream, store := &status.Upstreams[0], &status.Stores[0]
			status.Started, upstream.AtStart.Asked = *started, *started
			upstream.GitLabAnswered, upstream.ObjectStorageAnswered, store.Since, store.Read = answered, answered, opened, read
			if test.change != nil {
				test.change(&status, upstream, store)
			}
			for _, state := range statesOf(status) {
				if state.Name == test.name && (state.When != test.when || !state.Since.At.Equal(*test.since)) {
					t.Errorf("%s %v, not %s %v", state.When, state.Since.At, test.when, *test.since)
				}
			}
		})
	}
}
