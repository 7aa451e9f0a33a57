package upstream

import (
	"net/http"
	"testing"
	"time"
)

// edition is one upload of a file as one GitLab keeps it.
type edition struct {
	sum, tag, location string
	modified           time.Time
	length             int64
}

// answered is the identity of an answer about the edition: what GitLab says in its mode, asked at a time on its clock.
func (e edition) answered(at time.Time) Identity {
	header := http.Header{"Date": {at.UTC().Format(http.TimeFormat)}}
	for name, value := range map[string]string{"X-Checksum-Sha256": e.sum, "Etag": e.tag} {
		if value != "" {
			header.Set(name, value)
		}
	}
	if !e.modified.IsZero() {
		header.Set("Last-Modified", e.modified.UTC().Format(http.TimeFormat))
	}
	identity := IdentityOf(header, e.length, 0, at.Add(time.Hour)) // our own clock must not matter
	identity.Location = e.location
	return identity
}

const (
	sumA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	sumB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// TestIdentitiesInEveryStorageMode asks of each mode of GitLab's storage (contract, sections 4 and 7) what an entry of one
// edition is worth after an answer about another.
func TestIdentitiesInEveryStorageMode(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 100_000_000, time.UTC)
	late := start.Add(time.Minute)
	local := func(sum string, modified time.Time, length int64) edition {
		return edition{sum: sum, modified: modified, length: length}
	}
	proxied := func(sum, tag string) edition { return edition{sum: sum, tag: tag, modified: start, length: 5} }
	redirect := func(location string) edition { return edition{location: location, length: -1} }
	for name, test := range map[string]struct {
		kept     edition
		keptAt   time.Time
		answer   edition
		answerAt time.Time
		want     Comparison
	}{
		"local, unchanged":       {local("", start, 5), late, local("", start, 5), late.Add(time.Hour), Same},
		"local, fetched at once": {local("", start, 5), start.Add(time.Second), local("", start, 5), late, Unknown},
		"local, republished in the same second": {
			local("", start, 5), start.Add(200 * time.Millisecond), local("", start.Add(500*time.Millisecond), 5), late, Unknown,
		},
		"local, republished in the same second, other length": {local("", start, 5), late, local("", start, 6), late, Different},
		"local, republished":                                   {local("", start, 5), late, local("", late, 5), late.Add(time.Minute), Different},
		"local, newest deleted":                                {local("", late, 5), late.Add(time.Minute), local("", start, 5), late.Add(time.Hour), Different},
		"local with checksum, unchanged":                       {local(sumA, start, 5), start, local(sumA, start, 5), start, Same},
		"local with checksum, republished in the same second":  {local(sumA, start, 5), start, local(sumB, start, 5), late, Different},
		"local with checksum, the same bytes again":            {local(sumA, start, 5), late, local(sumA, late, 5), late, Same},
		"local with checksum, a row without digest":            {local(sumA, start, 5), late, local("", late.Add(time.Second), 5), late.Add(time.Minute), Different},
		"proxied, unchanged":                                   {proxied("", `"a"`), start, proxied("", `"a"`), late, Same},
		"proxied, republished in the same second":              {proxied("", `"a"`), start, proxied("", `"b"`), start, Different},
		"proxied with checksum, copied by a storage migration": {proxied(sumA, `"a"`), start, proxied(sumA, `"b"`), late, Same},
		"proxied, a weak tag":                                  {proxied("", `W/"a"`), start, proxied("", `W/"a"`), start, Unknown},
		"redirect, unchanged":                                  {redirect("s/x/1"), start, redirect("s/x/1"), late, Same},
		"redirect, republished":                                {redirect("s/x/1"), start, redirect("s/x/2"), start, Different},
		"from local to redirect":                               {local("", start, 5), late, redirect("s/x/1"), late, Unknown},
		"from local with checksum to redirect":                 {local(sumA, start, 5), late, redirect("s/x/1"), late, Unknown},
		"from redirect to proxied":                             {redirect("s/x/1"), start, proxied("", `"a"`), late, Unknown},
		"from proxied to local":                                {proxied("", `"a"`), late, local("", start.Add(-time.Hour), 5), late, Different},
		"from proxied to local, checksum in both":              {proxied(sumA, `"a"`), late, local(sumA, late, 5), late, Same},
		"nothing said at all":                                  {edition{length: 5}, late, edition{length: 5}, late, Unknown},
	} {
		kept, answered := test.kept.answered(test.keptAt), test.answer.answered(test.answerAt)
		if got, turned := Compare(kept, answered), Compare(answered, kept); got != test.want || turned != test.want {
			t.Errorf("%s: %+v and %+v: %v, turned %v, want %v", name, kept, answered, got, turned, test.want)
		}
	}
}

// TestNoTwoUploadsOfOneSecondAreEverTheSame tries each moment at which an answer may date from before the second upload of
// a second: what was seen then must not count as that second upload.
func TestNoTwoUploadsOfOneSecondAreEverTheSame(t *testing.T) {
	second := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const step = 50 * time.Millisecond
	for first := time.Duration(0); first < time.Second; first += step {
		for other := first; other < time.Second; other += step {
			for seen := first; seen <= other; seen += step {
				for _, took := range []time.Duration{0, step, time.Second, 10 * time.Second} {
					// The file is chosen when the request comes, and the answer is dated took later.
					sent := second.Add(seen)
					header := http.Header{
						"Last-Modified": {second.Add(first).Format(http.TimeFormat)}, "Date": {sent.Add(took).Format(http.TimeFormat)},
					}
					kept := IdentityOf(header, 5, took, sent.Add(took))
					later := edition{modified: second.Add(other), length: 5}.answered(second.Add(time.Minute))
					if got := Compare(kept, later); got == Same {
						t.Fatalf("uploaded at %v and %v, seen at %v for %v: %v", first, other, seen, took, got)
					}
				}
			}
		}
	}
}

func TestHeadersThatAreMalformedOrContradictEachOtherNameNothing(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, header := range map[string]http.Header{
		"two checksums":          {"X-Checksum-Sha256": {sumA, sumB}},
		"two in one line":        {"X-Checksum-Sha256": {sumA + ", " + sumA}},
		"a short checksum":       {"X-Checksum-Sha256": {sumA[1:]}},
		"a long checksum":        {"X-Checksum-Sha256": {sumA + "a"}},
		"of SHA-512's length":    {"X-Checksum-Sha256": {sumA + sumB}},
		"no hex":                 {"X-Checksum-Sha256": {sumA[1:] + "g"}},
		"not ASCII":              {"X-Checksum-Sha256": {"ſ" + sumA[2:]}},
		"an empty checksum":      {"X-Checksum-Sha256": {""}},
		"two tags":               {"Etag": {`"a"`, `"b"`}},
		"a list of tags":         {"Etag": {`"a", "b"`}},
		"an empty tag":           {"Etag": {`""`}},
		"one quote":              {"Etag": {`"`}},
		"no quotes":              {"Etag": {"a"}},
		"half a tag":             {"Etag": {`"a`}},
		"the other half":         {"Etag": {`a"`}},
		"a weak tag":             {"Etag": {`W/"a"`}},
		"a weak tag, lower case": {"Etag": {`w/"a"`}},
		"a tag with a space":     {"Etag": {`"a b"`}},
		"a tag with a tab":       {"Etag": {"\"a\tb\""}},
		"a tag with a delete":    {"Etag": {"\"a\x7fb\""}},
		"a tag with a quote":     {"Etag": {`"a"b"`}},
		"a space at its end":     {"Etag": {`"ab "`}},
		"a longer half":          {"Etag": {`"abc`}},
		"a longer other half":    {"Etag": {`abc"`}},
		"a broken date":          {"Last-Modified": {"yesterday"}},
		"a date with an offset":  {"Last-Modified": {"Fri, 02 Jan 2026 03:04:05 +0100"}},
		"two dates":              {"Last-Modified": {"Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 2026 03:04:06 GMT"}},
		"nothing":                {},
	} {
		if got := IdentityOf(header, 5, 0, now.Add(time.Hour)); got != (Identity{Length: 5}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	agreed := IdentityOf(http.Header{"X-Checksum-Sha256": {sumA, sumA}, "Etag": {`"a"`, `"a"`}}, 5, 0, now)
	if agreed != (Identity{SHA256: sumA, ETag: `"a"`, Length: 5}) {
		t.Errorf("lines that agree: %+v", agreed)
	}
	// Without its own date an answer is judged by our clock; a clock that is set back meanwhile settles nothing.
	header := http.Header{"Last-Modified": {now.Format(http.TimeFormat)}}
	for took, settled := range map[time.Duration]bool{0: true, time.Second: false, -time.Hour: true} {
		if got := IdentityOf(header, 5, took, now.Add(2*time.Second)); got.Settled != settled {
			t.Errorf("after %v: settled %v", took, got.Settled)
		}
	}
	if got := IdentityOf(header, 5, -time.Hour, now.Add(time.Second)); got.Settled {
		t.Error("an answer that took less than no time has settled its date")
	}
}

// FuzzCompare: comparing has no direction, nothing is both the same as and different from another, and what is the same
// differs in nothing stronger than what was compared.
func FuzzCompare(f *testing.F) {
	f.Add("a", "x", `"1"`, int64(5), int64(7), true, "a", "y", `"2"`, int64(6), int64(8), false)
	f.Add("", "", "", int64(5), int64(7), true, "", "", "", int64(5), int64(7), true)
	f.Add("", "", `"1"`, int64(-1), int64(0), false, "b", "", `"1"`, int64(-1), int64(0), false)
	f.Fuzz(func(t *testing.T, sum, location, tag string, modified, length int64, settled bool,
		otherSum, otherLocation, otherTag string, otherModified, otherLength int64, otherSettled bool,
	) {
		at := func(seconds int64) time.Time {
			if seconds == 0 {
				return time.Time{}
			}
			return time.Unix(seconds%1e9, 0).UTC()
		}
		a := Identity{sum, location, tag, at(modified), settled, max(length, -1)}
		b := Identity{otherSum, otherLocation, otherTag, at(otherModified), otherSettled, max(otherLength, -1)}
		compared := Compare(a, b)
		if turned := Compare(b, a); turned != compared {
			t.Errorf("%+v and %+v: %v, turned %v", a, b, compared, turned)
		}
		for _, identity := range []Identity{a, b} {
			if self := Compare(identity, identity); self == Different {
				t.Errorf("%+v differs from itself", identity)
			}
		}
		strongest := func(x, y string) (decided, equal bool) { return x != "" && y != "", x == y }
		for _, kind := range [][2]string{{a.SHA256, b.SHA256}, {a.Location, b.Location}, {a.ETag, b.ETag}} {
			if decided, equal := strongest(kind[0], kind[1]); decided {
				if equal != (compared == Same) || equal == (compared == Different) {
					t.Errorf("%+v and %+v have %q: %v", a, b, kind, compared)
				}
				return
			}
		}
		if compared == Same && (!a.Settled || !b.Settled || a.Length < 0 || a.Length != b.Length || a.LastModified.IsZero() || !a.LastModified.Equal(b.LastModified)) {
			t.Errorf("%+v and %+v are called the same", a, b)
		}
	})
}
