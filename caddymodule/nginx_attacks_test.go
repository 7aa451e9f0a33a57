package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// behindNginx starts GitLab, nginx and an edge, and stores app.bin at the edge.
func behindNginx(t *testing.T, lines nginxLines, options string) (*edge, *gitlabtest.Server, *nginx, []byte) {
	t.Helper()
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	front := startNginx(t, gitlab.URL, lines)
	e := startEdge(t, front.url, "max_age 1h\ngrant_ttl 1h\noffline_grace 10h\n"+options)
	body := someBytes(200_000, 1)
	publishOld(gitlab, "app.bin", body)
	publishOld(gitlab, "cold.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	return e, gitlab, front, body
}

// checkUntouched makes sure that app.bin is a plain hit still, and is served offline when GitLab is down.
func checkUntouched(t *testing.T, e *edge, gitlab *gitlabtest.Server, body []byte) {
	t.Helper()
	awaitNoFlight(t)
	gitlab.ResetRequests()
	if got := e.mustGet(t, "app.bin", developer, body); !strings.HasPrefix(got.cacheStatus(), "gitlab_packages; hit") {
		t.Errorf("afterwards: %q", got.cacheStatus())
	}
	if asked := gitlab.Requests(); len(asked) > 0 {
		t.Errorf("afterwards GitLab is asked: %v", asked)
	}
	if anyIsDown() {
		t.Error("the breaker is open")
	}
	gitlab.SetDown(true)
	putForward(2 * time.Hour)
	if got := e.mustGet(t, "app.bin", developer, body); !strings.HasSuffix(got.cacheStatus(), "; detail=offline") {
		t.Errorf("while GitLab is down: %q", got.cacheStatus())
	}
}

// anyIsDown reports whether any breaker of the running edge is open.
func anyIsDown() bool {
	for _, breakers := range runningState().allBreakers() {
		if len(breakers.Down()) > 0 {
			return true
		}
	}
	return false
}

// sendAndLeave writes bytes to a server and closes the connection.
func sendAndLeave(t *testing.T, url, text string) {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(connection, text)
	_ = connection.Close()
}

// TestBodiesThatBreakOffBeforeNginxChangeNothing sends what nginx, which buffers, never lets through to GitLab.
func TestBodiesThatBreakOffBeforeNginxChangeNothing(t *testing.T) {
	for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodPost} {
		t.Run(method, func(t *testing.T) {
			e, gitlab, _, body := behindNginx(t, nginxLines{}, "")
			setForTest(t, &process.bodyPatience, 100*time.Millisecond)
			gitlab.ResetRequests()
			for _, token := range []string{"", "PRIVATE-TOKEN: glpat-wrong\r\n", goodLine + "\r\n"} {
				head := method + " " + filePath("app.bin") + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(e.url, "http://") + "\r\n" + token
				for range 4 { // more than it takes to suspect GitLab
					for _, rest := range []string{
						"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n",
						"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZZ\r\n",
						"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n",
					} {
						for _, answer := range raw(t, e.url, head+rest) {
							if answer.status < 400 || answer.status == http.StatusServiceUnavailable {
								t.Errorf("%q is answered %d", rest, answer.status)
							}
						}
					}
					sendAndLeave(t, e.url, head+"Content-Length: 1000\r\n\r\nhalf")
					sendAndLeave(t, e.url, head+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
				}
			}
			for _, request := range gitlab.Requests() {
				t.Errorf("GitLab hears of %s %s, answers %d", request.Method, request.Path, request.Status)
			}
			checkUntouched(t, e, gitlab, body)
		})
	}
}

// TestNginxsOwnAnswersAreNobodysOutage has nginx refuse by itself: what is stored stays as it was, and GitLab isn't taken
// for dead.
func TestNginxsOwnAnswersAreNobodysOutage(t *testing.T) {
	large := someBytes(5000, 7)
	for name, test := range map[string]struct {
		lines nginxLines
		call  call
		want  []int
	}{
		"413": {nginxLines{location: "client_max_body_size 1k;"}, call{method: http.MethodPut, body: bytes.NewReader(large)}, []int{413}},
		"414": {nginxLines{server: "large_client_header_buffers 4 2k;"}, call{path: "?x=" + strings.Repeat("y", 3000)}, []int{414}},
		"414 of an upload": {
			nginxLines{server: "large_client_header_buffers 4 2k;"},
			call{method: http.MethodPut, path: "?x=" + strings.Repeat("y", 3000), body: bytes.NewReader(large)},
			[]int{414},
		},
		"400 for a long header": {nginxLines{}, call{header: http.Header{"X-Long": {strings.Repeat("y", 20_000)}, "Origin": {"http://a.example"}}}, []int{400}},
		"400 for a long cookie": {nginxLines{}, call{header: http.Header{"Cookie": {"_gitlab_session=" + strings.Repeat("y", 20_000)}}}, []int{400}},
		"an upload with a long header": {
			nginxLines{}, call{method: http.MethodPut, header: http.Header{"X-Long": {strings.Repeat("y", 20_000)}}, body: bytes.NewReader(large)}, []int{400},
		},
		"429": {nginxLines{location: "if ($http_private_token = glpat-wrong) { return 429; }"}, call{token: "glpat-wrong"}, []int{429}},
		"444": {nginxLines{location: "if ($http_private_token = glpat-wrong) { return 444; }"}, call{token: "glpat-wrong"}, []int{502}},
		"499": {nginxLines{location: "if ($http_private_token = glpat-wrong) { return 499; }"}, call{token: "glpat-wrong"}, []int{502}},
		"502": {nginxLines{location: "if ($http_private_token = glpat-wrong) { return 502; }"}, call{token: "glpat-wrong"}, []int{502}},
		"504": {nginxLines{location: "if ($http_private_token = glpat-wrong) { return 504; }"}, call{token: "glpat-wrong"}, []int{502, 504}},
	} {
		t.Run(name, func(t *testing.T) {
			e, gitlab, _, body := behindNginx(t, test.lines, "")
			for range 5 { // more than it takes to suspect GitLab
				for _, file := range []string{"app.bin", "cold.bin"} {
					c := test.call
					c.path = filePath(file) + c.path
					if c.body != nil {
						c.body = bytes.NewReader(large)
					}
					if got := e.do(t, c); !slices.Contains(test.want, got.StatusCode) {
						t.Errorf("%s: %s, %q, want one of %v", file, got.Status, got.cacheStatus(), test.want)
					}
				}
			}
			checkUntouched(t, e, gitlab, body)
		})
	}
}

// TestNginxThatIsDownIsAnOutageThatEnds stops nginx while GitLab is up, and GitLab while nginx is up, which answers 502.
func TestNginxThatIsDownIsAnOutageThatEnds(t *testing.T) {
	setForTest(t, &process.breakerPause, 20*time.Millisecond)
	for _, downs := range []string{"nginx", "GitLab"} {
		t.Run(downs, func(t *testing.T) {
			e, gitlab, front, body := behindNginx(t, nginxLines{}, "")
			awaitProbeAnswered(t)
			putForward(2 * time.Hour)
			if downs == "nginx" {
				front.stop()
			} else {
				gitlab.SetDown(true)
			}
			for range 6 {
				if got := e.mustGet(t, "app.bin", developer, body); !strings.HasSuffix(got.cacheStatus(), "; detail=offline") {
					t.Errorf("whom GitLab allowed: %q", got.cacheStatus())
				}
				for _, token := range []string{"", outsider, colleague} {
					got := e.do(t, call{path: filePath("app.bin"), token: token})
					if got.StatusCode < 500 || bytes.Contains(got.body, body[:16]) {
						t.Errorf("somebody else: %s", got.Status)
					}
				}
				if got := e.do(t, call{method: http.MethodPut, path: filePath("app.bin"), token: developer, body: bytes.NewReader(body[1:])}); got.StatusCode < 500 {
					t.Errorf("a publish: %s", got.Status)
				}
			}
			await(t, anyIsDown)
			if downs == "nginx" {
				front.restart(t)
			} else {
				gitlab.SetDown(false)
			}
			await(t, func() bool {
				return e.do(t, call{path: filePath("app.bin"), token: colleague}).StatusCode == http.StatusOK
			})
			e.mustGet(t, "app.bin", developer, body)
		})
	}
}

// TestAPublishThatNginxAnswers504AfterGitLabTookItIsDownloadedNext lets nginx lose patience with a GitLab that has taken
// the file.
func TestAPublishThatNginxAnswers504AfterGitLabTookItIsDownloadedNext(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	target, err := url.Parse(gitlab.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	slow := frontOf(t, gitlab, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		proxy.ServeHTTP(httptest.NewRecorder(), r)
		<-r.Context().Done() // until nginx hangs up
		return true
	})
	front := startNginx(t, slow, nginxLines{location: "proxy_read_timeout 500ms;"})
	e := startEdge(t, front.url, "max_age 1h\ngrant_ttl 1h")
	before, after := someBytes(200_000, 1), someBytes(200_000, 2)
	publishOld(gitlab, "app.bin", before)
	e.mustGet(t, "app.bin", developer, before)
	e.mustGet(t, "app.bin", colleague, before)
	got := e.do(t, call{method: http.MethodPut, path: filePath("app.bin"), token: developer, body: bytes.NewReader(after)})
	if got.StatusCode != http.StatusGatewayTimeout {
		t.Fatalf("the publish: %s", got.Status)
	}
	for _, token := range []string{colleague, developer} {
		e.mustGet(t, "app.bin", token, after)
	}
}

// TestThroughNginxAStrangerSeesNoDifferenceBetweenStoredAndAbsent compares whole answers, and what reaches GitLab.
func TestThroughNginxAStrangerSeesNoDifferenceBetweenStoredAndAbsent(t *testing.T) {
	e, gitlab, front, body := behindNginx(t, nginxLines{}, "")
	for _, token := range []string{"", "glpat-wrong", outsider} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for name, header := range map[string]http.Header{
				"plain": {}, "range": {"Range": {"bytes=5-9"}}, "first byte": {"Range": {"bytes=0-0"}},
				"condition": {"If-None-Match": {`"` + hexSHA256(body) + `"`}}, "date": {"If-Modified-Since": {time.Now().UTC().Format(http.TimeFormat)}},
			} {
				t.Run(fmt.Sprintf("%q %s %s", token, method, name), func(t *testing.T) {
					var answers, asked [2]string
					for i, file := range []string{"app.bin", "cold.bin"} {
						before := len(front.asked(t, file))
						got := e.do(t, call{method: method, path: filePath(file), token: token, header: header})
						for _, own := range []string{"Date", "X-Request-Id", "X-Gitlab-Meta", "X-Runtime"} {
							got.Header.Del(own)
						}
						answers[i] = fmt.Sprintf("%s %v %q", got.Status, got.Header, got.body)
						await(t, func() bool { return len(front.asked(t, file)) > before })
						for _, line := range front.asked(t, file)[before:] {
							asked[i] += line[:strings.IndexByte(line, '|')] + " " // a fetch asks for all of it, a question for a byte
						}
					}
					if strings.HasPrefix(answers[0], "2") || answers[0] != answers[1] {
						t.Errorf("stored: %s\nabsent: %s", answers[0], answers[1])
					}
					if asked[0] != asked[1] {
						t.Errorf("about a stored file nginx is asked %v, about an absent one %v", asked[0], asked[1])
					}
				})
			}
		}
	}
	checkUntouched(t, e, gitlab, body)
}

// TestThroughNginxAFileIsAskedAboutByItsFirstByte looks at what nginx is asked, for each kind of storage.
func TestThroughNginxAFileIsAskedAboutByItsFirstByte(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		front := startNginx(t, gitlab.URL, nginxLines{})
		e := startEdge(t, front.url, "max_age 0\ngrant_ttl 0")
		for file, body := range map[string][]byte{"app.bin": someBytes(300_000, 1), "empty.bin": nil} {
			// Of the real clock, which nginx's Date has.
			gitlab.SetClock(func() time.Time { return time.Now().Add(-time.Hour) })
			gitlab.Publish(project, "pkg", "1.0.0", file, body)
			for range 3 {
				e.mustGet(t, file, developer, body)
			}
			await(t, func() bool { return len(front.asked(t, file)) >= 3 })
			asked := front.asked(t, file)
			for i, line := range asked {
				method, rest, _ := strings.Cut(line, "|")
				ranges, _, _ := strings.Cut(rest, "|")
				want := "bytes=0-0"
				if i == 0 {
					want = "-"
				}
				if method != http.MethodGet || ranges != want {
					t.Errorf("%s: asked %v", file, asked)
				}
			}
		}
	})
}

// TestNginxThatIgnoresRangesIsAskedByHEAD has nginx take the Range away, as it does where it caches, and send whole files.
func TestNginxThatIgnoresRangesIsAskedByHEAD(t *testing.T) {
	for name, lines := range map[string]nginxLines{
		"it takes the header away": {location: `proxy_set_header Range ""; max_ranges 0;`},
		"it caches": {
			http:     "proxy_cache_path %s/cache keys_zone=files:1m;",
			location: "proxy_cache files; proxy_cache_key $request_uri$http_private_token; proxy_no_cache 1; max_ranges 0;",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if lines.http != "" {
				lines.http = fmt.Sprintf(lines.http, t.TempDir())
			}
			gitlab := newGitLab(t)
			gitlab.SetChecksums(true)
			front := startNginx(t, gitlab.URL, lines)
			e := startEdge(t, front.url, "max_age 0\ngrant_ttl 0")
			body := someBytes(3_000_000, 1)
			for _, file := range []string{"app.bin", "other.bin"} {
				publishOld(gitlab, file, body)
				for range 4 {
					e.mustGet(t, file, developer, body)
				}
			}
			for _, file := range []string{"app.bin", "absent.bin"} {
				if got := e.do(t, call{path: filePath(file), token: outsider}); got.StatusCode != http.StatusNotFound {
					t.Errorf("an outsider: %s", got.Status)
				}
			}
			questions := func(file, method, ranges string) (count int) {
				for _, line := range front.asked(t, file) {
					if strings.HasPrefix(line, method+"|"+ranges+"|") {
						count++
					}
				}
				return count
			}
			await(t, func() bool {
				return questions("app.bin", http.MethodHead, "-")+questions("other.bin", http.MethodHead, "-") >= 6
			})
			// A no to HEAD has GET asked, whose answer is a no as well.
			if first := questions("app.bin", http.MethodGet, "bytes=0-0|200") + questions("other.bin", http.MethodGet, "bytes=0-0|200"); first != 1 {
				t.Errorf("asked %d times for a first byte: %v, %v", first, front.asked(t, "app.bin"), front.asked(t, "other.bin"))
			}
		})
	}
}
