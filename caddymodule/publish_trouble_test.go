package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestAnUploadThatGitLabRefusesCostsTheStoredFileNothing has strangers upload what they may not: what is stored stays
// fresh, keeps its offline life, and a fill that runs meanwhile is kept.
func TestAnUploadThatGitLabRefusesCostsTheStoredFileNothing(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(300_000, 1)
	publishOld(gitlab, "app.bin", body)
	publishOld(gitlab, "cold.bin", body[1:])
	e.mustGet(t, "app.bin", developer, body)

	reached, release := make(chan struct{}), make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 100_000, Release: release, Reached: func() { close(reached) }})
	filled := make(chan answer, 1)
	go func() { // ends with the download
		response, err := e.begin(call{path: filePath("cold.bin"), token: developer})
		if err != nil {
			filled <- answer{err: err}
			return
		}
		defer response.Body.Close()
		got, err := io.ReadAll(response.Body)
		filled <- answer{Response: response, body: got, err: err}
	}()
	<-reached
	for _, file := range []string{"app.bin", "cold.bin"} {
		for name, c := range map[string]call{
			"nobody":             {},
			"a wrong token":      {token: "glpat-wrong"},
			"somebody else":      {token: outsider},
			"a wrong job token":  {header: http.Header{"Job-Token": {"wrong"}}},
			"wrong in the query": {path: "?private_token=wrong"},
		} {
			c.method, c.path, c.body = http.MethodPut, filePath(file)+c.path, bytes.NewReader(someBytes(1000, 9))
			if got := e.do(t, c); got.StatusCode != http.StatusUnauthorized && got.StatusCode != http.StatusNotFound {
				t.Fatalf("%s publishes: %s", name, got.Status)
			}
		}
	}
	close(release)
	if got := <-filled; got.err != nil || !bytes.Equal(got.body, body[1:]) {
		t.Errorf("a download meanwhile: %v, %d bytes", got.err, len(got.body))
	}
	awaitNoFlight(t)
	gitlab.ResetRequests()
	e.mustGet(t, "app.bin", developer, body)
	e.mustGet(t, "cold.bin", developer, body[1:])
	if asked := gitlab.Requests(); len(asked) != 0 {
		t.Errorf("GitLab was asked: %v", asked)
	}
}

// TestWhateverBecomesOfAPublishTheNextDownloadIsRight ends publishes in all ways there are.
func TestWhateverBecomesOfAPublishTheNextDownloadIsRight(t *testing.T) {
	before, after := someBytes(300_000, 1), someBytes(300_000, 2)
	setForTest(t, &process.breakerPause, 1)
	for name, test := range map[string]struct {
		fault gitlabtest.Fault
		// leaves has the caller break off in the middle.
		leaves bool
		want   []byte
	}{
		"taken":                          {want: after},
		"the caller leaves":              {leaves: true, want: before},
		"the line to GitLab breaks":      {fault: gitlabtest.Fault{CutUploadAfter: 100_000}, want: before},
		"refused before the body":        {fault: gitlabtest.Fault{Method: http.MethodPut, Status: 403}, want: before},
		"refused after the body, 400":    {fault: gitlabtest.Fault{AfterBody: true, Status: 400}, want: before},
		"refused after the body, 403":    {fault: gitlabtest.Fault{AfterBody: true, Status: 403}, want: before},
		"refused after the body, 413":    {fault: gitlabtest.Fault{AfterBody: true, Status: 413}, want: before},
		"500 after the body":             {fault: gitlabtest.Fault{AfterBody: true, Status: 500}, want: before},
		"502 after the body":             {fault: gitlabtest.Fault{AfterBody: true, Status: 502}, want: before},
		"reset after the body":           {fault: gitlabtest.Fault{AfterBody: true, Reset: true}, want: before},
		"taken, and the answer got lost": {fault: gitlabtest.Fault{LoseAnswer: true}, want: after},
	} {
		for _, checksums := range []bool{false, true} {
			for _, known := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, checksums %v, publisher known %v", name, checksums, known), func(t *testing.T) {
					gitlab := newGitLab(t)
					gitlab.SetChecksums(checksums)
					e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 1h")
					publishOld(gitlab, "app.bin", before)
					e.mustGet(t, "app.bin", colleague, before)
					if known {
						e.mustGet(t, "app.bin", developer, before)
					}
					if test.fault.Status != 0 || test.fault.CutUploadAfter != 0 || test.fault.AfterBody || test.fault.LoseAnswer {
						gitlab.Inject(test.fault)
					}
					publishAndMaybeLeave(t, e, after, test.leaves)
					gitlab.ClearFaults()
					for _, token := range []string{colleague, developer} {
						e.mustGet(t, "app.bin", token, test.want)
					}
				})
			}
		}
	}
}

// publishAndMaybeLeave uploads to app.bin, and may break off in the middle; it returns when GitLab has noticed.
func publishAndMaybeLeave(t *testing.T, e *edge, body []byte, leaves bool) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var upload io.Reader = bytes.NewReader(body)
	if leaves {
		upload = io.MultiReader(bytes.NewReader(body[:200_000]), readerFunc(func([]byte) (int, error) {
			leave()
			return 0, errors.New("the caller leaves")
		}))
	}
	response, err := e.begin(call{method: http.MethodPut, path: filePath("app.bin"), token: developer, body: upload, length: int64(len(body)), context: ctx})
	if err != nil {
		if !leaves {
			t.Error(err)
		}
		return
	}
	_, _ = io.Copy(io.Discard, response.Body) // an early refusal may end with a reset
	_ = response.Body.Close()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestOfPublishesThatOverlapTheOneThatGitLabTookLastIsServed lets two publishes of one file begin together and end in
// either order.
func TestOfPublishesThatOverlapTheOneThatGitLabTookLastIsServed(t *testing.T) {
	for _, known := range []bool{false, true} {
		for _, order := range [][]int{{0, 1}, {1, 0}} {
			for _, between := range []bool{false, true} {
				t.Run(fmt.Sprintf("publishers known %v, order %v, asked between them %v", known, order, between), func(t *testing.T) {
					gitlab := newGitLab(t)
					gitlab.SetChecksums(true)
					e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 1h")
					before := someBytes(1000, 9)
					publishOld(gitlab, "app.bin", before)
					e.mustGet(t, "app.bin", colleague, before)
					tokens := []string{developer, administrator}
					if known {
						e.mustGet(t, "app.bin", tokens[0], before)
						e.mustGet(t, "app.bin", tokens[1], before)
					}
					bodies := [][]byte{someBytes(300_000, 1), someBytes(300_000, 2)}
					var writers [2]*io.PipeWriter
					var answers [2]chan int
					for i := range bodies {
						reader, writer := io.Pipe()
						writers[i], answers[i] = writer, make(chan int, 1)
						go func() { // ends with the answer
							response, err := e.begin(call{method: http.MethodPut, path: filePath("app.bin"), token: tokens[i], body: reader, length: int64(len(bodies[i]))})
							if err != nil {
								t.Error(err)
								answers[i] <- 0
								return
							}
							_ = response.Body.Close()
							answers[i] <- response.StatusCode
						}()
						if _, err := writer.Write(bodies[i][:1000]); err != nil {
							t.Fatal(err)
						}
						await(t, func() bool { return gitlab.Count(http.MethodPut) == i+1 })
					}
					for n, i := range order {
						if _, err := writers[i].Write(bodies[i][1000:]); err != nil {
							t.Fatal(err)
						}
						_ = writers[i].Close()
						if status := <-answers[i]; status != http.StatusCreated {
							t.Fatalf("publish %d: %d", i, status)
						}
						if between || n == 1 {
							e.mustGet(t, "app.bin", colleague, bodies[i])
						}
					}
					e.mustGet(t, "app.bin", tokens[0], bodies[order[1]])
				})
			}
		}
	}
}

func TestAnEmptyFileIsPublishedAndServed(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "")
		if got := e.do(t, call{method: http.MethodPut, path: filePath("empty.bin"), token: developer, body: strings.NewReader("")}); got.StatusCode != http.StatusCreated {
			t.Fatal(got.Status)
		}
		for range 3 {
			if got := e.mustGet(t, "empty.bin", developer, nil); got.Header.Get("Content-Length") != "0" {
				t.Errorf("Content-Length %q", got.Header.Get("Content-Length"))
			}
		}
	})
}
