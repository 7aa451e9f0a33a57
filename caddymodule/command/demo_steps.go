package command

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// demonstration shows the edge at work and checks what it shows.
type demonstration struct {
	out     io.Writer
	gitlab  *gitlabtest.Server
	edge    string // its URL
	admin   string // the address of its admin API
	program string // the file that is published: this very program
	table   *tabwriter.Writer
}

// demoStep is one request of the demonstration.
type demoStep struct {
	what string
	// why explains how often GitLab is asked.
	why                string
	method             string
	project            int
	version            string
	tokenHeader, token string
	status             int
	cacheStatus        string // must be part of the header
	// asks says that GitLab must be asked, once; else it must hear nothing.
	asks bool
	// sendsNoFile says that GitLab's answer must be a byte at most.
	sendsNoFile bool
	publishes   bool
	// digest is the SHA-256 that the body must have; empty for any.
	digest string
}

// demoSteps are the requests in their order. The first and the second file have these SHA-256s.
func demoSteps(first, second string) []demoStep {
	const get, put, job, private = http.MethodGet, http.MethodPut, "JOB-TOKEN", "PRIVATE-TOKEN"
	return []demoStep{
		{
			what: "a file of GitLab's, cold", method: get, project: demoProject, version: demoVersion, tokenHeader: job, token: demoJobToken,
			status: 200, cacheStatus: "uri-miss", asks: true, digest: first,
			why: "One request asks whether this token may read the file, and fetches it. The edge keeps the bytes as they pass.",
		},
		{
			what: "the same again", method: get, project: demoProject, version: demoVersion, tokenHeader: job, token: demoJobToken,
			status: 200, cacheStatus: "hit", digest: first,
			why: "GitLab has just said yes to this very token, so it isn't asked again for a minute.",
		},
		{
			what: "the same with another token", method: get, project: demoProject, version: demoVersion, tokenHeader: private, token: demoUserToken,
			status: 200, cacheStatus: "confirmed", asks: true, sendsNoFile: true, digest: first,
			why: "One question about this token, for the file's first byte. GitLab says yes, and the file comes from the edge.",
		},
		{
			what: "an upload with a job token", method: put, project: demoProject, version: demoPublished, tokenHeader: job, token: demoJobToken,
			status: 201, cacheStatus: "fwd=method", asks: true, publishes: true,
			why: "The upload itself. GitLab gets it as it comes, and the edge keeps a copy.",
		},
		{
			what: "what was uploaded, by another token", method: get, project: demoProject, version: demoPublished, tokenHeader: private, token: demoUserToken,
			status: 200, cacheStatus: "confirmed", asks: true, sendsNoFile: true, digest: second,
			why: "One question again and no body: the first download of all comes from the copy of the upload.",
		},
		{
			what: "a version that the rules refuse", method: get, project: demoProject, version: "v1", tokenHeader: job, token: demoJobToken,
			status: 400, cacheStatus: "invalid",
			why: "The edge's own answer: its rules (13.5, unless the config says otherwise) want three numbers.",
		},
		{
			what: "a token that GitLab refuses", method: get, project: demoProject, version: demoVersion, tokenHeader: private, token: "nobody's",
			status: 401, cacheStatus: "fwd=", asks: true,
			why: "GitLab is asked about each token that it hasn't just said yes to. This is its own answer, relayed.",
		},
		{
			what: "a project that is off", method: get, project: demoOffProject, version: demoVersion, tokenHeader: job, token: demoJobToken,
			status: 404, cacheStatus: "switched-off",
			why: "The config switches this project off: the edge answers for it, and GitLab never hears of it.",
		},
	}
}

func (d *demonstration) run(ctx context.Context) error {
	published, size, err := digestOf(d.program)
	if err != nil {
		return fmt.Errorf("reading the file to publish: %w", err)
	}
	printf(d.out, "GitLab stand-in  %s\nEdge             %s\nIts admin API    %s\nGitLab's file    %s of noise, version %s\nThe upload       this program, %s, version %s\n\n",
		d.gitlab.URL, d.edge, d.admin, sizeText(demoSize), demoVersion, sizeText(size), demoPublished)

	steps := demoSteps(gitlabtest.SHA256(demoContent()), published)
	d.table = tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	printf(d.table, "\t%s\n", "what\tstatus\tbytes\tfirst byte\tall\tasked GitLab\tGitLab sent\tCache-Status: gitlab_packages; …") //nolint:dupword // two columns
	for number, step := range steps {
		if err := d.show(ctx, number+1, step); err != nil {
			_ = d.table.Flush()
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	_ = d.table.Flush() // a terminal that is gone is no failure
	printf(d.out, "\nWhy GitLab was asked as often as that:\n\n")
	for number, step := range steps {
		printf(d.out, "%d  %s\n", number+1, step.why)
	}
	return nil
}

// show sends one request, prints what happened, and returns an error if it isn't what should.
func (d *demonstration) show(ctx context.Context, number int, step demoStep) error {
	var body io.Reader
	if step.publishes {
		file, err := os.Open(d.program)
		if err != nil {
			return fmt.Errorf("opening the file to publish: %w", err)
		}
		defer file.Close()
		body = file
	}
	var firstByte time.Time
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { firstByte = time.Now() }})
	request, err := http.NewRequestWithContext(traced, step.method, d.url(step.project, step.version), body)
	if err != nil {
		return fmt.Errorf("building a request: %w", err)
	}
	request.Header.Set(step.tokenHeader, step.token)
	before := len(d.gitlab.Requests())
	begun := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking the edge: %w", err)
	}
	defer response.Body.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, response.Body)
	if err != nil {
		return fmt.Errorf("reading the edge's answer: %w", err)
	}
	took := time.Since(begun)
	asked, sent, err := d.heard(ctx, before)
	if err != nil {
		return err
	}
	cacheStatus := strings.Join(response.Header.Values("Cache-Status"), ", ")
	printf(d.table, "%d\t%s\t%d\t%s\t%s\t%s\t%d×\t%s\t%s\n", number, step.what, response.StatusCode, sizeText(size),
		firstByte.Sub(begun).Round(10*time.Microsecond), took.Round(10*time.Microsecond), asked, sizeText(sent), strings.TrimPrefix(cacheStatus, "gitlab_packages; "))

	switch {
	case response.StatusCode != step.status:
		return fmt.Errorf("the status is %d and should be %d", response.StatusCode, step.status)
	case !strings.Contains(cacheStatus, step.cacheStatus):
		return fmt.Errorf("the Cache-Status is %q and should tell of %q", cacheStatus, step.cacheStatus)
	case step.asks && asked == 0, !step.asks && asked > 0, asked > 2:
		// Once more is right: a question that a connection leaves unanswered for two seconds is asked again on another one.
		return fmt.Errorf("GitLab was asked %d times", asked)
	case step.sendsNoFile && sent > int64(asked):
		return fmt.Errorf("GitLab sent %d bytes and should send one", sent)
	case step.digest != "" && fmt.Sprintf("%x", hash.Sum(nil)) != step.digest:
		return errors.New("the bytes are not the file's")
	}
	return nil
}

// heard tells how many requests GitLab heard after the first so many, and how many bytes of bodies it sent for them.
func (d *demonstration) heard(ctx context.Context, before int) (asked int, sent int64, err error) {
	// The stand-in counts what it sent when it is through, which can be later than the caller has it.
	err = d.gitlab.Await(ctx, func(requests []gitlabtest.Request) bool {
		asked, sent = len(requests)-before, 0
		for _, request := range requests[before:] {
			sent += request.Sent
		}
		return !slices.ContainsFunc(requests[before:], func(request gitlabtest.Request) bool { return !request.Done })
	})
	return asked, sent, err
}

func (d *demonstration) url(project int, version string) string {
	return fmt.Sprintf("%s/api/v4/projects/%d/packages/generic/%s/%s/%s", d.edge, project, demoPackage, version, demoFile)
}

// digestOf returns a file's SHA-256 and size.
func digestOf(path string) (digest string, size int64, err error) {
	file, err := os.Open(path) //nolint:gosec // this very program
	if err != nil {
		return "", 0, fmt.Errorf("opening: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	size, err = io.Copy(hash, file)
	return fmt.Sprintf("%x", hash.Sum(nil)), size, err
}
