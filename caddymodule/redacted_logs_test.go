package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// unseen is the secret of the tests of logs. No log may show it.
const unseen = "glpat-unseen"

// redactedCaddyfile is a Caddy of which every log is redacted. One of its paths leads to where nobody answers, so that
// errors are logged with the requests that met them; another is answered with a signed URL. Arguments: storage, the
// default log, the access log, the site's address, GitLab, the cache, GitLab's origin, the signature.
const redactedCaddyfile = `{
	admin off
	persist_config off
	auto_https off
	grace_period 2s
	storage file_system %s
	log default {
		level DEBUG
		output file %s
		format gitlab_redacted {
			headers X-Team
		}
	}
}
http://%[4]s {
	log {
		output file %[3]s
		format gitlab_redacted {
			wrap json
			headers X-Team
		}
	}
	log_append query {http.request.uri.query}
	gitlab_packages %[5]s {
		identity_headers X-Team
		cache %[6]s {
			min_free 0
		}
	}
	redir /signed https://storage.example.com/f?X-Amz-Signature=%[8]s
	handle /unreachable {
		reverse_proxy 127.0.0.1:1
	}
	reverse_proxy %[7]s {
		transport http {
			keepalive off
		}
	}
}
`

// TestNoLogOfARunningCaddyShowsACredential sends each carrier through an edge in front of a GitLab with object storage:
// to a file, to what only GitLab has, to a signed redirect, and to where nobody answers.
func TestNoLogOfARunningCaddyShowsACredential(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	gitlab.Publish(project, "pkg", "1.0.0", "app.bin", someBytes(1000, 1))
	e := startEdge(t, gitlab.URL, "")
	root := t.TempDir()
	files := []string{filepath.Join(root, "default"), filepath.Join(root, "access")}
	e.config = func(string) []byte {
		caddyfile := fmt.Sprintf(redactedCaddyfile, filepath.Join(root, "storage"), files[0], files[1], strings.TrimPrefix(e.url, "http://"),
			gitlab.URL, e.directory, originOf(gitlab.URL), unseen)
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
		if err != nil {
			t.Fatal(err)
		}
		return adapted
	}
	e.reload(t, "")

	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode != http.StatusOK {
		t.Fatal(got.Status)
	}
	sent := 1
	for _, path := range []string{filePath("app.bin"), filePath("app.bin") + "?path=a", filePath("absent"), "/api/v4/projects/24", "/signed", "/unreachable"} {
		for _, c := range eachCarrier(path) {
			e.do(t, c)
			sent++
		}
	}
	for _, request := range oddPlaces {
		e.sendRaw(t, request)
		sent++
	}
	// Caddy logs a request after its answer is out.
	logged := func(file string) []byte {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	await(t, func() bool { return bytes.Count(logged(files[1]), []byte("\n")) >= sent })

	for file, holds := range map[string][]string{
		files[0]: {"http.log.error", "upstream roundtrip", "X-Team", "Private-Token", "private_token=REDACTED"},
		files[1]: {"handled request", "X-Team", "Private-Token", "private_token=REDACTED", "gitlab_packages", `"query":"token=REDACTED"`, "/f?X-Amz-Signature=REDACTED"},
	} {
		text := string(logged(file))
		for _, part := range holds {
			if !strings.Contains(text, part) {
				t.Errorf("%s: nothing of %s was logged: %.2000s", filepath.Base(file), part, text)
			}
		}
		for line := range strings.Lines(text) {
			if !json.Valid([]byte(line)) {
				t.Errorf("%s: no JSON: %s", filepath.Base(file), line)
			}
			for _, secret := range []string{"unseen", developer} {
				if strings.Contains(strings.ToLower(line), secret) {
					t.Errorf("%s shows %s: %s", filepath.Base(file), secret, line)
				}
			}
		}
	}
}

// oddPlaces are requests to a host h with a secret where nobody looks for one.
var oddPlaces = []string{
	"GET http://oauth2:" + unseen + "@h/unreachable HTTP/1.1\r\nHost: h\r\n",
	"GET http://" + unseen + "@h/unreachable HTTP/1.1\r\nHost: h\r\n",
	"GET /unreachable?to=http:%2F%2Fuser:" + unseen + "%40h%2F HTTP/1.1\r\nHost: h\r\n",
	"GET /unreachable/" + unseen + " HTTP/1.1\r\nHost: h\r\n",
	strings.ToUpper(unseen) + " /unreachable HTTP/1.1\r\nHost: h\r\n",
	"GET /unreachable HTTP/1.1\r\nHost: h\r\n" + unseen + ": x\r\n",
	"GET /unreachable HTTP/1.1\r\nHost: h\r\nReferer: https://user:" + unseen + "@h/\r\nUser-Agent: curl " + unseen + "\r\nIf-None-Match: \"" + unseen + "\"\r\n",
	"GET /unreachable HTTP/1.1\r\nHost: h\r\nTraceparent: 00-" + unseen + "-01\r\nX-Other: PRIVATE-TOKEN: unseen1\r\nX-More: {\"private_token\":\"" + unseen + "\"}\r\n",
	"GET /unreachable HTTP/1.1\r\nHost: h\r\nX-Nuget-Apikey: " + unseen + "\r\nX-Gitlab-Token: " + unseen + "\r\nGitlab-Workhorse-Api-Request: " + unseen + "\r\n",
}

// sendRaw sends a request as it is written, but for the host and the end of its headers, and waits for the answer's end.
func (e *edge) sendRaw(t *testing.T, request string) {
	t.Helper()
	host := strings.TrimPrefix(e.url, "http://")
	request = strings.NewReplacer("Host: h", "Host: "+host, "@h/unreachable", "@"+host+"/unreachable").Replace(request)
	connection, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	if _, err := io.WriteString(connection, request+"Connection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, connection); err != nil {
		t.Fatal(err)
	}
}

// eachCarrier returns a call for each carrier, in several spellings if it is a parameter, and one with all of them.
func eachCarrier(path string) []call {
	mark := "?"
	if strings.Contains(path, mark) {
		mark = "&"
	}
	var calls []call
	all := call{path: path + mark + "a=b", header: http.Header{}}
	for _, name := range append([]string{"Proxy-Authorization", "X-Team"}, upstream.CarrierHeaders...) {
		calls = append(calls, call{path: path, header: http.Header{name: {unseen}}})
		all.header.Set(name, unseen)
	}
	all.header.Set("Referer", "https://h/?X-Amz-Signature="+unseen)
	for _, name := range upstream.CarrierParameters {
		encoded := fmt.Sprintf("%%%02x%s", name[0], name[1:])
		for _, parameter := range []string{name + "=", encoded + "=", name + "[]=", "[" + name + "]=", "a=b;" + name + "=", "to=" + url.QueryEscape("/f?"+name+"=")} {
			calls = append(calls, call{path: path + mark + parameter + unseen})
		}
		all.path += "&" + name + "=" + unseen
	}
	return append(calls, all)
}
