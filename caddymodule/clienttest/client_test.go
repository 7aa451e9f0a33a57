package clienttest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/gitlab-edge/caddy-gitlab-packages/caddymodule"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

const token = "glpat-developer" //nolint:gosec // of a stand-in

// startEdge runs Caddy with an edge in front of a GitLab and returns its URL. It ends with the test.
func startEdge(t *testing.T, upstream string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	root := t.TempDir()
	caddyfile := fmt.Sprintf(`{
	admin off
	persist_config off
	storage file_system %s
	log default {
		level ERROR
	}
}
http://%s {
	gitlab_packages %s {
		cache %s {
			min_free 0
		}
	}
}
`, filepath.Join(root, "storage"), address, upstream, filepath.Join(root, "cache"))
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return "http://" + address
}

func newClient(t *testing.T, secret, url string) *gitlab.Client {
	t.Helper()
	client, err := gitlab.NewClient(secret, gitlab.WithBaseURL(url), gitlab.WithoutRetries())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestGitLabsGoClientPublishesAndDownloads(t *testing.T) {
	for name, mode := range map[string]gitlabtest.Mode{
		"local disk": gitlabtest.LocalDisk, "proxied storage": gitlabtest.Proxied, "redirected storage": gitlabtest.Redirect,
	} {
		t.Run(name, func(t *testing.T) {
			server := gitlabtest.New()
			t.Cleanup(server.Close)
			server.SetMode(mode)
			server.AddProject(gitlabtest.Project{ID: 24, Path: "group/app"})
			server.AddToken(gitlabtest.Token{Secret: token, Username: "dev", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}})
			url := startEdge(t, server.URL)
			client, body := newClient(t, token, url), bytes.Repeat([]byte("0123456789abcdef"), 20_000)

			_, _, err := client.GenericPackages.PublishPackageFile(24, "pkg", "1.0.0", "app.bin", bytes.NewReader(body), nil)
			if err != nil {
				t.Fatalf("publishing: %v", err)
			}
			selected, err := describe(client, body)
			if err != nil || selected.FileName != "other.bin" || selected.Size != int64(len(body)) {
				t.Errorf("publishing with select: %+v, %v", selected, err)
			}
			for range 2 {
				for _, project := range []any{24, "group/app"} {
					got, _, err := client.GenericPackages.DownloadPackageFile(project, "pkg", "1.0.0", "app.bin")
					if err != nil || !bytes.Equal(got, body) {
						t.Errorf("downloading from %v: %d bytes, %v", project, len(got), err)
					}
				}
			}

			stranger := newClient(t, "glpat-wrong", url)
			_, _, err = stranger.GenericPackages.DownloadPackageFile(24, "pkg", "1.0.0", "app.bin")
			expectStatus(t, "downloading with a wrong token", err, http.StatusUnauthorized)
			_, _, err = stranger.GenericPackages.PublishPackageFile(24, "pkg", "1.0.0", "app.bin", bytes.NewReader(body), nil)
			expectStatus(t, "publishing with a wrong token", err, http.StatusUnauthorized)
			_, _, err = client.GenericPackages.PublishPackageFile(24, "pkg", "v1", "app.bin", bytes.NewReader(body), nil)
			expectStatus(t, "publishing an illegal version", err, http.StatusBadRequest)
		})
	}
}

// describe publishes a file and asks for what GitLab has made of it.
func describe(client *gitlab.Client, body []byte) (*gitlab.GenericPackagesFile, error) {
	file, _, err := client.GenericPackages.PublishPackageFile(24, "pkg", "1.0.0", "other.bin", bytes.NewReader(body),
		&gitlab.PublishPackageFileOptions{Select: gitlab.Ptr(gitlab.SelectPackageFile)})
	return file, err
}

func expectStatus(t *testing.T, what string, err error, status int) {
	t.Helper()
	var answered *gitlab.ErrorResponse
	switch {
	case errors.Is(err, gitlab.ErrNotFound):
		t.Errorf("%s: not found", what)
	case !errors.As(err, &answered) || answered.Response.StatusCode != status:
		t.Errorf("%s: %v", what, err)
	}
}
