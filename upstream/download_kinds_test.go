package upstream

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAContentRangeIsReadStrictly(t *testing.T) {
	for field, want := range map[string]struct {
		start, total int64
		ok           bool
	}{
		"bytes 5-9/10":   {5, 10, true},
		"bytes 0-0/1":    {0, 1, true},
		"bytes 5-9/*":    {5, -1, true},
		"bytes 0-0/0":    {0, 0, true},
		"":               {},
		"lines 5-9/10":   {},
		"bytes 5-9":      {},
		"bytes 5/10":     {},
		"bytes x-9/10":   {},
		"bytes -5-9/10":  {},
		"bytes 5-9/x":    {},
		"bytes 5-9/-10":  {},
		"bytes */10":     {},
		"bytes 5-9/1e99": {},
	} {
		start, total, ok := contentRange(http.Header{"Content-Range": {field}})
		if ok != want.ok || (ok && (start != want.start || total != want.total)) {
			t.Errorf("%q: %d of %d, %v", field, start, total, ok)
		}
	}
}

func TestABodyIsFramedWhereItsEndCanBeTold(t *testing.T) {
	for name, test := range map[string]struct {
		response http.Response
		framed   bool
	}{
		"by its length":        {http.Response{ContentLength: 5, ProtoMajor: 1}, true},
		"by HTTP/2":            {http.Response{ContentLength: -1, ProtoMajor: 2}, true},
		"by HTTP/3":            {http.Response{ContentLength: -1, ProtoMajor: 3}, true},
		"in chunks":            {http.Response{ContentLength: -1, ProtoMajor: 1, TransferEncoding: []string{"chunked"}}, true},
		"by the connection":    {http.Response{ContentLength: -1, ProtoMajor: 1}, false},
		"by another encoding":  {http.Response{ContentLength: -1, ProtoMajor: 1, TransferEncoding: []string{"gzip"}}, false},
		"an empty, by nothing": {http.Response{ContentLength: 0, ProtoMajor: 1}, true},
	} {
		if got := isFramed(&test.response); got != test.framed {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestABodyGoesOnOnlyWhereTheRestCanBeKnown names what a second answer is compared by.
func TestABodyGoesOnOnlyWhereTheRestCanBeKnown(t *testing.T) {
	settled := Identity{LastModified: time.Unix(1e9, 0), Settled: true, Length: 0}
	unsettled, unknown := settled, settled
	unsettled.Settled, unknown.Length = false, -1
	for name, test := range map[string]struct {
		identity  Identity
		retries   int
		framed    bool
		encoding  string
		resumable bool
	}{
		"a checksum":                  {Identity{SHA256: "a", Length: -1}, 1, true, "", true},
		"a location":                  {Identity{Location: "a", Length: -1}, 1, true, "", true},
		"a tag":                       {Identity{ETag: `"a"`, Length: -1}, 1, true, "", true},
		"a settled date and a length": {settled, 1, true, "", true},
		"a date of this second":       {unsettled, 1, true, "", false},
		"a date without a length":     {unknown, 1, true, "", false},
		"nothing":                     {Identity{Length: 5}, 1, true, "", false},
		"no retries":                  {Identity{SHA256: "a"}, 0, true, "", false},
		"no end that can be told":     {Identity{SHA256: "a"}, 1, false, "", false},
		"other bytes than the file's": {Identity{SHA256: "a"}, 1, true, "gzip", false},
	} {
		client := clientOf(t, func(c *Config) { c.Retries = test.retries }, nil)
		d := &Download{client: client, Identity: test.identity, Framed: test.framed, ContentEncoding: test.encoding}
		if got := d.resumable(); got != test.resumable {
			t.Errorf("%s: %v", name, got)
		}
		if got := d.Storable(); got != (test.framed && test.encoding == "") {
			t.Errorf("%s: storable %v", name, got)
		}
	}
}

func TestASumIsKnownWhereGitLabOrItsStorageNamesOne(t *testing.T) {
	sha256, md5 := sum{sumSHA256, strings.Repeat("a", 32)}, sum{sumMD5, strings.Repeat("a", 16)}
	for name, test := range map[string]struct {
		download Download
		hasSum   bool
		sha256   string
	}{
		"GitLab's":                  {Download{Identity: Identity{SHA256: "b"}}, true, "b"},
		"GitLab's before another's": {Download{Identity: Identity{SHA256: "b"}, sum: sha256}, true, "b"},
		"the storage's":             {Download{sum: sha256}, true, strings.Repeat("61", 32)},
		"the storage's MD5":         {Download{sum: md5}, true, ""},
		"nobody's":                  {Download{}, false, ""},
	} {
		if got := test.download.HasSum(); got != test.hasSum || test.download.SHA256() != test.sha256 {
			t.Errorf("%s: %v, %q", name, got, test.download.SHA256())
		}
	}
}

func TestAnEmptyFileHasALength(t *testing.T) {
	empty, unknown, one := Identity{Length: 0}, Identity{Length: -1}, Identity{Length: 1}
	if Compare(empty, one) != Different || Compare(one, empty) != Different || Compare(empty, unknown) != Unknown || Compare(unknown, empty) != Unknown {
		t.Error("an empty file isn't told from others by its length")
	}
	settled := Identity{LastModified: time.Unix(1e9, 0), Settled: true}
	if Compare(settled, settled) != Same {
		t.Error("an empty file isn't known again by its date")
	}
}

func TestPathsThatAreAlmostPackages(t *testing.T) {
	for path, project := range map[string]string{
		"/api/v4/project/24/packages/generic/pkg/1/f": "",
		"/api/v4/projects/24/packages/npm/pkg/1/f":    "",
		"/api/v4/projects/24/package/generic/pkg/1/f": "",
		"/api/v4/projects/24/packages/generic/pkg/1":  "",
		"/o/any":     "",
		"/o/any/api": "",
		"/api/v3/projects/24/packages/generic/pkg/1/f":   "",
		"/api/v4/projects/24/packages/generic/pkg/1/f/g": "24",
		"/api/v4/projects/24/generic/pkg/1/f":            "24",
	} {
		route, err := ParseRoute(path)
		if route.Ref.Project != project || (project == "") != errors.Is(err, ErrNotGeneric) {
			t.Errorf("%s: %+v, %v", path, route, err)
		}
	}
	for _, path := range []string{"/api/v4/projects/%zz/packages/generic/pkg/1/f", "/api/v4/projects/24/packages/generic/%zz/1/f"} {
		_, err := ParseRoute(path)
		if _, invalid := errors.AsType[*InvalidError](err); !invalid {
			t.Errorf("%s: %v", path, err)
		}
	}
	longest := strings.Repeat("p", maxProjectBytes)
	if _, err := CanonicalProject(longest); err != nil {
		t.Errorf("the longest name: %v", err)
	}
	if _, err := CanonicalProject(longest + "p"); err == nil {
		t.Error("a longer name is taken")
	}
}

func TestWordsAreCutFromTheBeginningOfAPathOnly(t *testing.T) {
	words := []string{"git", "lab"}
	for path, want := range map[string]struct {
		below string
		ok    bool
	}{
		"git/lab/api": {"api", true}, "git/lab": {"", true}, "%67it/lab/api": {"api", true},
		"git": {"", false}, "git/x": {"", false}, "x/git/lab": {"", false}, "git/x/lab": {"", false},
	} {
		below, ok := cutWords(strings.Split(path, "/"), words)
		if ok != want.ok || strings.Join(below, "/") != want.below {
			t.Errorf("%s: %q, %v", path, below, ok)
		}
	}
}

func TestWhatPassesAForward(t *testing.T) {
	for name, passes := range map[string]bool{
		"Range": true, "Private-Token": true, "X-Forwarded-For": true, "Forwarded": false, "X-Real-Ip": false, "Gitlab-Bypass-Rate-Limiting": false,
	} {
		if PassesForward(name) != passes {
			t.Errorf("%s: %v", name, !passes)
		}
	}
}
