package upstream

import (
	"errors"
	"strings"
	"testing"
)

const long = "/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin"

func TestParseRouteRecognisesEverySpellingThatGitLabRoutes(t *testing.T) {
	want := Ref{"24", "pkg", "1.0.0", "app.bin"}
	byPath := Ref{"group/app", "pkg", "1.0.0", "app.bin"}
	for path, test := range map[string]struct {
		ref  Ref
		path string
	}{
		long: {want, long},
		"/api/v4/projects/0024/packages/generic/pkg/1.0.0/app.bin":        {want, "/api/v4/projects/0024/packages/generic/pkg/1.0.0/app.bin"},
		"/api/v4/projects/%32%34/packages/generic/pkg/1.0.0/app.bin":      {want, "/api/v4/projects/%32%34/packages/generic/pkg/1.0.0/app.bin"},
		"/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/app.bin": {byPath, "/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/app.bin"},
		"/api/v4/projects/GROUP%2fApp/packages/generic/pkg/1.0.0/app.bin": {byPath, "/api/v4/projects/GROUP%2fApp/packages/generic/pkg/1.0.0/app.bin"},
		"//api//v4/projects///24/packages/generic/pkg//1.0.0/app.bin":     {want, "//api//v4/projects///24/packages/generic/pkg//1.0.0/app.bin"},
		long + "/": {want, long + "/"},
		"/%61pi/v%34/%70rojects/24/p%61ckages/%67eneric/pkg/1%2E0%2e0/app%2Ebin": {want, "/%61pi/v%34/%70rojects/24/p%61ckages/%67eneric/pkg/1%2E0%2e0/app%2Ebin"},
		"/api/v4/projects/24/generic/pkg/1.0.0/app.bin":                          {want, long},
		"/api/v4/projects/group%2Fapp/%67eneric/pkg/1%2E0.0/app.bin":             {byPath, "/api/v4/projects/group%2Fapp/packages/generic/pkg/1%2E0.0/app.bin"},
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/dir/sub/app.bin":         {Ref{"24", "pkg", "1.0.0", "dir/sub/app.bin"}, "/api/v4/projects/24/packages/generic/pkg/1.0.0/dir/sub/app.bin"},
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin/authorize":       {Ref{"24", "pkg", "1.0.0", "app.bin/authorize"}, "/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin/authorize"},
		"/api/v4/projects/24/packages/generic/p%252Fq/1.0.0/app.bin":             {Ref{"24", "p%2Fq", "1.0.0", "app.bin"}, "/api/v4/projects/24/packages/generic/p%252Fq/1.0.0/app.bin"},
		"/api/v4/projects/myproj/packages/generic/pkg/1.0.0/app.bin":             {Ref{"myproj", "pkg", "1.0.0", "app.bin"}, "/api/v4/projects/myproj/packages/generic/pkg/1.0.0/app.bin"},
	} {
		got, err := ParseRoute(path)
		if err != nil || got.Ref != test.ref || got.Path != test.path {
			t.Errorf("%s: got %v %s, %v", path, got.Ref, got.Path, err)
		}
	}
}

func TestParseRouteRefusesWhatCouldMeanSomethingElse(t *testing.T) {
	base := "/api/v4/projects/24/packages/generic/"
	for path, parameter := range map[string]string{
		base + "p%2Fq/1.0.0/app.bin": "package_name", base + "pkg/1%2F0/app.bin": "package_version", base + "pkg/1.0.0/a%2fb": "file_name",
		base + "pkg/1.0.0/a%00": "file_name", base + "pkg/1.0.0%0a/a": "package_version", base + "pkg/1.0.0/%ff": "file_name",
		base + "p%C3%A4/1.0.0/a": "package_name", base + "pkg/1.0.0/a%zz": "file_name", base + "pkg/1.0.0/a%5Cb": "file_name",
		base + "pkg/1.0.0/" + strings.Repeat("a", 256): "file_name", base + "pkg/1.0.0/%252e%252e/a": "path",
		base + "pkg/1.0.0/../app.bin":                                    "path",
		base + "pkg/./1.0.0/app.bin":                                     "path",
		base + "pkg/%2e%2E/1.0.0/app.bin":                                "path",
		"/x/../api/v4/projects/24/packages/generic/pkg/1.0.0/a":          "path",
		"/api/v4/projects/24/packages/npm/../generic/pkg/1.0.0/a":        "path",
		"/api/v4/projects/24%0A/packages/generic/pkg/1.0.0/a":            "id",
		"/api/v4/projects/-24/packages/generic/pkg/1.0.0/a":              "id",
		"/api/v4/projects/24%0Agroup%2Fapp/packages/generic/pkg/1.0.0/a": "id",
		"/api/v4/projects/group%2F%2Fapp/packages/generic/pkg/1.0.0/a":   "id",
		"/api/v4/projects/group%2F..%2Fapp/packages/generic/pkg/1.0.0/a": "id",
		"/api/v4/projects/24%0A/generic/pkg/1.0.0/a":                     "id",
	} {
		_, err := ParseRoute(path)
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Parameter != parameter {
			t.Errorf("%s: got %v, want that %s is invalid", path, err, parameter)
		}
	}
	// The project is told all the same, so that its switch counts first.
	if route, err := ParseRoute(base + "pkg/1.0.0/a%00"); err == nil || route.Ref.Project != "24" {
		t.Errorf("got project %q, %v", route.Ref.Project, err)
	}
}

func TestParseRouteLeavesAllOtherPathsAlone(t *testing.T) {
	for _, path := range []string{
		"", "/", "/api/v4/version", "/api/v4/projects/24/packages", "/api/v4/projects/24/packages/generic/pkg/1.0.0", "/api/v4/projects/24/packages/npm/a/b/c",
		"/api/v3/projects/24/packages/generic/pkg/1.0.0/a", "/x/api/v4/projects/24/packages/generic/pkg/1.0.0/a", "/api%2Fv4/projects/24/packages/generic/p/1.0.0/a/b",
		"/group/app/-/x/../y", "/API/v4/projects/24/packages/generic/pkg/1.0.0/a", "/..", "/%zz/a/b/c/d/e/f/g/h",
	} {
		if route, err := ParseRoute(path); !errors.Is(err, ErrNotGeneric) {
			t.Errorf("%s: got %v, %v", path, route, err)
		}
	}
}

func TestWithPathNamesTheFileThatTheQueryNames(t *testing.T) {
	ref := Ref{"24", "pkg", "1.0.0", "f"}
	if got, err := ref.WithPath("a/b"); err != nil || got.File != "a/b/f" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, path := range []string{"../a", "/etc", "a//b", "a\x00", "", "a/..", strings.Repeat("a", 256)} {
		if got, err := ref.WithPath(path); err == nil {
			t.Errorf("%q: got %v", path, got)
		}
	}
}

func TestParseProjectReadsWhatAdminsWrite(t *testing.T) {
	for spelling, want := range map[string]string{
		"24": "24", "024": "24", "0": "0", "group/app": "group/app", "Group%2FApp": "group/app", "/group/app/": "group/app", "a/b.c/d-e_f": "a/b.c/d-e_f",
	} {
		if got, err := ParseProject(spelling); err != nil || got != want {
			t.Errorf("%s: got %q, %v", spelling, got, err)
		}
	}
	for _, spelling := range []string{"", "-3", "a b", "a\n", "%zz", "group//app", "../x", "ä/b"} {
		if got, err := ParseProject(spelling); err == nil {
			t.Errorf("%q: got %q", spelling, got)
		}
	}
}

// FuzzParseRoute: whatever comes in, what is recognised can be asked for under its canonical path and is the same file.
func FuzzParseRoute(f *testing.F) {
	for _, seed := range []string{
		long, "//api/v4/projects/group%2Fapp/generic/p/1.0.0/a/", "/api/v4/projects/24%0A/packages/generic/p/1.0.0/a",
		"/api/v4/projects/1/packages/generic/p/../1.0.0/a", "/%61pi/v4/projects/1/packages/generic/p/v/d/e/f%252e",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		route, err := ParseRoute(path)
		if err != nil {
			return
		}
		canonical, err := ParseRoute(route.Ref.EscapedPath())
		if err != nil || canonical.Ref != route.Ref {
			t.Errorf("%q is %v, whose own path is %v, %v", path, route.Ref, canonical.Ref, err)
		}
		if forwarded, err := ParseRoute(route.Path); err != nil || forwarded.Ref != route.Ref {
			t.Errorf("%q is forwarded as %q, which is %v, %v", path, route.Path, forwarded.Ref, err)
		}
		for _, name := range append([]string{route.Ref.Package, route.Ref.Version}, strings.Split(route.Ref.File, "/")...) {
			if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00\n\r\\") || len(name) > maxNameBytes {
				t.Errorf("%q has the name %q", path, name)
			}
		}
	})
}

func BenchmarkParseRoute(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRoute(long); err != nil {
			b.Fatal(err)
		}
	}
}
