package gitlabtest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// A test's world: a private project, a CI job that publishes and downloads, and a look at what was asked.
//
//nolint:gosec // the secret is nobody's
func Example_publishAndDownload() {
	gitlab := gitlabtest.New()
	defer gitlab.Close()
	gitlab.AddProject(gitlabtest.Project{ID: 24, Path: "group/app"})
	gitlab.AddToken(gitlabtest.Token{
		Kind: gitlabtest.JobToken, Secret: "glcbt-example", Username: "ci", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer},
	})

	show := func(method, project, body string) {
		url := gitlab.URL + "/api/v4/projects/" + project + "/packages/generic/pkg/1.0.0/app.txt"
		request, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
		if err != nil {
			fmt.Println(err)
			return
		}
		request.Header.Set("Job-Token", "glcbt-example")
		response, err := gitlab.Client().Do(request)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		fmt.Println(method, response.StatusCode, string(answer), err)
	}
	show(http.MethodPut, "24", "hello")
	show(http.MethodGet, "group%2Fapp", "")
	gitlab.RevokeToken("glcbt-example") // the job ends
	show(http.MethodGet, "24", "")
	fmt.Println(gitlab.Count(http.MethodGet), "downloads were asked for")
	// Output:
	// PUT 201 {"message":"201 Created"} <nil>
	// GET 200 hello <nil>
	// GET 401 {"message":"401 Unauthorized"} <nil>
	// 2 downloads were asked for
}

// A download that stalls in its middle until the test has seen enough, and is cut then.
func ExampleServer_Inject() {
	gitlab := gitlabtest.New()
	defer gitlab.Close()
	gitlab.AddProject(gitlabtest.Project{ID: 24, Path: "group/app", Visibility: gitlabtest.Public})
	gitlab.PublishContent(24, "pkg", "1.0.0", "app.bin", gitlabtest.Generated(1<<30, 1)) // takes no memory

	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, CutAfter: 1<<20 + 7, Release: release})
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, gitlab.URL+"/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	response, err := gitlab.Client().Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	stalled := func(requests []gitlabtest.Request) bool { return requests[0].Faulty }
	if err := gitlab.Await(context.Background(), stalled); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(response.ContentLength, "bytes are promised and", gitlab.Requests()[0].Sent, "sent")
	close(release)
	read, err := io.Copy(io.Discard, response.Body)
	fmt.Println(read, "bytes came:", err)
	// Output:
	// 1073741824 bytes are promised and 1048576 sent
	// 1048583 bytes came: unexpected EOF
}
