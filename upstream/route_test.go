package upstream

import (
	"errors"
	"net/url"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// grape is GitLab's route as its router compiles it, read independently of ParseRoute: Mustermann writes each fixed
// character as itself or its percent-encoding in either case, separators as themselves, :names as [^/]+ (the requirement
// in lib/api/generic_packages.rb) and *splats as .*?. Rails has it a second time below /o/:organization_path.
var grape = func() *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`\A`)
	for _, piece := range []string{
		"(?:/o/[^/]+)?", "/api/v4/projects/", "([^/]+)", "/packages/generic/", "([^/]+)", "/", "(.*?)", "/", "(?:(.*?)/)?", "([^/]+)",
	} {
		if strings.HasPrefix(piece, "(?:/o/") {
			piece = strings.Replace(piece, "o", "(?:o|%6f|%6F)", 1)
		}
		if strings.HasPrefix(piece, "(") {
			b.WriteString(piece)
			continue
		}
		for _, c := range []byte(piece) {
			if c == '/' {
				b.WriteByte(c)
				continue
			}
			hex := strconv.FormatInt(int64(c), 16)
			b.WriteString("(?:" + regexp.QuoteMeta(string(c)) + "|%" + hex + "|%" + strings.ToUpper(hex) + ")")
		}
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}()

// railsPath is what Rails makes of a path before Grape sees it (actionpack: journey/router/utils.rb, normalize_path).
func railsPath(escaped string) string {
	squeezed := regexp.MustCompile(`/+`).ReplaceAllString("/"+escaped, "/")
	return strings.TrimSuffix(squeezed, "/")
}

// routedByGitLab returns what GitLab's own router reads out of a path: id, name, version, path, file, still escaped.
func routedByGitLab(escaped string) (captured []string) {
	if match := grape.FindStringSubmatch(railsPath(escaped)); match != nil {
		return match[1:]
	}
	return nil
}

func TestParseRouteRecognisesAnyFixedCharacterPercentEncoded(t *testing.T) {
	const plain = "/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin"
	want, err := ParseRoute(plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, short := range []bool{false, true} {
		text := plain
		if short {
			text = strings.Replace(plain, "/packages", "", 1)
		}
		for i := range text {
			if text[i] == '/' {
				continue
			}
			code := strconv.FormatInt(int64(text[i]), 16)
			for _, code := range []string{code, strings.ToUpper(code)} {
				spelling := text[:i] + "%" + code + text[i+1:]
				if got, err := ParseRoute(spelling); err != nil || got.Ref != want.Ref {
					t.Errorf("%s: got %v, %v", spelling, got.Ref, err)
				}
			}
		}
	}
	var all strings.Builder
	for _, c := range []byte(plain) {
		if c == '/' {
			all.WriteString("//")
			continue
		}
		all.WriteString("%" + strconv.FormatInt(int64(c), 16))
	}
	if got, err := ParseRoute(all.String() + "///"); err != nil || got.Ref != want.Ref {
		t.Errorf("%s: got %v, %v", all.String(), got.Ref, err)
	}
}

// TestParseRouteIDs walks the rows of the :id segment (contract, section 6).
func TestParseRouteIDs(t *testing.T) {
	for id, want := range map[string]string{
		"24": "24", "024": "24", "00000000000000000000000024": "24", "0": "0", "000": "0", "%30%32%34": "24",
		"99999999999999999999999999": "99999999999999999999999999",
		"group%2Fapp":                "group/app", "group%2fapp": "group/app", "GROUP%2FApp": "group/app", "a%2Fb%2Fc%2Fd%2Fe": "a/b/c/d/e",
		"group%2F123": "group/123", "group%2Fapp.name.": "group/app.name.", "%67roup%2F%61pp": "group/app",
		// Neither number nor path, nor decoded twice: GitLab will say that there is no such project.
		"myproj": "myproj", "group%252Fproj": "group%2fproj", "24x": "24x", "+24": "+24", "2%2B4": "2+4", "-": "-", "-x": "-x", "24;x": "24;x",
		"-24": "", "-0": "", "24%0A": "", "24%0Ax%2Fy": "", "x%0A24": "", "24%0D": "", "24%20": "", "%2024": "", "24%00": "", "24%7F": "", "24%C2%A0": "",
		"%EF%BC%92%EF%BC%94": "", "24%2F": "", "%2F24": "", "group%2F%2Fapp": "", "group%2F": "", "group%2F.": "", "group%2F..%2Fapp": "", "group%5Capp": "",
		"%2F": "", "%ff": "", strings.Repeat("a", maxProjectBytes+1): "",
	} {
		for _, form := range []string{"/packages/generic/", "/generic/"} {
			route, err := ParseRoute("/api/v4/projects/" + id + form + "pkg/1.0.0/f")
			var invalid *InvalidError
			switch {
			case want == "" && (!errors.As(err, &invalid) || invalid.Parameter != "id" || route.Ref.Project != ""):
				t.Errorf("%s: got %v, %v, want that the id is invalid", id, route, err)
			case want != "" && (err != nil || route.Ref.Project != want):
				t.Errorf("%s: got %q, %v, want %q", id, route.Ref.Project, err, want)
			}
		}
	}
}

// TestDotSegmentsNeverReachGitLabNorAnybodyElse: whoever cleans a path, and however, none of the readings is a package
// that was let through as something else.
func TestDotSegmentsNeverReachGitLabNorAnybodyElse(t *testing.T) {
	for _, path := range []string{
		"/api/v4/projects/24/packages/generic/pkg/./f", // a version to today's GitLab
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/.",
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/x/..",
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/x/%2E%2e/f",
		"/api/v4/projects/24/packages/generic/../generic/pkg/1.0.0/f",
		"/api/v4/projects/24/packages/generic/%2e./generic/pkg/1.0.0/f",
		"/api/v4/projects/24/./packages/generic/pkg/1.0.0/f",
		"/api/v4/projects/24/packages/npm/../%67eneric/pkg/1.0.0/f",
		"/api/./v4/projects/24/generic/pkg/1.0.0/f",
		"/./api/v4/projects/24/packages/generic/pkg/1.0.0/f",
		"/../api/v4/projects/24/packages/generic/pkg/1.0.0/f",
		"/group/app/../../api/v4/projects/24/packages/generic/pkg/1.0.0/f",
		"/api/v4/groups/%2e%2E/projects/24/packages/generic/pkg/1.0.0/f",
		"/api/v4/projects/1/../24/packages/generic/pkg/1.0.0/f",
		"/api/v4/projects/../projects/24/packages/generic/pkg/1.0.0/f",
		"/api/v4/projects/24/packages/x/y///../../../../packages/generic/pkg/1.0.0/f", // squeezed first, or not
		"//api//v4/..//v4/projects/24/packages//generic/pkg/1.0.0/f/",
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/f/..", // cut short by some, a directory to others
	} {
		var invalid *InvalidError
		if route, err := ParseRoute(path); !errors.As(err, &invalid) || invalid.Parameter != "path" {
			t.Errorf("%s: got %v, %v", path, route, err)
		}
	}
	for path, project := range map[string]string{
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/x/../f":                  "24",
		"/api/v4/projects/1/../24/packages/generic/pkg/1.0.0/f":                  "24",
		"/api/v4/projects/Group%2Fapp/packages/npm/../%67eneric/pkg/1.0.0/f":     "group/app",
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/x/%2e%2e/%2e%2e/%2e%2e/": "",
	} {
		if route, err := ParseRoute(path); err == nil || route.Ref.Project != project {
			t.Errorf("%s: got project %q, %v, want %q", path, route.Ref.Project, err, project)
		}
	}
	for _, path := range []string{
		"/group/app/-/raw/main/./generic/a/b/c", "/api/v4/projects/24/repository/files/a/../b/raw", "/api/v4/projects/24/packages/./generic/pkg/1.0.0",
		"/projects/../api/v4/generic/a/b/c", "/api/v4/projects/../generic/a/b", "/..", "/.", "/%2e%2e/%2e",
		"/api/v4/projects/24/packages/generic/.../1.0.0", "/generic/projects/v4/api/../a/b/c/d",
	} {
		if route, err := ParseRoute(path); !errors.Is(err, ErrNotGeneric) {
			t.Errorf("%s: got %v, %v, want that it is somebody else's", path, route, err)
		}
	}
	// Three dots are a name like any other.
	if route, err := ParseRoute("/api/v4/projects/24/packages/generic/.../1.0.0/...."); err != nil || route.Ref.Package != "..." {
		t.Errorf("got %v, %v", route, err)
	}
}

func TestTheForwardedPathKeepsTheBytesAsSent(t *testing.T) {
	for sent, want := range map[string]string{
		"//api/v4/projects/024/packages/generic/p/1%2E0.0/a%2ebin/": "",
		"/%61pi/v4/projects/Group%2fApp/packages/generic/p/1.0.0/f": "",
		"/api/v4/projects/Group%2fApp/generic/p/1%2E0.0/a%2ebin":    "/api/v4/projects/Group%2fApp/packages/generic/p/1%2E0.0/a%2ebin",
		"//api//v4/projects/024//generic//p/1.0.0/d//f/":            "/api/v4/projects/024/packages/generic/p/1.0.0/d/f",
		"/api/v4/projects/24/generic/packages/generic/f":            "/api/v4/projects/24/packages/generic/packages/generic/f",
		"/api/v4/projects/24/generic/p/1.0.0/f/authorize":           "/api/v4/projects/24/packages/generic/p/1.0.0/f/authorize",
	} {
		if want == "" {
			want = sent
		}
		route, err := ParseRoute(sent)
		if err != nil || route.Path != want {
			t.Errorf("%s: forwarded as %s, %v, want %s", sent, route.Path, err, want)
		}
		if again, err := ParseRoute(route.Path); err != nil || again.Ref != route.Ref {
			t.Errorf("%s is %v, forwarded as %s it is %v, %v", sent, route.Ref, route.Path, again.Ref, err)
		}
	}
}

func TestNestedFilesAreBounded(t *testing.T) {
	const base = "/api/v4/projects/24/packages/generic/pkg/1.0.0/"
	directory := strings.Repeat("d", 254) + "/"
	for file, parameter := range map[string]string{
		directory + directory + directory + directory + "four":  "",
		directory + directory + directory + directory + "four.": "path",
		strings.Repeat("d", 256) + "/f":                         "path",
		"d/" + strings.Repeat("f", 256):                         "file_name",
		"d%25/f":                                                "path",
		"d%252e%252e/f":                                         "path",
		"d%2Fe/f":                                               "path",
		"d%5Ce/f":                                               "path",
		"d%0a/f":                                                "path",
		"%C3%A4/f":                                              "path",
		"d/f%2Fg":                                               "file_name",
		"d%20e;(f)/f":                                           "",
		strings.Repeat("d/", 511) + "ff":                        "",
		strings.Repeat("d/", 511) + "fff":                       "path",
		strings.Repeat("d/", 512) + "f":                         "path",
		strings.Repeat("d/", 513) + "f":                         "path",
		strings.Repeat("d/", 100_000) + "f":                     "path",
	} {
		route, err := ParseRoute(base + file)
		var invalid *InvalidError
		if got := errors.As(err, &invalid); got != (parameter != "") || (got && invalid.Parameter != parameter) {
			t.Errorf("%.40s: got %v, want %q invalid", file, err, parameter)
		}
		if err != nil && route.Ref.Project != "24" {
			t.Errorf("%.40s: the project is not told", file)
		}
		if decoded := strings.ReplaceAll(file, "%20", " "); err == nil && route.Ref.File != decoded {
			t.Errorf("%.40s: the file is %.40q", file, route.Ref.File)
		}
	}
}

// TestAKeptRefKeepsNothingOfTheRequest: a first line may have a megabyte, and refs are kept as keys.
func TestAKeptRefKeepsNothingOfTheRequest(t *testing.T) {
	const requests, line = 64, 1 << 20
	refs := make([]Ref, 0, requests)
	before := heapInUse()
	for range requests {
		route, err := ParseRoute("/api/v4/projects/24/packages/generic" + strings.Repeat("/", line) + "pkg/1.0.0/app.bin")
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, route.Ref)
	}
	if kept := heapInUse() - before; kept > requests*line/4 {
		t.Errorf("%d refs keep %d bytes in memory", requests, kept)
	}
	runtime.KeepAlive(refs)
}

func heapInUse() int {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc) //nolint:gosec // a test's heap is small
}

func TestParseRouteHardlyAllocates(t *testing.T) {
	for path, most := range map[string]float64{
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin":                    1,
		"/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/app.bin":           2,
		"/api/v4/projects/Group%2FApp/packages/generic/pkg/1%2E0%2E0/app%2Ebin":     5,
		"/group/app/-/blob/main/a/b/c/d/e/f":                                        0,
		"/api/v4/projects/24/repository/files/a%2Fb%2Fc/raw":                        0,
		"/assets/webpack/runtime.3c2d.js":                                           0,
		"/api/v4/projects/24/packages/maven/com/example/app/1.0.0/app-1.0.0.jar":    0,
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/directory/directory/my.bin": 3,
	} {
		if got := testing.AllocsPerRun(100, func() { _, _ = ParseRoute(path) }); got > most {
			t.Errorf("%s: %v allocations, want at most %v", path, got, most)
		}
	}
}

// FuzzRouteAgainstGrape holds ParseRoute against an independent reading of GitLab's route. What GitLab would route, from
// the path as it is or as any web server might have cleaned it, must not go by as somebody else's; and what ParseRoute
// reads must be what GitLab reads.
func FuzzRouteAgainstGrape(f *testing.F) {
	for _, seed := range []string{
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin", "//%61pi/v4/projects/g%2Fa/p%61ckages/generic//p/v/d/e/f%252e/",
		"/api/v4/projects/24%0A/packages/generic/p/1.0.0/a", "/api/v4/projects/1/packages/generic/p/../1.0.0/a", "/api/v4/projects/1/generic/p/1.0.0/a",
		"/x/%2e%2e/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/1/packages/x//../../packages/generic/p/1/f",
		"/o/any/api/v4/projects/24/packages/generic/pkg/1.0.0/f", "//%6F/a%2Fb/api/v4/projects/24/generic/p/1.0.0/f", "/o/x/../api/v4/projects/24/packages/generic/p/1/f",
		"/api/v4/projects/1/packages/generic/p/1/%zz", "/api/v4/projects/1/packages/generic/p%2fq/1;2/a\\b/\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		route, err := ParseRoute(escaped)
		readings := map[string]string{"as sent": escaped, "as Workhorse cleans it": path.Clean("/" + escaped)}
		if base, urlErr := url.Parse("http://gitlab.invalid/"); urlErr == nil {
			readings["as RFC 3986 resolves it"] = base.ResolveReference(&url.URL{Path: escaped, RawPath: escaped}).EscapedPath()
		}
		var seen []string
		for segment := range strings.SplitSeq(escaped, "/") {
			if decoded, decodeErr := url.PathUnescape(segment); decodeErr == nil && (decoded == "." || decoded == "..") {
				segment = decoded
			}
			seen = append(seen, segment)
		}
		readings["cleaned with encoded dots"] = path.Clean("/" + strings.Join(seen, "/"))
		readings["without dot segments"] = strings.Join(slices.DeleteFunc(seen, func(s string) bool { return s == "." || s == ".." }), "/")
		for how, reading := range readings {
			if routedByGitLab(reading) != nil && errors.Is(err, ErrNotGeneric) {
				t.Errorf("%q, %s (%q), is a package to GitLab and not to us", escaped, how, reading)
			}
		}
		if err != nil {
			return
		}
		captured := routedByGitLab(route.Path)
		if captured == nil {
			t.Fatalf("%q would be forwarded as %q, which GitLab doesn't route", escaped, route.Path)
		}
		for i := range captured {
			if captured[i], err = url.PathUnescape(captured[i]); err != nil {
				t.Fatalf("%q: GitLab would read what can't be decoded: %v", escaped, err)
			}
		}
		file := strings.TrimPrefix(captured[3]+"/"+captured[4], "/")
		file = regexp.MustCompile(`/+`).ReplaceAllString(file, "/")
		project, err := CanonicalProject(captured[0])
		if read := (Ref{project, captured[1], captured[2], file}); err != nil || route.Ref != read {
			t.Errorf("%q: we read %v, GitLab %v (%v)", escaped, route.Ref, read, err)
		}
	})
}

// FuzzSpellings spells a legal path anew: percent-encoded characters and doubled slashes change nothing, dot segments
// have it refused.
func FuzzSpellings(f *testing.F) {
	f.Add("group/app", "pkg", "1.0.0", "app.bin", []byte{0, 1, 2, 3})
	f.Add("024", "p+q", "v1", "d/e f/~x", []byte{1})
	f.Add("24", "%2F", "..1", "a@b", []byte{2, 0, 0, 4})
	f.Fuzz(func(t *testing.T, project, name, version, file string, how []byte) {
		want := Ref{project, name, version, file}
		if project == "" || name == "" || version == "" || strings.Contains("/"+file+"/", "//") || len(how) == 0 {
			return // no ref: an empty name is no segment at all
		}
		plain := want.EscapedPath()
		if route, err := ParseRoute(plain); err != nil {
			return // not a legal ref
		} else if want.Project, err = CanonicalProject(project); err != nil || route.Ref != want {
			t.Fatalf("%v: its own path is %v, %v", want, route.Ref, err)
		}
		var spelled strings.Builder
		dots := false
		for i := 0; i < len(plain); i++ {
			c := plain[i]
			switch change := how[i%len(how)] % 5; {
			case c == '%':
				spelled.WriteString(plain[i : i+3])
				i += 2
			case c == '/' && change == 1:
				spelled.WriteString("///")
			case c == '/' && change == 2:
				dots = true
				spelled.WriteString("/./")
			case c == '/' && change == 3:
				dots = true
				spelled.WriteString("/x/%2e./")
			case c != '/' && change > 2:
				spelled.WriteString("%" + strconv.FormatInt(int64(c), 16))
			default:
				spelled.WriteByte(c)
			}
		}
		route, err := ParseRoute(spelled.String())
		var invalid *InvalidError
		if dots && !errors.As(err, &invalid) {
			t.Errorf("%q has dot segments: got %v, %v", spelled.String(), route, err)
		}
		if !dots && (err != nil || route.Ref != want) {
			t.Errorf("%q is another spelling of %v: got %v, %v", spelled.String(), want, route.Ref, err)
		}
	})
}

func BenchmarkParseRouteSpellings(b *testing.B) {
	for name, path := range map[string]string{
		"path":     "/api/v4/projects/group%2Fsubgroup%2Fapp/packages/generic/pkg/1.0.0/app.bin",
		"encoded":  "/api/v4/projects/Group%2Fapp/packages/generic/pkg/1%2E0%2E0/app%2Ebin",
		"nested":   "/api/v4/projects/24/packages/generic/pkg/1.0.0/linux/amd64/app.bin",
		"others'":  "/group/app/-/blob/main/a/b/c/d/e/f",
		"refused":  "/api/v4/projects/24/packages/generic/pkg/1.0.0/../app.bin",
		"repeated": "/api/v4/projects/24/packages/generic" + strings.Repeat("/x", 10_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = ParseRoute(path)
			}
		})
	}
}
