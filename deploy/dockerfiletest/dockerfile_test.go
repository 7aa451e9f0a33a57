package dockerfiletest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/opencontainers/go-digest"
)

// noRegistry says of every image that it is there and has nothing in its config, so that the linter asks no registry.
type noRegistry struct{}

func (noRegistry) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := []byte(`{"architecture":"amd64","os":"linux","config":{}}`)
	return ref, digest.FromBytes(config), config, nil
}

// lintDockerfile returns what BuildKit's own linter says of a Dockerfile.
func lintDockerfile(t *testing.T, dockerfile string) (said []string) {
	t.Helper()
	source := llb.NewSourceMap(nil, "Dockerfile", "dockerfile", []byte(dockerfile))
	source.Definition = new(llb.Definition) // where it comes from is nobody's business
	results, err := dockerfile2llb.DockerfileLint(t.Context(), []byte(dockerfile), dockerfile2llb.ConvertOpt{
		MetaResolver: noRegistry{},
		SourceMap:    source,
	})
	if err != nil {
		t.Fatal(err)
	}
	if results.Error != nil {
		said = append(said, results.Error.Message)
	}
	for _, warning := range results.Warnings {
		said = append(said, warning.RuleName+": "+warning.Detail)
	}
	return said
}

func TestTheDockerfileHasNothingThatItsBuilderWarnsOf(t *testing.T) {
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if said := lintDockerfile(t, string(dockerfile)); len(said) > 0 {
		t.Error(strings.Join(said, "\n"))
	}
	for _, bad := range []string{"FROM golang:1.26 as lower\nCOPY a /a\nCMD run it\n", "FROM scratch\nCOPI a /a\n"} {
		if said := lintDockerfile(t, bad); len(said) == 0 {
			t.Errorf("nothing is said of %q; the test shows nothing", bad)
		}
	}
}

// TestAllThatTheProgramIsBuiltOfReachesItsBuilder: a folder that isn't copied, or that .dockerignore leaves out, fails the build.
func TestAllThatTheProgramIsBuiltOfReachesItsBuilder(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if .Main}}{{$.ImportPath}}{{end}}{{end}}", "./cmd/caddy")
	list.Dir = "../.."
	packages, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var files [2]string
	for i, name := range []string{"../Dockerfile", "../Dockerfile.dockerignore"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = string(content)
	}
	folders := make(map[string]bool)
	for path := range strings.FieldsSeq(string(packages)) {
		folder, _, _ := strings.Cut(strings.TrimPrefix(path, "github.com/gitlab-edge/caddy-gitlab-packages/"), "/")
		folders[folder] = true
	}
	if !folders["cmd"] {
		t.Fatalf("the program is built of %v", folders)
	}
	for folder := range folders {
		if !strings.Contains(files[0], "\nCOPY "+folder+" "+folder+"\n") {
			t.Errorf("the Dockerfile doesn't copy %s", folder)
		}
		if !strings.Contains(files[1], "\n!"+folder+"\n") {
			t.Errorf("Dockerfile.dockerignore leaves %s out", folder)
		}
	}
}

// TestTheImageRunsAsNobodyAndTellsItsHealth looks at what the linter has no rule for.
func TestTheImageRunsAsNobodyAndTellsItsHealth(t *testing.T) {
	content, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, last, ok := strings.Cut(string(content), "\nFROM scratch\n")
	if !ok {
		t.Fatal("the last stage isn't empty at its beginning")
	}
	for _, want := range []string{"\nUSER 65532:65532\n", "\nHEALTHCHECK ", "\nENTRYPOINT [", `CMD ["/usr/bin/caddy", "gitlab-packages", "status", "--check"]`} {
		if !strings.Contains(last, want) {
			t.Errorf("the last stage has no %q", want)
		}
	}
}
