package gitlabtest_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// published is when the files of newDated were.
var published = time.Date(2025, 3, 4, 5, 6, 7, 890, time.UTC)

// newDated is newWorld with a clock that stands still, a minute after the files were published.
func newDated(t *testing.T, options ...gitlabtest.Option) *gitlabtest.Server {
	t.Helper()
	s := gitlabtest.New(options...)
	t.Cleanup(s.Close)
	s.AddProject(gitlabtest.Project{ID: 24, Path: "group/app"})
	s.AddToken(gitlabtest.Token{Secret: "dev", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}})
	s.SetClock(func() time.Time { return published })
	s.Publish(24, "pkg", "1.0.0", "f", []byte("0123456789"))
	s.SetClock(func() time.Time { return published.Add(time.Minute) })
	return s
}

const sumOfDigits = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"

// TestHeadersOfADownload is the first table of section 4, mode by mode. "" is a header that must not be there, "*" one
// that must be, whatever it says.
func TestHeadersOfADownload(t *testing.T) {
	common := map[string]string{
		"Cache-Control": "no-cache", "Vary": "Origin", "X-Frame-Options": "SAMEORIGIN", "X-Content-Type-Options": "nosniff",
		"X-Request-Id": "*", "X-Runtime": "*", "X-Sendfile": "", "Ratelimit-Limit": "", "Date": "Tue, 04 Mar 2025 05:07:07 GMT",
		"Expires": "", "Set-Cookie": "",
	}
	file := map[string]string{
		"Content-Type": "application/octet-stream", "Content-Length": "10", "Accept-Ranges": "bytes", "Location": "",
		"Content-Disposition": `attachment; filename="f"; filename*=UTF-8''f`, "Last-Modified": "Tue, 04 Mar 2025 05:06:07 GMT",
		"X-Checksum-Sha256": sumOfDigits,
	}
	for mode, own := range map[gitlabtest.Mode]map[string]string{
		gitlabtest.LocalDisk: {"Etag": "", "Content-Transfer-Encoding": "binary"},
		gitlabtest.Proxied:   {"Etag": "*", "Content-Transfer-Encoding": ""},
		gitlabtest.Redirect: {
			"Etag": "", "Content-Transfer-Encoding": "", "Content-Type": "text/plain", "Content-Length": "*", "Accept-Ranges": "",
			"Location": "*", "Content-Disposition": "", "Last-Modified": "", "X-Checksum-Sha256": "",
		},
	} {
		expected := make(map[string]string)
		for _, table := range []map[string]string{common, file, own} {
			maps.Copy(expected, table) // the later ones have the last word
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			t.Run(fmt.Sprintf("mode %d, %s", mode, method), func(t *testing.T) {
				s := newDated(t)
				s.SetMode(mode)
				s.SetChecksums(true)
				response, _ := ask(t, s, method, "/api/v4/projects/24/packages/generic/pkg/1.0.0/f", "", "Private-Token", "dev")
				for name, want := range expected {
					got := strings.Join(response.Header.Values(name), ", ")
					if got != want && (want != "*" || got == "") {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
			})
		}
	}
}

func TestChecksumsAreOnlyWhereTheyAreOn(t *testing.T) {
	s := newDated(t)
	for _, mode := range []gitlabtest.Mode{gitlabtest.LocalDisk, gitlabtest.Proxied} {
		s.SetMode(mode)
		for _, on := range []bool{true, false} {
			s.SetChecksums(on)
			response, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
			if got := response.Header.Get("X-Checksum-Sha256"); (got == sumOfDigits) != on || (got == "") == on {
				t.Errorf("mode %d, on %v: %q", mode, on, got)
			}
		}
	}
}

// TestConditionsAndRanges is the second table of section 4.
func TestConditionsAndRanges(t *testing.T) {
	t.Parallel()
	const modified = "Tue, 04 Mar 2025 05:06:07 GMT"
	const before = "Tue, 04 Mar 2025 05:06:06 GMT"
	const tag = "the current tag"
	type want struct {
		status int
		body   string
	}
	whole, none := want{200, "0123456789"}, want{304, ""}
	for _, test := range []struct {
		name           string
		header         []string
		local, proxied want
	}{
		{"nothing", nil, whole, whole},
		{"modified since then", []string{"If-Modified-Since", before}, whole, whole},
		{"not modified since", []string{"If-Modified-Since", modified}, none, none},
		{"a made-up tag", []string{"If-None-Match", `"x"`}, whole, whole},
		{"a made-up tag disables the date", []string{"If-None-Match", `"x"`, "If-Modified-Since", modified}, whole, whole},
		{"any tag", []string{"If-None-Match", "*"}, none, none},
		{"the tag", []string{"If-None-Match", tag}, whole, none},
		{"if the tag is another", []string{"If-Match", `"x"`}, want{412, ""}, want{412, ""}},
		{"if the tag is this", []string{"If-Match", tag}, want{412, ""}, whole},
		{"unmodified since then", []string{"If-Unmodified-Since", before}, want{412, ""}, want{412, ""}},
		{"unmodified since", []string{"If-Unmodified-Since", modified}, whole, whole},
		{"a range", []string{"Range", "bytes=2-4"}, want{206, "234"}, want{206, "234"}},
		{"an open range", []string{"Range", "bytes=7-"}, want{206, "789"}, want{206, "789"}},
		{"the last bytes", []string{"Range", "bytes=-2"}, want{206, "89"}, want{206, "89"}},
		{"past the end", []string{"Range", "bytes=10-"}, want{416, "*"}, want{416, "*"}},
		{"nonsense", []string{"Range", "bytes=x"}, want{416, "*"}, want{416, "*"}},
		{"two ranges", []string{"Range", "bytes=0-1,3-4"}, want{206, "*"}, want{206, "*"}},
		{"a range if the date is this", []string{"Range", "bytes=2-4", "If-Range", modified}, want{206, "234"}, want{206, "234"}},
		{"a range if the date is another", []string{"Range", "bytes=2-4", "If-Range", before}, whole, whole},
		{"a range if the tag is this", []string{"Range", "bytes=2-4", "If-Range", tag}, whole, want{206, "234"}},
		{"a range if the tag is another", []string{"Range", "bytes=2-4", "If-Range", `"x"`}, whole, whole},
	} {
		for mode, want := range map[gitlabtest.Mode]want{gitlabtest.LocalDisk: test.local, gitlabtest.Proxied: test.proxied, gitlabtest.Redirect: {302, "*"}} {
			t.Run(fmt.Sprintf("%s, mode %d", test.name, mode), func(t *testing.T) {
				t.Parallel()
				s := newDated(t)
				s.SetMode(gitlabtest.Proxied)
				current, _ := ask(t, s, "HEAD", file(24), "", "Private-Token", "dev")
				s.SetMode(mode)
				s.SetChecksums(true)
				header := append([]string{"Private-Token", "dev"}, test.header...)
				for i := range header {
					if header[i] == tag {
						header[i] = current.Header.Get("Etag")
					}
				}
				response, body := ask(t, s, "GET", file(24), "", header...)
				if response.StatusCode != want.status || (body != want.body && want.body != "*") {
					t.Errorf("got %s %q, want %d %q", response.Status, body, want.status, want.body)
				}
				if mode != gitlabtest.Redirect && response.Header.Get("X-Checksum-Sha256") != sumOfDigits {
					t.Errorf("%s without the whole file's checksum", response.Status)
				}
				if strings.Contains(strings.Join(test.header, ""), ",3-4") && mode != gitlabtest.Redirect &&
					!strings.HasPrefix(response.Header.Get("Content-Type"), "multipart/byteranges") {
					t.Errorf("two ranges as %s", response.Header.Get("Content-Type"))
				}
			})
		}
	}
}

// TestRedirects is section 1's table of HEAD and section 4's column of redirects.
func TestRedirects(t *testing.T) {
	for _, test := range []struct {
		name                     string
		provider                 gitlabtest.Provider
		signature                string
		followedByHEAD, afterGET int // following HEAD's redirect with HEAD, and GET's with HEAD
	}{
		{"AWS", gitlabtest.AWS, "X-Amz-Signature", 200, 403},
		{"Google", gitlabtest.Google, "X-Goog-Signature", 403, 403},
		{"Azure", gitlabtest.Azure, "sig", 200, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newDated(t, gitlabtest.WithStorage(test.provider))
			s.SetMode(gitlabtest.Redirect)
			get, body := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
			head, _ := ask(t, s, "HEAD", file(24), "", "Private-Token", "dev")
			location := get.Header.Get("Location")
			if get.StatusCode != 302 || head.StatusCode != 303 {
				t.Errorf("GET %s, HEAD %s", get.Status, head.Status)
			}
			if !strings.Contains(body, location) || !strings.HasPrefix(location, s.StorageURL+"/") || !strings.Contains(location, test.signature+"=") {
				t.Errorf("Location %s, body %s", location, body)
			}
			if !strings.Contains(location, "attachment%3B") || strings.Contains(location, "dev") {
				t.Errorf("Location %s", location)
			}
			path := func(location string) string { return strings.TrimPrefix(location, s.StorageURL) }
			samePath, _, _ := strings.Cut(head.Header.Get("Location"), "?")
			if !strings.HasPrefix(location, samePath+"?") {
				t.Errorf("HEAD leads to %s and GET to %s", samePath, location)
			}
			if followed, body := askAt(t, s.StorageURL, "GET", path(location), ""); followed.StatusCode != 200 || body != "0123456789" ||
				followed.Header.Get("Content-Disposition") != `attachment; filename="f"; filename*=UTF-8''f` ||
				followed.Header.Get("Content-Type") != "application/octet-stream" || followed.Header.Get("Etag") == "" {
				t.Errorf("following: %s %q %v", followed.Status, body, followed.Header)
			}
			if followed, _ := askAt(t, s.StorageURL, "HEAD", path(head.Header.Get("Location")), ""); followed.StatusCode != test.followedByHEAD {
				t.Errorf("following HEAD's: %s, want %d", followed.Status, test.followedByHEAD)
			}
			if followed, _ := askAt(t, s.StorageURL, "HEAD", path(location), ""); followed.StatusCode != test.afterGET {
				t.Errorf("following GET's with HEAD: %s, want %d", followed.Status, test.afterGET)
			}
		})
	}
}

func TestStorageRefuses(t *testing.T) {
	s := newDated(t, gitlabtest.WithSignatureLife(10*time.Second))
	s.SetMode(gitlabtest.Redirect)
	response, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
	signed := strings.TrimPrefix(response.Header.Get("Location"), s.StorageURL)
	later := published.Add(time.Minute)
	for _, test := range []struct {
		name, method, path string
		header             []string
		at                 time.Time
		status             int
		code               string
	}{
		{"nothing", "GET", signed, nil, later, 200, "0123456789"},
		{"in time", "GET", signed, nil, later.Add(9 * time.Second), 200, "0123456789"},
		{"too late", "GET", signed, nil, later.Add(11 * time.Second), 403, "Request has expired"},
		{"another method", "PUT", signed, nil, later, 403, "SignatureDoesNotMatch"},
		{"another key", "GET", strings.Replace(signed, "/files/", "/file/", 1), nil, later, 403, "SignatureDoesNotMatch"},
		{"another life", "GET", strings.Replace(signed, "X-Amz-Expires=10", "X-Amz-Expires=99", 1), nil, later, 403, "SignatureDoesNotMatch"},
		{"another header", "GET", strings.Replace(signed, "attachment", "inline", 1), nil, later, 403, "SignatureDoesNotMatch"},
		{"a further parameter", "GET", signed + "&private_token=dev", nil, later, 403, "SignatureDoesNotMatch"},
		{"no signature", "GET", strings.Split(signed, "?")[0], nil, later, 403, "AccessDenied"},
		{"a second authorization", "GET", signed, []string{"Authorization", basic("x", "dev")}, later, 400, "Only one auth mechanism allowed"},
		{"other credentials, which it doesn't know", "GET", signed, []string{"Private-Token", "dev", "Job-Token", "x"}, later, 200, "0123456789"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.SetClock(func() time.Time { return test.at })
			response, body := askAt(t, s.StorageURL, test.method, test.path, "", test.header...)
			if response.StatusCode != test.status || !strings.Contains(body, test.code) {
				t.Errorf("got %s %s, want %d %s", response.Status, body, test.status, test.code)
			}
		})
	}
}

func TestStorageKnowsRangesAndConditions(t *testing.T) {
	s := newDated(t)
	s.SetMode(gitlabtest.Redirect)
	redirect, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
	signed := strings.TrimPrefix(redirect.Header.Get("Location"), s.StorageURL)
	whole, _ := askAt(t, s.StorageURL, "GET", signed, "")
	tag := whole.Header.Get("Etag")
	for _, test := range []struct {
		header []string
		status int
		body   string
	}{
		{[]string{"Range", "bytes=2-4"}, 206, "234"},
		{[]string{"Range", "bytes=2-4", "If-Range", tag}, 206, "234"},
		{[]string{"Range", "bytes=2-4", "If-Range", `"other"`}, 200, "0123456789"},
		{[]string{"Range", "bytes=20-"}, 416, "invalid range"},
		{[]string{"If-None-Match", tag}, 304, ""},
		{[]string{"If-Match", `"other"`}, 412, ""},
	} {
		if response, body := askAt(t, s.StorageURL, "GET", signed, "", test.header...); response.StatusCode != test.status || !strings.HasPrefix(body, test.body) {
			t.Errorf("%v: %s %q", test.header, response.Status, body)
		}
	}
}

// TestIdentities is the end of section 7: what tells uploads apart in each mode, and that a migration changes it.
func TestIdentities(t *testing.T) {
	s := newDated(t)
	identity := func() (tag, modified, location string) {
		s.SetMode(gitlabtest.Proxied)
		proxied, _ := ask(t, s, "HEAD", file(24), "", "Private-Token", "dev")
		s.SetMode(gitlabtest.Redirect)
		redirect, _ := ask(t, s, "HEAD", file(24), "", "Private-Token", "dev")
		place, _, _ := strings.Cut(redirect.Header.Get("Location"), "?")
		return proxied.Header.Get("Etag"), proxied.Header.Get("Last-Modified"), place
	}
	tag, modified, location := identity()
	sameTag, sameModified, sameLocation := identity()
	if tag != sameTag || modified != sameModified || location != sameLocation {
		t.Errorf("one upload is called %s and %s", []string{tag, modified, location}, []string{sameTag, sameModified, sameLocation})
	}
	s.SetClock(func() time.Time { return published.Add(900 * time.Millisecond) }) // the same second, the same bytes
	s.Publish(24, "pkg", "1.0.0", "f", []byte("0123456789"))
	s.SetClock(func() time.Time { return published.Add(time.Minute) })
	newTag, newModified, newLocation := identity()
	if newTag == tag || newModified != modified || newLocation == location {
		t.Errorf("a second upload is called %s after %s", []string{newTag, newModified, newLocation}, []string{tag, modified, location})
	}
	s.DeleteNewest(24, "pkg", "1.0.0", "f")
	if oldTag, _, oldLocation := identity(); oldTag != tag || oldLocation != location {
		t.Errorf("the upload that came back is called %s, %s", oldTag, oldLocation)
	}
	s.MigrateStorage()
	movedTag, movedModified, movedLocation := identity()
	if movedTag == tag || movedModified == modified || movedLocation == location {
		t.Errorf("after a migration: %s, %s, %s", movedTag, movedModified, movedLocation)
	}
	s.SetMode(gitlabtest.LocalDisk)
	if _, body := ask(t, s, "GET", file(24), "", "Private-Token", "dev"); body != "0123456789" {
		t.Errorf("after a migration: %q", body)
	}
}

func TestRateLimitHeadersOnSuccess(t *testing.T) {
	names := []string{"Ratelimit-Name", "Ratelimit-Limit", "Ratelimit-Observed", "Ratelimit-Remaining", "Ratelimit-Reset", "Ratelimit-Resettime"}
	for _, on := range []bool{false, true} {
		var options []gitlabtest.Option
		if on {
			options = append(options, gitlabtest.WithRateLimitHeaders())
		}
		s := newDated(t, options...)
		response, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
		has := slices.ContainsFunc(names, func(name string) bool { return response.Header.Get(name) != "" })
		all := !slices.ContainsFunc(names, func(name string) bool { return response.Header.Get(name) == "" })
		if has != on || all != on {
			t.Errorf("on %v: %v", on, response.Header)
		}
	}
}

func TestOtherOriginsAreServedWithoutCredentials(t *testing.T) {
	s := newDated(t)
	response, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev", "Origin", "https://elsewhere.example")
	if response.Header.Get("Access-Control-Allow-Origin") != "*" || response.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%v", response.Header)
	}
	preflight, _ := ask(t, s, "OPTIONS", file(24), "", "Origin", "https://elsewhere.example", "Access-Control-Request-Method", "PUT")
	if preflight.StatusCode != 200 || !strings.Contains(preflight.Header.Get("Access-Control-Allow-Methods"), "PUT") {
		t.Errorf("preflight: %s %v", preflight.Status, preflight.Header)
	}
	plain, _ := ask(t, s, "OPTIONS", file(24), "")
	if plain.StatusCode != 204 || plain.Header.Get("Allow") == "" {
		t.Errorf("OPTIONS: %s %v", plain.Status, plain.Header)
	}
}
