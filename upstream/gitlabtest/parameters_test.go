package gitlabtest

import (
	"maps"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestQueriesAsRackReadsThem pins what other servers read otherwise.
func TestQueriesAsRackReadsThem(t *testing.T) {
	for query, want := range map[string]parameters{
		"":                 {},
		"a=b&c=d":          {"a": "b", "c": "d"},
		"a=b;c=d":          {"a": "b", "c": "d"},
		"a=b; c=d&  e=f":   {"a": "b", "c": "d", "e": "f"},
		"a=1&a=2":          {"a": "2"},
		"a":                {"a": ""},
		"a=b=c":            {"a": "b=c"},
		"%61=%62+c":        {"a": "b c"},
		"a[]=1&a[b]=2":     {"a[]": "1", "a[b]": "2"},
		"&&;=x&":           {"": "x"},
		"a=%C3%BC&b=%2526": {"a": "ü", "b": "%26"},
		"a=%zz":            nil,
		"a=%":              nil,
		"a=%00":            nil,
		"%00=a":            nil,
		"a=%ff":            nil,
	} {
		got := make(parameters)
		fits := got.parse(query)
		if fits != (want != nil) || (fits && !maps.Equal(got, want)) {
			t.Errorf("%q: %v %v, want %v", query, got, fits, want)
		}
	}
}

// FuzzQueries looks for what gets past the check of strings.
func FuzzQueries(f *testing.F) {
	for _, seed := range []string{"", "a=b", "a=%20;b=c", "%", "a=%C3%BC&a=1", "a=%00", "a=%ff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got := make(parameters)
		if !got.parse(query) {
			return
		}
		for name, value := range got {
			if !utf8.ValidString(name+value) || strings.ContainsRune(name+value, 0) {
				t.Errorf("%q holds %q=%q", query, name, value)
			}
		}
	})
}

// FuzzTargets looks for paths that are read as a generic package and don't lead back to it.
func FuzzTargets(f *testing.F) {
	for _, seed := range []string{
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/f", "//api/v4//projects/24/packages/%67eneric/pkg/1.0.0/d/f/",
		"/api/v4/projects/group%2Fapp/packages/generic/a%2Fb/%2e/%00", "/api/v4/projects/24/packages/generic/pkg/1.0.0", "/%", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		named, ok := parseTarget(escaped)
		if !ok {
			return
		}
		for _, part := range []string{named.id, named.name, named.version, named.file} {
			if part == "" {
				t.Errorf("%q names nothing: %+v", escaped, named)
			}
		}
		if named.pathGiven != (named.path != "") {
			t.Errorf("%q: %+v", escaped, named)
		}
		if named.pathGiven && strings.Contains(named.storedName(), "/") {
			t.Errorf("%q is stored as %q", escaped, named.storedName())
		}
		// Judging it must not fail, whatever it is.
		for _, release := range []Release{Today, Release135} {
			if refused := (settings{release: release}).validate(named); refused == nil && strings.ContainsAny(named.name+named.version+named.file, "/\\ %\x00\n") {
				t.Errorf("%q is let in: %+v", escaped, named)
			}
		}
		leadingInteger(named.id)
	})
}
