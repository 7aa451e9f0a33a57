package caddymodule

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rawAnswer is one answer to bytes that were written by hand.
type rawAnswer struct {
	status int
	header http.Header
	body   []byte
}

// raw writes bytes to a server and reads all answers until it hangs up. The last request should ask for that.
func raw(t *testing.T, url, text string) (answers []rawAnswer) {
	t.Helper()
	connection, err := net.DialTimeout("tcp", strings.TrimPrefix(url, "http://"), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = io.WriteString(connection, text) }() // ends with the connection; a server may refuse before the end
	reader := bufio.NewReader(connection)
	for {
		method, _, _ := strings.Cut(text, " ")
		response, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			if errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "timeout") {
				t.Errorf("no end of the answers: %v", err)
			}
			return answers
		}
		if response.StatusCode == http.StatusContinue {
			continue
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		answers = append(answers, rawAnswer{response.StatusCode, response.Header, body})
		if response.Close {
			return answers
		}
	}
}

// spelled is a GET with further lines; an empty one ends it.
func spelled(target, host string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + strings.Join(append(lines, ""), "\r\n")
}

const (
	goodLine  = "PRIVATE-TOKEN: " + developer
	wrongLine = "PRIVATE-TOKEN: glpat-wrong"
)

// hostileRequests are requests as attackers send them, by what is odd about them.
func hostileRequests(host string) map[string]string {
	path := filePath("app.bin")
	requests := map[string]string{
		"a token folded over two lines":   spelled(path, host, "PRIVATE-TOKEN: glpat-", " developer", ""),
		"a NUL in a header":               spelled(path, host, goodLine, "X-A: a\x00b", ""),
		"a bare CR in a header":           spelled(path, host, "X-A: a\r"+goodLine, ""),
		"a bare LF ends a line":           spelled(path, host, "X-A: a\n"+goodLine, ""),
		"a space before the colon":        spelled(path, host, "PRIVATE-TOKEN : "+developer, ""),
		"an underscore in a header":       spelled(path, host, "PRIVATE_TOKEN: "+developer, ""),
		"a good token and a wrong one":    spelled(path, host, goodLine, wrongLine, ""),
		"a wrong token and a good one":    spelled(path, host, wrongLine, goodLine, ""),
		"an empty token and a good one":   spelled(path, host, "PRIVATE-TOKEN:", goodLine, ""),
		"two tokens in one line":          spelled(path, host, "PRIVATE-TOKEN: "+developer+", glpat-wrong", ""),
		"a thousand tokens":               spelled(path, host, strings.TrimSuffix(strings.Repeat(wrongLine+"\r\n", 1000), "\r\n"), goodLine, ""),
		"parameters that contradict":      spelled(path+"?private_token="+developer+"&private_token=glpat-wrong", host, ""),
		"parameters that contradict, too": spelled(path+"?private_token=glpat-wrong&private_token="+developer, host, ""),
		"a semicolon in the query":        spelled(path+"?a=b;private_token="+developer, host, ""),
		"a parameter as a list":           spelled(path+"?private_token[]="+developer, host, ""),
		"another URL in a header":         spelled("/api/v4/version", host, "X-Original-URL: "+path, "X-Rewrite-URL: "+path, goodLine, ""),
		"another method in a header":      spelled(path, host, "X-HTTP-Method-Override: DELETE", goodLine, ""),
		"another host":                    spelled(path, "evil.example", goodLine, ""),
		"another host in the target":      spelled("http://evil.example"+path, host, goodLine, ""),
		"no host":                         "GET " + path + " HTTP/1.1\r\nConnection: close\r\n" + goodLine + "\r\n\r\n",
		"two hosts":                       spelled(path, host, "Host: evil.example", goodLine, ""),
		"HTTP/1.0":                        "GET " + path + " HTTP/1.0\r\n" + goodLine + "\r\n\r\n",
		"a method in lower case":          strings.Replace(spelled(path, host, goodLine, ""), "GET", "get", 1),
		"an unknown method":               strings.Replace(spelled(path, host, goodLine, ""), "GET", "BREW", 1),
		"an upgrade":                      spelled(path, host, goodLine, "Upgrade: websocket", ""),
		"an odd expectation":              spelled(path, host, goodLine, "Expect: miracles", ""),
		"a body":                          spelled(path, host, goodLine, "Content-Length: 5", "", "sudo="),
		"a form as a body":                spelled(path, host, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 29", "", "private_token="+developer),
		"a range that makes no sense":     spelled(path, host, goodLine, "Range: bytes=9-1,-,a-b", ""),
		"a range on a condition":          spelled(path, host, goodLine, "Range: bytes=0-9", "If-Range: \"odd", ""),
		"two lengths":                     spelled(path, host, goodLine, "Content-Length: 0", "Content-Length: 5", "", "GET /"),
		"a length that is none":           spelled(path, host, goodLine, "Content-Length: +5", "", "12345"),
		"a coding that is none":           spelled(path, host, goodLine, "Transfer-Encoding: xchunked", "", "0\r\n\r\n"),
		"a coding with a space":           spelled(path, host, goodLine, "Transfer-Encoding : chunked", "", "0\r\n\r\n"),
		"a coding twice":                  spelled(path, host, goodLine, "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "", "0\r\n\r\n"),
		"asterisk form":                   "OPTIONS * HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n",
		"authority form":                  "CONNECT " + host + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n",
		"head of two MiB":                 spelled(path, host, goodLine, "X-A: "+strings.Repeat("a", 2<<20), ""),
	}
	for _, target := range []string{
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/app%252Ebin", "/api/v4/projects/24/packages/generic/pkg/1.0.0/app%2ebin",
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/%2e%2e/app.bin", "/api/v4/projects/24/packages/generic/pkg/1.0.0/../1.0.0/app.bin",
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/./app.bin", "//api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin",
		"/api/v4/projects/24/packages/generic/pkg//1.0.0/app.bin", "/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin;x=1",
		"/api/v4;x/projects/24/packages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin%00",
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin%20", "/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin.",
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/%c0%af/app.bin", "/api/v4/projects/24/packages/generic/pkg/1.0.0%2fapp.bin",
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin/", "/api/v4/projects/24/packages/generic/pkg\\1.0.0\\app.bin",
		"/api/v4/projects/24%2fpackages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/%32%34/packages/generic/pkg/1.0.0/app.bin",
		"/API/v4/projects/24/packages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin.json",
		"/api/v4/projects/-24/packages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/24%0a/packages/generic/pkg/1.0.0/app.bin",
		"/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/group/app/packages/generic/pkg/1.0.0/app.bin",
		"/api/v4/projects/group%252Fapp/packages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/24/generic/pkg/1.0.0/app.bin?path=..%2F..",
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin#fragment", "/api/v4/projects/24/packages/generic/pkg/1.0.0/app.b%",
	} {
		requests["target "+target] = spelled(target, host, goodLine, "")
	}
	return requests
}

// TestHostileRequestsAreRefusedOrGoOnAsGitLabSeesThem sends each request to the edge and to GitLab itself: the edge
// refuses it, or answers what GitLab answers. Whatever it was, afterwards the stored file is what it was, for those who
// may have it, and for nobody else.
func TestHostileRequestsAreRefusedOrGoOnAsGitLabSeesThem(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(50_000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	host := strings.TrimPrefix(e.url, "http://")
	for name, request := range hostileRequests(host) {
		t.Run(name, func(t *testing.T) {
			got := raw(t, e.url, request)
			gitlabHost := strings.TrimPrefix(gitlab.URL, "http://")
			want := raw(t, gitlab.URL, strings.ReplaceAll(request, "Host: "+host, "Host: "+gitlabHost))
			switch {
			case len(got) == 0:
				if len(want) > 0 && want[0].status < 400 {
					t.Errorf("no answer; GitLab answers %d", want[0].status)
				}
			case got[0].status >= 400 && got[0].status < 500, got[0].status == http.StatusNotImplemented:
			case len(got[0].body) == 0 && got[0].header.Get("Cache-Status") == "" && got[0].header.Get("Content-Type") == "":
				// Caddy's own answer for a host that it has no site for.
			case len(want) == 0 || got[0].status != want[0].status || (got[0].status == http.StatusOK && !bytes.Equal(got[0].body, want[0].body)):
				t.Errorf("the edge answers %d, %.60q; GitLab %v", got[0].status, got[0].body, want)
			}
			if len(got) > 1 {
				t.Errorf("%d answers to one request", len(got))
			}
			// The same without the good token is never answered with the file.
			for _, answer := range raw(t, e.url, strings.ReplaceAll(request, developer, strings.Repeat("x", len(developer)))) {
				if bytes.Contains(answer.body, body[1000:1016]) {
					t.Error("the file is given to a wrong token")
				}
			}
			gitlab.ResetRequests()
			e.mustGet(t, "app.bin", developer, body)
			if got := e.do(t, call{path: filePath("app.bin")}); got.StatusCode != http.StatusUnauthorized && got.StatusCode != http.StatusNotFound {
				t.Errorf("afterwards nobody gets %s", got.Status)
			}
			for _, request := range gitlab.Requests() {
				if request.Method == http.MethodGet && request.Status == http.StatusOK {
					t.Error("afterwards the file is fetched again")
				}
			}
		})
	}
}

// TestRequestsOnOneConnectionAreJudgedEachByItsOwnToken pipelines, and hides one request in another's body.
func TestRequestsOnOneConnectionAreJudgedEachByItsOwnToken(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(5000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	host := strings.TrimPrefix(e.url, "http://")
	get := func(token string) string {
		return "GET " + filePath("app.bin") + " HTTP/1.1\r\nHost: " + host + "\r\nPRIVATE-TOKEN: " + token + "\r\n\r\n"
	}
	last := strings.Replace(get("glpat-wrong"), "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
	answers := raw(t, e.url, get(developer)+get(outsider)+get(colleague)+last)
	statuses := make([]int, 0, 4)
	for _, answer := range answers {
		statuses = append(statuses, answer.status)
		if (answer.status == http.StatusOK) != bytes.Equal(answer.body, body) {
			t.Errorf("%d with %d bytes", answer.status, len(answer.body))
		}
	}
	if fmt.Sprint(statuses) != "[200 404 200 401]" {
		t.Errorf("got %v", statuses)
	}

	// A length and chunks at once: whoever believed the length would take the second request for the first one's body.
	put := "PUT " + filePath("new.bin") + " HTTP/1.1\r\nHost: " + host + "\r\n" + goodLine + "\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s"
	for _, hidden := range []string{last, strings.Replace(last, "GET "+filePath("app.bin"), "DELETE /api/v4/projects/24", 1)} {
		gitlab.ResetRequests()
		for _, answer := range raw(t, e.url, fmt.Sprintf(put, 5+len(hidden), hidden)) {
			if bytes.Contains(answer.body, body[1000:1016]) {
				t.Error("the hidden request is answered with the first one's token")
			}
		}
		for _, request := range gitlab.Requests() {
			if request.Method != http.MethodPut && strings.Contains(fmt.Sprint(request.Header), developer) {
				t.Errorf("the hidden request reaches GitLab with the first one's token: %s %s", request.Method, request.Path)
			}
			if request.Method == http.MethodPut && request.Received > 0 {
				t.Errorf("the hidden request reaches GitLab as a body of %d bytes", request.Received)
			}
		}
	}
}

func TestThousandsOfRangesCostNoMoreThanTheFile(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(200_000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	for name, ranges := range map[string]string{
		"many":        strings.TrimSuffix(strings.Repeat("0-0,", 5000), ","),
		"overlapping": strings.TrimSuffix(strings.Repeat("0-,", 1000), ","),
		"from behind": strings.TrimSuffix(strings.Repeat("-100000,", 1000), ","),
	} {
		for _, file := range []string{"app.bin", "cold-" + name + ".bin"} {
			publishOld(gitlab, file, body)
			got := e.do(t, call{path: filePath(strings.ReplaceAll(file, " ", "-")), token: developer, header: http.Header{"Range": {"bytes=" + ranges}}})
			// Go's server sends the whole file where the parts would be more; the parts of one byte each have a head each.
			if len(got.body) > 5000*200 || (name != "many" && len(got.body) > len(body)) {
				t.Errorf("%s, %s: %s, %d bytes", name, file, got.Status, len(got.body))
			}
		}
	}
}
