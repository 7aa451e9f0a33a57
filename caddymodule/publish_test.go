package caddymodule

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// put publishes a file through the edge with a developer's token.
func (e *edge) put(t testing.TB, path string, body []byte) answer {
	t.Helper()
	return e.do(t, call{method: http.MethodPut, path: path, token: developer, body: bytes.NewReader(body)})
}

func TestAPublishIsForwardedAndItsAnswerRelayed(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(300_000, 1)
	for _, test := range []struct {
		name   string
		call   call
		status int
		answer string
	}{
		{"with a length", call{path: filePath("a.bin"), token: developer, body: bytes.NewReader(body)}, 201, `{"message":"201 Created"}`},
		{"chunked", call{path: filePath("b.bin"), token: developer, body: io.MultiReader(bytes.NewReader(body)), length: -1}, 201, `{"message":"201 Created"}`},
		{"with Expect", call{path: filePath("c.bin"), token: developer, body: bytes.NewReader(body), header: http.Header{"Expect": {"100-continue"}}}, 201, `{"message":"201 Created"}`},
		{"with a job token", call{path: filePath("d.bin"), header: http.Header{"Job-Token": {jobToken}}, body: bytes.NewReader(body)}, 201, `{"message":"201 Created"}`},
		{"with select and status", call{path: filePath("e.bin") + "?status=hidden&select=package_file", token: developer, body: bytes.NewReader(body)}, 200, `"file_sha256":"` + hexSHA256(body) + `"`},
		{"empty", call{path: filePath("f.bin"), token: developer, body: http.NoBody}, 201, `{"message":"201 Created"}`},
		{"with a bad status", call{path: filePath("g.bin") + "?status=odd", token: developer, body: bytes.NewReader(body)}, 400, `{"error":"status does not have a valid value"}`},
		{"with a wrong token", call{path: filePath("h.bin"), token: "glpat-wrong", body: bytes.NewReader(body)}, 401, `{"message":"401 Unauthorized"}`},
		{"without access", call{path: filePath("i.bin"), token: outsider, body: bytes.NewReader(body)}, 404, `{"message":"404 Not Found"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.call.method = http.MethodPut
			got := e.do(t, test.call)
			if got.StatusCode != test.status || !strings.Contains(string(got.body), test.answer) {
				t.Errorf("got %s, %s", got.Status, got.body)
			}
			if test.status >= 300 {
				return
			}
			test.call.method, test.call.body, test.call.length = http.MethodGet, nil, 0
			test.call.path, _, _ = strings.Cut(test.call.path, "?")
			want := body
			if test.name == "empty" {
				want = nil
			}
			if down := e.do(t, test.call); !bytes.Equal(down.body, want) {
				t.Errorf("downloaded %s with %d bytes", down.Status, len(down.body))
			}
		})
	}
}

func TestAfterAPublishTheOldContentIsNeverServedAgain(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 1h")
		before, after := someBytes(50_000, 1), someBytes(50_000, 2)
		publishOld(gitlab, "app.bin", before)
		e.mustGet(t, "app.bin", developer, before)
		bySpelling := strings.Replace(filePath("app.bin"), "/24/", "/Group%2Fapp/", 1)
		if got := e.do(t, call{path: bySpelling, token: developer}); !bytes.Equal(got.body, before) {
			t.Fatalf("by path: %s", got.Status)
		}

		if got := e.put(t, filePath("app.bin"), after); got.StatusCode != 201 {
			t.Fatal(got.Status)
		}
		e.mustGet(t, "app.bin", developer, after)
		if got := e.do(t, call{path: bySpelling, token: developer}); !bytes.Equal(got.body, after) {
			t.Errorf("by path, after a publish by number: %s, %d bytes", got.Status, len(got.body))
		}
		// A publish whose answer was lost may have been taken: the old content must be asked about.
		gitlab.Publish(project, "pkg", "1.0.0", "app.bin", before)
		gitlab.Inject(gitlabtest.Fault{Method: http.MethodPut, Status: 500, AfterBody: true})
		e.put(t, filePath("app.bin"), before)
		e.mustGet(t, "app.bin", developer, before)
	})
}

func TestThePublishedCopyServesTheFirstDownloadWithoutABody(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "")
	publishOld(gitlab, "first.bin", []byte("so that the edge learns of checksums"))
	e.do(t, call{path: filePath("first.bin"), token: developer})
	for _, size := range []int{1, pumpPiece - 1, pumpPiece, pumpPiece + 1, 4 * pumpPiece} {
		body := someBytes(size, 3)
		for how, length := range map[string]int{"length": size, "chunked": -1} {
			name := fmt.Sprintf("%s%d.bin", how, size)
			got := e.do(t, call{method: http.MethodPut, path: filePath(name), token: developer, body: io.MultiReader(bytes.NewReader(body)), length: int64(length)})
			if got.StatusCode != 201 {
				t.Fatal(got.Status)
			}
			gets := gitlab.CountFetches()
			down := e.mustGet(t, name, developer, body)
			if gitlab.CountFetches() != gets {
				t.Errorf("%s: the first download fetched: %s", name, down.cacheStatus())
			}
			if down.Header.Get("Content-Disposition") != `attachment; filename="`+name+`"; filename*=UTF-8''`+name {
				t.Errorf("%s: Content-Disposition %q", name, down.Header.Get("Content-Disposition"))
			}
		}
	}
	body := someBytes(1<<20, 3)
	// What GitLab has is another file: the copy must not be served.
	if got := e.put(t, filePath("other.bin"), body); got.StatusCode != 201 {
		t.Fatal(got.Status)
	}
	gitlab.Publish(project, "pkg", "1.0.0", "other.bin", []byte("newer"))
	e.mustGet(t, "other.bin", developer, []byte("newer"))
}

// TestAnIllegalPublishIsRefusedBeforeAByteOfItIsRead sends only the head of an upload, by a raw socket.
func TestAnIllegalPublishIsRefusedBeforeAByteOfItIsRead(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects on {\n off 25\n}")
	for name, path := range map[string]string{
		"a bad version":   strings.Replace(filePath("a.bin"), "1.0.0", "v1", 1),
		"a bad directory": filePath("a.bin") + "?path=dir",
		"switched off":    strings.Replace(filePath("a.bin"), "/24/", "/25/", 1),
	} {
		for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
			t.Run(name+" "+strings.TrimSpace(expect), func(t *testing.T) {
				connection, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer connection.Close()
				_ = connection.SetDeadline(time.Now().Add(5 * time.Second))
				_, err = io.WriteString(connection, "PUT "+path+" HTTP/1.1\r\nHost: "+strings.TrimPrefix(e.url, "http://")+"\r\nPRIVATE-TOKEN: "+developer+"\r\n"+expect+"Content-Length: 1000000000\r\n\r\n")
				if err != nil {
					t.Fatal(err)
				}
				answered, err := io.ReadAll(connection)
				if err != nil {
					t.Fatal(err)
				}
				text := string(answered)
				if !strings.HasPrefix(text, "HTTP/1.1 40") || !strings.Contains(text, "Connection: close") || strings.Contains(text, "100 Continue") {
					t.Errorf("got %q", text)
				}
			})
		}
	}
	if n := len(gitlab.Requests()); n != 0 {
		t.Errorf("GitLab heard of it %d times", n)
	}
}

// TestARefusedUploadEndsThoughItsCallerStalls begins an upload that GitLab refuses and then sends nothing more. The
// refusal must come, and soon after it the end of the connection: nothing may wait for the rest of the body.
func TestARefusedUploadEndsThoughItsCallerStalls(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	connection, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(30 * time.Second))
	_, err = io.WriteString(connection, "PUT "+filePath("a.bin")+" HTTP/1.1\r\nHost: "+strings.TrimPrefix(e.url, "http://")+
		"\r\nPRIVATE-TOKEN: glpat-wrong\r\nContent-Length: 1000000\r\n\r\nbody")
	if err != nil {
		t.Fatal(err)
	}
	answered, err := io.ReadAll(connection)
	if text := string(answered); err != nil || !strings.HasPrefix(text, "HTTP/1.1 401") || !strings.Contains(text, "Connection: close") {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestARefusalReachesACallerWhoStillSends sends uploads that are refused early and goes on sending. A connection that
// is closed with unread bytes would be reset, and the refusal lost.
func TestARefusalReachesACallerWhoStillSends(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	for name, path := range map[string]string{
		"400": strings.Replace(filePath("a.bin"), "1.0.0", "v1", 1), "401": filePath("a.bin"),
	} {
		connection, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		_ = connection.SetDeadline(time.Now().Add(30 * time.Second))
		const length = 8 << 20 // more than net/http itself would read
		_, _ = fmt.Fprintf(connection, "PUT %s HTTP/1.1\r\nHost: %s\r\nPRIVATE-TOKEN: glpat-wrong\r\nContent-Length: %d\r\n\r\n",
			path, strings.TrimPrefix(e.url, "http://"), length)
		if n, err := io.CopyN(connection, neverEnding{}, length); err != nil {
			t.Errorf("%s: the connection broke after %d bytes: %v", name, n, err)
		}
		answered, err := io.ReadAll(connection)
		if err != nil || !strings.HasPrefix(string(answered), "HTTP/1.1 "+name) {
			t.Errorf("%s: got %q, %v", name, answered, err)
		}
	}
}

func TestARefusedExpectReachesTheCallerWithoutTheBody(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := &countingReader{reader: io.LimitReader(neverEnding{}, 1<<30)}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPut, e.url+filePath("a.bin"), body)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = 1 << 30
	request.Header.Set("Expect", "100-continue")
	request.Header.Set("Private-Token", "glpat-wrong")
	transport := &http.Transport{ExpectContinueTimeout: 30 * time.Second, DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != 401 || body.count != 0 {
		t.Errorf("got %s after %d bytes of the body", response.Status, body.count)
	}
}

type countingReader struct {
	reader io.Reader
	count  int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.reader.Read(p)
	c.count += int64(n)
	return n, err
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

var largestUpload = flag.Bool("largest-upload", false, "upload as much at once as GitLab takes, 5 GiB, and not a fifth of that")

func TestMemoryStaysFlatForAnUploadAsLargeAsGitLabTakes(t *testing.T) {
	size := int64(5 << 30)
	if !*largestUpload {
		size = 1 << 30 // memory that grows with it would show, too
	}
	gitlab := newGitLab(t)
	gitlab.DiscardLargeUploads()
	e := startEdge(t, gitlab.URL, "")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	got := e.do(t, call{method: http.MethodPut, path: filePath("big.bin"), token: developer, body: io.LimitReader(neverEnding{}, size), length: size})
	runtime.ReadMemStats(&after)
	if got.StatusCode != 201 {
		t.Fatalf("%s %s", got.Status, got.body)
	}
	if grown := after.Sys - before.Sys; after.Sys > before.Sys && grown > 64<<20 {
		t.Errorf("the process grew by %d MiB", grown>>20)
	}
	requests := gitlab.Requests()
	if last := requests[len(requests)-1]; last.Received != size {
		t.Errorf("GitLab received %d bytes", last.Received)
	}
}

// TestTheDocumentedCommandsWorkVerbatim runs the curl and wget lines of GitLab's documentation and of a CI job.
func TestTheDocumentedCommandsWorkVerbatim(t *testing.T) {
	gitlab := newGitLab(t)
	c := &clients{startEdge(t, gitlab.URL, ""), gitlab, t.TempDir()}
	body := someBytes(200_000, 4)
	c.write(t, "file.txt", body)
	short, long := c.url+"/api/v4/projects/24/generic/my_package/0.0.1/", c.url+"/api/v4/projects/24/packages/generic/my_package/0.0.1/"
	for _, test := range []struct {
		name    string
		command []string
		output  string
	}{
		{"curl upload", []string{"curl", "--silent", "--show-error", "--fail", "--header", "PRIVATE-TOKEN: " + developer, "--upload-file", "file.txt", short + "file.txt"}, `{"message":"201 Created"}`},
		{"curl download", []string{"curl", "--silent", "--show-error", "--fail", "--header", "PRIVATE-TOKEN: " + developer, short + "file.txt"}, string(body)},
		{"curl upload in a job", []string{"curl", "--silent", "--show-error", "--fail", "--header", "JOB-TOKEN: " + jobToken, "--upload-file", "file.txt", long + "job.txt"}, `{"message":"201 Created"}`},
		{"wget in a job", []string{"wget", "--quiet", "--output-document=-", "--header=JOB-TOKEN: " + jobToken, long + "job.txt"}, string(body)},
		{"curl with a user and password", []string{"curl", "--silent", "--show-error", "--fail", "--user", "dev:" + developer, long + "job.txt"}, string(body)},
	} {
		t.Run(test.name, func(t *testing.T) {
			need(t, test.command[0], test.command[0])
			if output, err := c.run(t, test.command[0], test.command[1:]...); err != nil || output != test.output {
				t.Errorf("%d bytes of output, %v", len(output), err)
			}
		})
	}
}

// TestWhoHearsOfAPublishNeverGetsTheOldFile asks for the file when the head of the publish's answer is there, after
// somebody else has had the old file confirmed while the publish was under way.
func TestWhoHearsOfAPublishNeverGetsTheOldFile(t *testing.T) {
	gitlab := newGitLab(t)
	target, err := url.Parse(gitlab.URL)
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	slow := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(target) },
		ModifyResponse: func(response *http.Response) error {
			if response.Request.Method == http.MethodPut {
				response.Body = &heldBody{ReadCloser: response.Body, release: release}
			}
			return nil
		},
		FlushInterval: -1,
	}
	e := startEdge(t, serveHTTP(t, slow.ServeHTTP), "max_age 1h\ngrant_ttl 1h")
	before, after := someBytes(50_000, 1), someBytes(50_000, 2)
	publishOld(gitlab, "app.bin", before)
	e.mustGet(t, "app.bin", developer, before)

	body, writer := io.Pipe()
	published := make(chan *http.Response, 1)
	go func() { // ends with the answer to the publish
		//nolint:bodyclose // closed by who receives it
		response, err := e.begin(call{method: http.MethodPut, path: filePath("app.bin"), token: developer, body: body, length: int64(len(after))})
		if err != nil {
			t.Error(err)
		}
		published <- response
	}()
	if _, err := writer.Write(after[:1000]); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return gitlab.Count(http.MethodPut) == 1 })
	e.mustGet(t, "app.bin", colleague, before)
	if _, err := writer.Write(after[1000:]); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	response := <-published
	if response == nil {
		return
	}
	defer response.Body.Close()
	for _, token := range []string{colleague, developer} {
		e.mustGet(t, "app.bin", token, after)
	}
	close(release)
}

// heldBody gives nothing before it is released.
type heldBody struct {
	io.ReadCloser
	release <-chan struct{}
}

func (b *heldBody) Read(p []byte) (int, error) {
	<-b.release
	return b.ReadCloser.Read(p)
}
