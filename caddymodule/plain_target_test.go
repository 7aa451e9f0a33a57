package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// targetsOf are request targets that lead to a path by some way that isn't the plain one.
func targetsOf(host, path string) map[string]string {
	return map[string]string{
		"opaque":                         "x:http://anything" + path,
		"opaque, https":                  "x:https://anything" + path,
		"opaque with a path":             "x:anything" + path,
		"opaque, the scheme http":        "http:x://" + host + path,
		"opaque, no authority":           "mailto:" + path[1:],
		"opaque, twice":                  "a:b:c://" + host + path,
		"opaque with a query":            "x:http://anything" + path + "?x=y",
		"opaque with a user":             "x:http://user:password@anything" + path,
		"opaque, an empty authority":     "x:http://" + path,
		"absolute":                       "http://" + host + path,
		"absolute, https":                "https://" + host + path,
		"absolute, another scheme":       "x://" + host + path,
		"absolute with a user":           "http://user:password@" + host + path,
		"absolute, another host":         "http://evil.example" + path,
		"absolute, no host":              "http://" + path,
		"absolute, no slashes":           "http:" + path,
		"an authority in the path":       "//anything" + path,
		"three slashes":                  "///" + host + path,
		"a fragment":                     path + "#fragment",
		"a fragment before":              "/#" + path,
		"backslashes":                    strings.ReplaceAll(path, "/", "\\"),
		"a backslash first":              "\\" + path,
		"an encoded question mark":       path + "%3Fx=y",
		"an encoded question mark first": "/%3F" + path,
		"a parameter of a segment":       strings.Replace(path, "/v4/", "/v4;a=b/", 1),
		"only a query":                   "?" + path,
		"an encoded slash":               strings.Replace(path, "/v4/", "%2Fv4/", 1),
		"an organization":                "/o/anything" + path,
		"an organization, absolute":      "http://" + host + "//%6F//any%2Fthing" + path,
		"an organization, dots":          "/o/./anything" + path,
		"an organization and a short":    "/o/anything" + strings.Replace(path, "packages/", "", 1),
	}
}

// TestNoTargetLeadsToASwitchedOffProjectUnseen sends each target by GET and PUT to an edge with all projects off, before a
// plain reverse proxy: GitLab, which is asked the same directly, must never answer as for a package.
func TestNoTargetLeadsToASwitchedOffProjectUnseen(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects on {\n off 24 group/app\n}")
	old := []byte("what was published before")
	publishOld(gitlab, "app.bin", old)
	host := strings.TrimPrefix(e.url, "http://")
	for name, target := range targetsOf(host, filePath("app.bin")) {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost} {
			request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\nContent-Length: 3\r\n\r\nnew", method, target, host, goodLine)
			for _, got := range raw(t, e.url, request) {
				if got.status == http.StatusCreated || bytes.Contains(got.body, old) || got.header.Get("Content-Disposition") != "" {
					t.Errorf("%s %s: %d, %s", method, name, got.status, firstBytes(got.body))
				}
				if opaque := strings.HasPrefix(name, "opaque"); opaque && (got.status != http.StatusBadRequest || (method != http.MethodHead && !bytes.HasPrefix(got.body, []byte(`{"error":"path is invalid",`)))) {
					t.Errorf("%s %s: %d, %s", method, name, got.status, got.body)
				}
			}
		}
	}
	if status, got, _ := askGitLab(t, gitlab, "app.bin", http.Header{"Private-Token": {developer}}); !bytes.Equal(got, old) {
		t.Errorf("published: %v %q", status, got)
	}
}

// TestNoTargetPublishesUnseen publishes into a project that is on: afterwards the old file is no hit.
func TestNoTargetPublishesUnseen(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	host := strings.TrimPrefix(e.url, "http://")
	for name, target := range targetsOf(host, filePath("app.bin")) {
		before := []byte("before " + name)
		publishOld(gitlab, "app.bin", before)
		putForward(2 * time.Minute)
		e.mustGet(t, "app.bin", developer, before)
		e.mustGet(t, "app.bin", developer, before)
		request := fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\nContent-Length: 3\r\n\r\nnew", target, host, goodLine)
		published := false
		for _, got := range raw(t, e.url, request) {
			published = published || got.status == http.StatusCreated
		}
		want := before
		if published {
			want = []byte("new")
		}
		if got := e.do(t, call{path: filePath("app.bin"), token: developer}); !bytes.Equal(got.body, want) {
			t.Errorf("%s, published %v: %s, %s", name, published, got.Status, firstBytes(got.body))
		}
	}
}

// TestTheSameHoldsOverHTTP2 writes frames by hand, since clients have no such targets.
func TestTheSameHoldsOverHTTP2(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects on {\n off 24 group/app\n}")
	old := []byte("what was published before")
	publishOld(gitlab, "app.bin", old)
	host := strings.TrimPrefix(e.url, "http://")
	targets := targetsOf(host, filePath("app.bin"))
	targets["no slash first"] = filePath("app.bin")[1:]
	targets["plain"] = filePath("app.bin")
	for name, target := range targets {
		status, body := overHTTP2(t, host, target)
		if bytes.Contains(body, old) {
			t.Errorf("%s: %s, %s", name, status, body)
		}
		// Go's server resets a stream with such a path by itself.
		if strings.HasPrefix(name, "opaque") && status != "400" && status != "" {
			t.Errorf("%s: %q, %s", name, status, body)
		}
		if name == "plain" && status != "404" {
			t.Errorf("the way of asking doesn't work: %q", status)
		}
	}
}

// overHTTP2 sends one GET with a target as it is; an empty status is a stream that was reset.
func overHTTP2(t *testing.T, host, target string, further ...hpack.HeaderField) (status string, body []byte) {
	t.Helper()
	connection, err := net.DialTimeout("tcp", host, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(connection, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(connection, connection)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	method := "GET"
	for _, field := range further {
		if field.Name == ":protocol" {
			method = "CONNECT"
		}
	}
	pseudo := []hpack.HeaderField{{Name: ":method", Value: method}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: host}, {Name: ":path", Value: target}}
	fields := slices.Concat(pseudo, further, []hpack.HeaderField{{Name: "private-token", Value: developer}})
	for _, field := range fields {
		if err := encoder.WriteField(field); err != nil {
			t.Fatal(err)
		}
	}
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return status, body
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			status = frame.PseudoValue("status")
		case *http2.DataFrame:
			body = append(body, frame.Data()...)
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return status, body
		}
		if frame.Header().StreamID == 1 && frame.Header().Flags.Has(http2.FlagDataEndStream) {
			return status, body
		}
	}
}

// TestATargetIsPlainIfAllOfItIsInThePath looks at targets as net/http reads them.
func TestATargetIsPlainIfAllOfItIsInThePath(t *testing.T) {
	for target, want := range map[string]bool{
		"/api": true, "//host/api": true, "http://host": true, "http://host?x": true, "http://host/api": true, "*": true, "http:/api": true,
		"x:http://host/api": false, "http:api": false, "mailto:a": false,
	} {
		parsed, err := url.ParseRequestURI(target)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		if got := hasPlainTarget(parsed); got != want {
			t.Errorf("%s: %v; %#v", target, got, parsed)
		}
	}
	if hasPlainTarget(&url.URL{Path: "api/v4"}) {
		t.Error("a path without a slash")
	}
}

func TestOrganizationsKeepRulesAndSwitchesAndArePublishedInto(t *testing.T) {
	for _, base := range []string{"", "/gitlab"} {
		t.Run("base path "+base, func(t *testing.T) {
			options := []gitlabtest.Option{}
			if base != "" {
				options = append(options, gitlabtest.WithBasePath(base))
			}
			gitlab := newGitLab(t, options...)
			e := startEdge(t, gitlab.URL, "projects on {\n off 25\n}")
			old, fresh := someBytes(1000, 1), someBytes(1000, 2)
			publishOld(gitlab, "app.bin", old)
			plain, scoped := base+filePath("app.bin"), base+"/o/default"+filePath("app.bin")
			for range 2 {
				if got := e.do(t, call{path: plain, token: developer}); !bytes.Equal(got.body, old) {
					t.Fatalf("plain: %s", got.Status)
				}
				if got := e.do(t, call{path: scoped, token: developer}); !bytes.Equal(got.body, old) || !strings.Contains(got.cacheStatus(), "fwd=bypass") {
					t.Errorf("below an organization: %s, %q", got.Status, got.cacheStatus())
				}
			}
			for path, status := range map[string]int{
				strings.Replace(scoped, "/24/", "/25/", 1): 404, strings.Replace(scoped, "1.0.0", "v1", 1): 400, strings.Replace(scoped, "/o/", "/%6f//", 1): 200,
				strings.Replace(scoped, "/packages/", "/", 1): 200, strings.Replace(scoped, "app.bin", "../app.bin", 1): 400,
			} {
				if got := e.do(t, call{path: path, token: developer}); got.StatusCode != status {
					t.Errorf("%s: %s", path, got.Status)
				}
			}
			if got := e.put(t, scoped, fresh); got.StatusCode != http.StatusCreated {
				t.Fatalf("publishing: %s %s", got.Status, got.body)
			}
			if got := e.do(t, call{path: plain, token: developer}); !bytes.Equal(got.body, fresh) {
				t.Errorf("after a publish below an organization: %s, %q", got.Status, got.cacheStatus())
			}
		})
	}
}
