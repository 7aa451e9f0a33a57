package upstream

import (
	"net/http"
	"testing"
	"time"
)

func TestCompareUsesTheStrongestKindBothHave(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		a, b Identity
		want Comparison
	}{
		"same sum, all else different":   {Identity{SHA256: "a", Location: "x", ETag: "1", Length: 1}, Identity{SHA256: "a", Location: "y", ETag: "2", Length: 2}, Same},
		"other sum, all else the same":   {Identity{SHA256: "a", Location: "x"}, Identity{SHA256: "b", Location: "x"}, Different},
		"same location":                  {Identity{SHA256: "a", Location: "x", Length: -1}, Identity{Location: "x", Length: -1}, Same},
		"other location":                 {Identity{Location: "x"}, Identity{Location: "y"}, Different},
		"same tag":                       {Identity{ETag: `"1"`, Length: -1}, Identity{ETag: `"1"`, Location: "x", Length: -1}, Same},
		"other tag":                      {Identity{ETag: `"1"`}, Identity{ETag: `"2"`}, Different},
		"same settled time and length":   {Identity{LastModified: now, Settled: true, Length: 5}, Identity{LastModified: now, Settled: true, Length: 5}, Same},
		"one of them not settled":        {Identity{LastModified: now, Settled: true, Length: 5}, Identity{LastModified: now, Length: 5}, Unknown},
		"same time, other length":        {Identity{LastModified: now, Settled: true, Length: 5}, Identity{LastModified: now, Settled: true, Length: 6}, Different},
		"same time, length not known":    {Identity{LastModified: now, Settled: true, Length: -1}, Identity{LastModified: now, Settled: true, Length: 5}, Unknown},
		"an older time is no less other": {Identity{LastModified: now, Settled: true, Length: 5}, Identity{LastModified: now.Add(-time.Hour), Settled: true, Length: 5}, Different},
		"nothing in common":              {Identity{SHA256: "a", Length: -1}, Identity{Location: "x", Length: -1}, Unknown},
		"the same length alone":          {Identity{Length: 5}, Identity{Length: 5}, Unknown},
		"nothing at all":                 {Identity{Length: -1}, Identity{Length: -1}, Unknown},
	} {
		if got, turned := Compare(test.a, test.b), Compare(test.b, test.a); got != test.want || turned != test.want {
			t.Errorf("%s: %v, turned %v, want %v", name, got, turned, test.want)
		}
	}
}

func TestIdentityOfReadsWhatGitLabSays(t *testing.T) {
	const sum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	modified := func(age time.Duration) string { return now.Add(-age).Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		header http.Header
		took   time.Duration
		want   Identity
	}{
		"a checksum in any case":   {http.Header{"X-Checksum-Sha256": {"9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"}}, 0, Identity{SHA256: sum}},
		"a malformed checksum":     {http.Header{"X-Checksum-Sha256": {sum[1:] + "x"}}, 0, Identity{}},
		"a strong tag":             {http.Header{"Etag": {`"x"`}}, 0, Identity{ETag: `"x"`}},
		"a weak tag":               {http.Header{"Etag": {`W/"x"`}}, 0, Identity{}},
		"an old file":              {http.Header{"Last-Modified": {modified(2 * time.Second)}}, 0, Identity{LastModified: now.Add(-2 * time.Second), Settled: true}},
		"a fresh file":             {http.Header{"Last-Modified": {modified(time.Second)}}, 0, Identity{LastModified: now.Add(-time.Second)}},
		"an answer that took long": {http.Header{"Last-Modified": {modified(3 * time.Second)}}, 2 * time.Second, Identity{LastModified: now.Add(-3 * time.Second)}},
		"GitLab's clock is behind ours": {
			http.Header{"Last-Modified": {modified(time.Hour)}, "Date": {modified(time.Hour)}}, 0, Identity{LastModified: now.Add(-time.Hour)},
		},
		"GitLab's clock is ahead of ours": {
			http.Header{"Last-Modified": {modified(-time.Hour)}, "Date": {modified(-time.Hour - 5*time.Second)}},
			0,
			Identity{LastModified: now.Add(time.Hour), Settled: true},
		},
	} {
		test.want.Length = 7
		if got := IdentityOf(test.header, 7, test.took, now); got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

// FuzzIdentity: an identity is never the same as one with another checksum, whatever the headers hold.
func FuzzIdentity(f *testing.F) {
	f.Add("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", `"x"`, "Fri, 02 Jan 2026 03:04:05 GMT", int64(5))
	f.Fuzz(func(t *testing.T, sum, tag, modified string, length int64) {
		header := http.Header{"X-Checksum-Sha256": {sum}, "Etag": {tag}, "Last-Modified": {modified}}
		now := time.Date(2026, 1, 2, 3, 4, 9, 0, time.UTC)
		identity := IdentityOf(header, length, 0, now)
		if Compare(identity, identity) == Different {
			t.Errorf("%+v differs from itself", identity)
		}
		other := identity
		other.SHA256 = "0000000000000000000000000000000000000000000000000000000000000000"
		if identity.SHA256 != "" && identity.SHA256 != other.SHA256 && Compare(identity, other) != Different {
			t.Errorf("%+v is not told from %+v", identity, other)
		}
	})
}
