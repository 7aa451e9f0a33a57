package cache

import (
	"testing"
	"time"
)

// TestWhatIsNamedAddsWhatIsNotKnownAndChangesNothingElse: an answer that confirms a file must not give it another file's names.
func TestWhatIsNamedAddsWhatIsNotKnownAndChangesNothingElse(t *testing.T) {
	digest := Digest{1}
	sum, modified, later := digest.String(), time.Unix(1_700_000_000, 0), time.Unix(1_800_000_000, 0)
	for name, test := range map[string]struct{ known, said, want Identity }{
		"all is new": {
			Identity{}, Identity{sum, "host/path", `"1"`, modified, true, 1000}, Identity{sum, "host/path", `"1"`, modified, true, 0},
		},
		"nothing is": {
			Identity{sum, "host/path", `"1"`, modified, false, 1000},
			Identity{"", "elsewhere", `"2"`, later, true, 2000},
			Identity{sum, "host/path", `"1"`, modified, false, 1000},
		},
		"a sum of other content":      {Identity{}, Identity{SHA256: Digest{2}.String()}, Identity{}},
		"the time is settled now":     {Identity{LastModified: modified}, Identity{LastModified: modified, Settled: true}, Identity{LastModified: modified, Settled: true}},
		"the time was settled before": {Identity{LastModified: modified, Settled: true}, Identity{LastModified: modified}, Identity{LastModified: modified, Settled: true}},
		"the time isn't settled":      {Identity{LastModified: modified}, Identity{LastModified: modified}, Identity{LastModified: modified}},
		"a new time isn't settled":    {Identity{}, Identity{LastModified: modified}, Identity{LastModified: modified}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, known := range []string{"", "inline"} {
				e := Entry{Digest: digest, Identity: test.known, Disposition: known}
				e.fillIn(Named{Identity: test.said, Disposition: "attachment"})
				if want := map[string]string{"": "attachment", "inline": "inline"}[known]; e.Identity != test.want || e.Disposition != want {
					t.Errorf("it is %+v, %q", e.Identity, e.Disposition)
				}
			}
		})
	}
}
