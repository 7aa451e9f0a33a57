package caddymodule

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// hostileCaller is one hostile caller, with one connection at a time.
type hostileCaller struct {
	load    *hostileLoad
	random  *rand.Rand
	address string
	end     time.Time
	attacks int
}

func newHostileCaller(l *hostileLoad, number int, end time.Time) *hostileCaller {
	return &hostileCaller{
		load: l, random: rand.New(rand.NewPCG(l.seed, uint64(number))), //nolint:gosec // to be the same each time
		address: fmt.Sprintf("198.51.100.%d", number+1), end: end,
	}
}

// attackUntilEnd does one attack after the other.
func (a *hostileCaller) attackUntilEnd(t *testing.T) {
	attacks := []func() string{
		a.malformedChunks, a.bodyThatNeverComes, a.uploadHeldOpen, a.opaqueTarget, a.organizationPath, a.randomToken, a.randomCookie,
		a.randomProject, a.rangeOfColdFile, a.headOfAnything, a.upgrade, a.postThatOverrides, a.longHeader, a.pipeline, a.halfClosed,
		a.slowReader, a.refusedDownload, a.refusedPublish, a.emptyPublish, a.publishElsewhere, a.projectThatIsOff, a.publishIntoOff,
		a.smuggled, a.otherMethod, a.longTarget, a.conditions, a.directoryInQuery, a.expectation,
	}
	for time.Now().Before(a.end) && !t.Failed() {
		text := attacks[a.random.IntN(len(attacks))]()
		a.attacks++
		if text == "" {
			continue
		}
		a.checkAnswers(t, text, a.exchange(text, a.patience()))
	}
}

// patience is how long an attacker holds a connection open on which nothing comes.
func (a *hostileCaller) patience() time.Duration {
	left := time.Until(a.end) + 100*time.Millisecond
	if a.random.IntN(40) == 0 {
		return min(left, 3*time.Second)
	}
	return min(left, time.Duration(1+a.random.IntN(80))*time.Millisecond)
}

// checkAnswers makes sure that no attack brings what honest callers alone may have, nor anything of the project that is off.
func (a *hostileCaller) checkAnswers(t *testing.T, text string, answers []byte) {
	about, _, _ := strings.Cut(text, "\r\n")
	if bytes.Contains(answers, []byte(honestMarker)) {
		t.Errorf("%.300q brings a private file", text)
	}
	if bytes.Contains(answers, []byte(offMarker)) || bytes.Contains(answers, []byte("X-Amz-Signature")) {
		t.Errorf("%.300q brings a file of the project that is off, or a signed URL", text)
	}
	if !strings.Contains(about, "/31/") && !strings.Contains(about, "group%2Foff") {
		return
	}
	// 400 is for targets that aren't looked at, and for bodies after which nobody knows where the next request begins.
	status := statusOf(answers)
	if status != 0 && status != http.StatusNotFound && status != http.StatusBadRequest && status != http.StatusContinue {
		t.Errorf("%q about a project that is off is answered %d", about, status)
	}
	if status == http.StatusBadRequest && strings.Contains(about, " /api/") {
		t.Errorf("%q about a project that is off is answered 400", about)
	}
}

func statusOf(answer []byte) (status int) {
	_, _ = fmt.Sscanf(string(answer[:min(len(answer), 20)]), "HTTP/1.1 %d", &status)
	return status
}

// exchange writes bytes and reads what comes, until the edge hangs up or the patience is over.
func (a *hostileCaller) exchange(text string, patience time.Duration) []byte {
	connection, err := net.DialTimeout("tcp", strings.TrimPrefix(a.load.edge.url, "http://"), 5*time.Second)
	if err != nil {
		return nil
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(max(patience, 500*time.Millisecond)))
	if _, err := io.WriteString(connection, text); err != nil {
		return nil // refused before the end
	}
	_ = connection.SetDeadline(time.Now().Add(patience))
	if a.random.IntN(10) == 0 {
		return nil // leaves without a look at the answer
	}
	got, _ := io.ReadAll(io.LimitReader(connection, 1<<20))
	return got
}

// request is a request of this attacker's, as text; after head come further lines of it, and then what is sent after it.
func (a *hostileCaller) request(method, target, rest string, lines ...string) string {
	address := a.address
	if a.random.IntN(4) == 0 { // many machines
		address = fmt.Sprintf("203.0.113.%d", a.random.IntN(256))
	}
	if a.random.IntN(4) != 0 {
		lines = append(lines, "Connection: close") // the next attack needn't wait
	}
	return method + " " + target + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(a.load.edge.url, "http://") + "\r\nX-Forwarded-For: " + address +
		"\r\n" + strings.Join(append(lines, "", ""), "\r\n") + rest
}

func (a *hostileCaller) oneOf(texts ...string) string { return texts[a.random.IntN(len(texts))] }

// target is a file that somebody may want.
func (a *hostileCaller) target() string {
	switch a.random.IntN(6) {
	case 0:
		return honestPath(a.load.files.newestCold())
	case 1:
		return filePath(fmt.Sprintf("own%d-%d.bin", a.random.IntN(honestCallers), a.random.IntN(4)))
	case 2:
		return filePath(fmt.Sprintf("none%d.bin", a.random.IntN(1000)))
	case 3:
		return fmt.Sprintf("/api/v4/projects/%d/packages/generic/pkg/1.0.0/open%d.bin", openProject, a.random.IntN(10))
	}
	number := a.random.IntN(24)
	if number%6 == 5 {
		return honestPath(fmt.Sprintf("%sstored%d.bin", byPathPrefix, number))
	}
	return filePath(fmt.Sprintf("stored%d.bin", number))
}

// stranger is a line with a credential that may do nothing in the honest callers' project, or an odd one.
func (a *hostileCaller) stranger() string {
	random := fmt.Sprintf("%d", a.random.Uint64())
	return a.oneOf("PRIVATE-TOKEN: "+outsider, "PRIVATE-TOKEN: "+intruder, "PRIVATE-TOKEN: glpat-"+random, "JOB-TOKEN: "+random, "DEPLOY-TOKEN: "+random,
		"Authorization: Bearer "+random, "Authorization: Basic dXNlcjp3cm9uZw==", "Cookie: _gitlab_session="+random, "X-Nobody: 1",
		"PRIVATE-TOKEN: ", "Sudo: honest0")
}

func (a *hostileCaller) malformedChunks() string {
	return a.request(a.oneOf("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"), a.target(), a.oneOf("ZZZ\r\n", "5\r\nhello\r\nZZZ\r\n", "5\r\nhelloworld\r\n", "-1\r\n"),
		a.stranger(), "Transfer-Encoding: chunked")
}

func (a *hostileCaller) bodyThatNeverComes() string {
	return a.request(a.oneOf("GET", "HEAD", "PUT", "DELETE", "POST"), a.target(), a.oneOf("", "some"), a.stranger(), a.oneOf("Content-Length: 1000", "Transfer-Encoding: chunked"))
}

func (a *hostileCaller) uploadHeldOpen() string {
	return a.request("PUT", a.target(), "x", a.oneOf("X-Nobody: 1", a.stranger()), a.oneOf("Content-Length: 270000000", "Content-Length: 2", "Transfer-Encoding: chunked"))
}

func (a *hostileCaller) opaqueTarget() string {
	path := a.oneOf("/api/v4/projects/31/packages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/group%2Foff/packages/generic/pkg/1.0.0/app.bin", a.target())
	return a.request(a.oneOf("GET", "PUT", "HEAD", "DELETE"), a.oneOf("x:http://anything", "http:", "x:", "mailto:a", "x://"+strings.TrimPrefix(a.load.edge.url, "http://"))+path, "",
		"PRIVATE-TOKEN: "+a.oneOf(outsider, intruder), "Content-Length: 0")
}

func (a *hostileCaller) organizationPath() string {
	return a.request(a.oneOf("GET", "HEAD", "PUT"), "/o/organization"+a.oneOf("/api/v4/projects/31/packages/generic/pkg/1.0.0/app.bin", a.target()), "", a.stranger(), "Content-Length: 0")
}

func (a *hostileCaller) randomToken() string {
	return a.request("GET", a.target(), "", fmt.Sprintf("PRIVATE-TOKEN: glpat-%d", a.random.Uint64()))
}

func (a *hostileCaller) randomCookie() string {
	return a.request("GET", fmt.Sprintf("/api/v4/projects/%d/packages/generic/pkg/1.0.0/open%d.bin", openProject, a.random.IntN(10)), "",
		fmt.Sprintf("Cookie: _gitlab_session=%d", a.random.Uint64()))
}

func (a *hostileCaller) randomProject() string {
	return a.request(a.oneOf("GET", "PUT"), fmt.Sprintf("/api/v4/projects/%s%d/packages/generic/pkg/1.0.0/stored1.bin", a.oneOf("", "group%2Fapp", "a%2Fb"), a.random.IntN(1_000_000)+100), "",
		a.stranger(), "Content-Length: 0")
}

func (a *hostileCaller) rangeOfColdFile() string {
	file := fmt.Sprintf("hostile%d.bin", a.random.IntN(60))
	if a.random.IntN(4) == 0 { // cold again
		a.load.gitlab.Publish(openProject, "pkg", "1.0.0", file, someBytes(100_000, 3))
	}
	return a.request("GET", fmt.Sprintf("/api/v4/projects/%d/packages/generic/pkg/1.0.0/%s", openProject, file), "",
		"Range: bytes="+a.oneOf("0-0", "99999-", "5-9,1-1,3-4", "-1", "7-7", strings.Repeat("0-0,", 500)+"1-1"))
}

func (a *hostileCaller) headOfAnything() string {
	return a.request("HEAD", a.target(), "", a.stranger())
}

func (a *hostileCaller) upgrade() string {
	return a.request("GET", a.target(), "\x00\x01\x02", a.stranger(), "Connection: Upgrade", "Upgrade: "+a.oneOf("websocket", "h2c", "tls/1.3"))
}

func (a *hostileCaller) postThatOverrides() string {
	form := a.oneOf("_method=GET", "_method=PUT&path=x", "_method=DELETE", "path=..%2F..")
	return a.request("POST", a.target()+a.oneOf("", "?_method=GET", "?path=x"), form, a.stranger(), "X-HTTP-Method-Override: GET",
		"Content-Type: application/x-www-form-urlencoded", fmt.Sprintf("Content-Length: %d", len(form)))
}

func (a *hostileCaller) longHeader() string {
	return a.request(a.oneOf("GET", "PUT"), a.target(), "", a.stranger(), a.oneOf("X-Long: ", "Cookie: a=", "If-None-Match: ", "Authorization: Bearer ")+strings.Repeat("a", 1000<<a.random.IntN(12)), "Content-Length: 0")
}

func (a *hostileCaller) pipeline() string {
	var text strings.Builder
	for range 1 + a.random.IntN(30) {
		_, _ = text.WriteString(a.request(a.oneOf("GET", "HEAD"), a.target(), "", a.stranger()))
	}
	return text.String()
}

// halfClosed ends its sending at once, and reads on.
func (a *hostileCaller) halfClosed() string {
	connection, err := net.DialTimeout("tcp", strings.TrimPrefix(a.load.edge.url, "http://"), 5*time.Second)
	if err != nil {
		return ""
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(a.patience()))
	_, _ = io.WriteString(connection, a.request(a.oneOf("GET", "PUT", "HEAD"), a.target(), "", a.stranger(), a.oneOf("X-A: b", "Content-Length: 5")))
	_ = connection.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, connection)
	return ""
}

// slowReader takes a public file byte by byte, and leaves before its end.
func (a *hostileCaller) slowReader() string {
	connection, err := net.DialTimeout("tcp", strings.TrimPrefix(a.load.edge.url, "http://"), 5*time.Second)
	if err != nil {
		return ""
	}
	defer connection.Close()
	_ = connection.(*net.TCPConn).SetReadBuffer(1024)
	_ = connection.SetDeadline(time.Now().Add(10 * a.patience()))
	target := fmt.Sprintf("/api/v4/projects/%d/packages/generic/pkg/1.0.0/open%d.bin", openProject, a.random.IntN(10))
	_, _ = io.WriteString(connection, a.request("GET", target, "", "X-A: b"))
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for reader := bufio.NewReaderSize(connection, 16); time.Now().Before(a.end); <-ticker.C {
		if _, err := reader.ReadByte(); err != nil {
			break
		}
	}
	return ""
}

func (a *hostileCaller) refusedDownload() string {
	return a.request("GET", a.target(), "", a.stranger())
}

func (a *hostileCaller) refusedPublish() string {
	body := strings.Repeat("hostile ", 1+a.random.IntN(2000))
	return a.request("PUT", filePath(a.oneOf("stored1.bin", "stored2.bin", "own0-0.bin", a.load.files.newestCold())), body, a.stranger(), fmt.Sprintf("Content-Length: %d", len(body)))
}

func (a *hostileCaller) emptyPublish() string {
	return a.request("PUT", a.target(), "", a.stranger(), "Content-Length: 0")
}

// publishElsewhere has GitLab's 2xx, in a project of the attacker's own, for the names of honest callers' files.
func (a *hostileCaller) publishElsewhere() string {
	name := a.target()
	return a.request("PUT", fmt.Sprintf("/api/v4/projects/%d/packages/generic/pkg/1.0.0/%s", otherProject, name[strings.LastIndexByte(name, '/')+1:]), "hostile",
		"PRIVATE-TOKEN: "+intruder, "Content-Length: 7")
}

func (a *hostileCaller) projectThatIsOff() string {
	return a.request(a.oneOf("GET", "HEAD", "DELETE", "OPTIONS", "POST"), "/api/v4/projects/"+a.oneOf("31", "group%2Foff", "Group%2FOFF", "group%2foff")+a.oneOf("/packages", "")+
		"/generic/pkg/1.0.0/app.bin"+a.oneOf("", "?status=default", "?path=a"), "", "PRIVATE-TOKEN: "+a.oneOf(administrator, outsider))
}

func (a *hostileCaller) publishIntoOff() string {
	return a.request("PUT", "/api/v4/projects/"+a.oneOf("31", "group%2Foff")+"/packages/generic/pkg/1.0.0/app.bin", a.oneOf("hostile", "host"),
		"PRIVATE-TOKEN: "+administrator, "Content-Length: 7")
}

// smuggled hides a second request in the body of a first.
func (a *hostileCaller) smuggled() string {
	hidden := a.request("GET", a.target(), "", "X-A: b")
	return a.request(a.oneOf("GET", "PUT"), a.target(), "0\r\n\r\n"+hidden, a.stranger(), fmt.Sprintf("Content-Length: %d", len(hidden)+5), "Transfer-Encoding: chunked")
}

func (a *hostileCaller) otherMethod() string {
	return a.request(a.oneOf("DELETE", "PATCH", "OPTIONS", "PROPFIND", "TRACE", "MKCOL", "CONNECT", "get"), a.target(), "", a.stranger())
}

func (a *hostileCaller) longTarget() string {
	return a.request(a.oneOf("GET", "PUT"), a.target()+"?x="+strings.Repeat("y", 100<<a.random.IntN(12)), "", a.stranger(), "Content-Length: 0")
}

func (a *hostileCaller) conditions() string {
	return a.request(a.oneOf("GET", "HEAD"), a.target(), "", a.stranger(), a.oneOf("If-None-Match: *", `If-Match: "x"`, "If-Modified-Since: Sat, 28 Nov 2099 00:00:00 GMT", `If-Range: "x"`),
		a.oneOf("Range: bytes=0-0", "Range: bytes=5-", "Cache-Control: no-store", "Pragma: no-cache", "Origin: http://a.example"))
}

func (a *hostileCaller) directoryInQuery() string {
	return a.request(a.oneOf("GET", "PUT"), a.target()+a.oneOf("?path=..%2F..", "?path=a&path=b", "?path[]=a", "?path=%00", "?private_token="+outsider), "", "Content-Length: 0")
}

func (a *hostileCaller) expectation() string {
	return a.request(a.oneOf("PUT", "GET"), a.target(), "", a.stranger(), "Expect: 100-continue", "Content-Length: 100000")
}
