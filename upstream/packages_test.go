package upstream_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func developer() upstream.Caller {
	return upstream.Caller{Credential: upstream.CredentialOf(http.Header{"Private-Token": {token}}, "", nil)}
}

func TestPackageFilesAreListedOverAllPagesTheNewestOfEachName(t *testing.T) {
	gitlab := newGitLab(t)
	client := newClient(t, gitlab.URL, nil, gitlab)
	const files = 230
	for i := range files {
		gitlab.Publish(24, "pkg", "1.0.0", fmt.Sprintf("f%d.bin", i), []byte("old"))
	}
	gitlab.Publish(24, "pkg", "1.0.0", "f7.bin", []byte("new"))
	gitlab.Publish(24, "pkg", "2.0.0", "app.bin", []byte("other version"))
	gitlab.Publish(24, "pkg-more", "1.0.0", "app.bin", []byte("a name that the asked one is part of"))

	found, err := client.PackageFiles(context.Background(), developer(), "24", "pkg", "1.0.0")
	if err != nil || len(found) != files {
		t.Fatalf("%d files, %v", len(found), err)
	}
	for _, f := range found {
		want := "old"
		if f.Ref.File == "f7.bin" {
			want = "new"
		}
		if f.Ref.Package != "pkg" || f.Ref.Version != "1.0.0" || f.Ref.Project != "24" || f.Size != 3 ||
			f.SHA256 != fmt.Sprintf("%x", sha256.Sum256([]byte(want))) {
			t.Errorf("listed %+v", f)
		}
	}
	all, err := client.PackageFiles(context.Background(), developer(), "group/app", "pkg", "")
	if err != nil || len(all) != files+1 || all[0].Ref.Project != "group/app" {
		t.Errorf("%d files of all versions, %v", len(all), err)
	}
}

func TestAListThatGitLabRefusesIsToldInItsWords(t *testing.T) {
	gitlab := newGitLab(t)
	client := newClient(t, gitlab.URL, nil, gitlab)
	_, err := client.PackageFiles(context.Background(), upstream.Caller{}, "24", "pkg", "")
	if err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("anonymous: %v", err)
	}
	gitlab.Inject(gitlabtest.Fault{Status: http.StatusBadGateway})
	if _, err := client.PackageFiles(context.Background(), developer(), "24", "pkg", ""); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("in trouble: %v", err)
	}
	gitlab.Inject(gitlabtest.Fault{LoginPage200: true})
	if _, err := client.PackageFiles(context.Background(), developer(), "24", "pkg", ""); err == nil {
		t.Error("a log-in page is a list")
	}
}
