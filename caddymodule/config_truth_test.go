package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// validateJSON validates a config with a handler of these JSON fields, as `caddy validate` does.
func validateJSON(t *testing.T, fields string) error {
	t.Helper()
	var config caddy.Config
	text := fmt.Sprintf(`{"admin":{"disabled":true},"storage":{"module":"file_system","root":%q},"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[`+
		`{"handler":"gitlab_packages","upstream":"https://gitlab.example.com","cache":{"directory":%q}%s}]}]}}}}}`, t.TempDir(), t.TempDir(), fields)
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(&config)
}

// adaptOptions adapts a Caddyfile with these options of the directive.
func adaptOptions(options string) error {
	_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("localhost {\n gitlab_packages https://gitlab.example.com {\n "+options+"\n }\n}\n"), map[string]any{"filename": "Caddyfile"})
	return err
}

// TestATimeoutOfZeroIsRefused, since it would be taken for the default.
func TestATimeoutOfZeroIsRefused(t *testing.T) {
	for _, name := range []string{"header_timeout", "check_timeout", "publish_timeout", "stall_timeout"} {
		want := name + " must be more than 0"
		if err := adaptOptions(name + " 0"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("in a Caddyfile: %v", err)
		}
		if err := validateJSON(t, fmt.Sprintf(`,%q:0`, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("as JSON: %v", err)
		}
		if err := adaptOptions(name + " 5s"); err != nil {
			t.Error(err)
		}
	}
}

// TestACheckTimeoutAboveHeaderTimeoutIsRefused has each of the two set alone, and both, in seconds; 0 stands for one that isn't set.
func TestACheckTimeoutAboveHeaderTimeoutIsRefused(t *testing.T) {
	for _, test := range []struct {
		check, header int
		refused       string
	}{
		{8, 9, ""},
		{9, 9, ""},
		{60, 0, ""},
		{0, 9, ""},
		{0, 90, ""},
		{70, 90, ""},
		{10, 9, "check_timeout (10s) is more than header_timeout (9s)"},
		{61, 0, "check_timeout (1m1s) is more than header_timeout (1m0s)"},
	} {
		settings := ""
		for name, seconds := range map[string]int{"check_timeout": test.check, "header_timeout": test.header} {
			if seconds > 0 {
				settings += fmt.Sprintf(`,%q:"%ds"`, name, seconds)
			}
		}
		if err := validateJSON(t, settings); (err != nil) != (test.refused != "") || (err != nil && !strings.Contains(err.Error(), test.refused)) {
			t.Errorf("%s: %v", settings, err)
		}
	}
}

// TestATransportThatSaysNothingIsTheDefault has the spellings of nothing in JSON.
func TestATransportThatSaysNothingIsTheDefault(t *testing.T) {
	base, err := url.Parse("https://gitlab.example.com")
	if err != nil {
		t.Fatal(err)
	}
	client, err := upstream.NewClient(upstream.Config{Base: base, Transport: http.DefaultTransport, StorageTransport: http.DefaultTransport})
	if err != nil {
		t.Fatal(err)
	}
	want := (&Handler{client: client}).accessOf()
	for _, transport := range []string{`null`, `{}`, ` { } `} {
		if err := validateJSON(t, `,"transport":`+transport+`,"storage_transport":`+transport); err != nil {
			t.Errorf("%q: %v", transport, err)
		}
		if (&Handler{client: client, TransportRaw: []byte(transport), StorageTransportRaw: []byte(transport)}).accessOf() != want {
			t.Errorf("%q counts as another way to GitLab than nothing", transport)
		}
	}
	if (&Handler{client: client, TransportRaw: []byte(`{"protocol":"http"}`)}).accessOf() == want {
		t.Error("another transport counts as the same way to GitLab")
	}
}

// TestPlaceholdersWorkInRulesProjectsAndPatterns has each in a Caddyfile, and an own pattern with braces of its own.
func TestPlaceholdersWorkInRulesProjectsAndPatterns(t *testing.T) {
	t.Setenv("EDGE_RULES", "current")
	t.Setenv("EDGE_DEFAULT", "off")
	t.Setenv("EDGE_PROJECT", "Group/App")
	t.Setenv("EDGE_PREFIX", "team[0-9]")
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "rules {env.EDGE_RULES}\nprojects {env.EDGE_DEFAULT} {\n on {env.EDGE_PROJECT}\n}")
	app, err := runningApp()
	if err != nil {
		t.Fatal(err)
	}
	h := app.handlers[0]
	if h.Rules.Version != "current" || h.switches.defaultOn || !h.switches.named["group/app"] {
		t.Errorf("rules %q, on by default: %v, named %v", h.Rules.Version, h.switches.defaultOn, h.switches.named)
	}
	e.reload(t, "rules {\n name {env.EDGE_PREFIX}-[a-z]{2,3}\n}")
	if app, err = runningApp(); err != nil {
		t.Fatal(err)
	}
	for name, legal := range map[string]bool{"team7-ab": true, "team7-abcd": false, "x-ab": false} {
		if err := app.handlers[0].rules.Check(upstream.Ref{Project: "24", Package: name, Version: "1.0.0", File: "f"}); (err == nil) != legal {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, options := range []string{"rules {env.EDGE_MISSING}", "rules {\n name {env.EDGE_MISSING}x\n}", "projects {env.EDGE_MISSING}"} {
		if err := caddy.Load(e.config(options), true); err == nil || !strings.Contains(err.Error(), "is empty") {
			t.Errorf("%s: %v", options, err)
		}
		e.awaitOneListener(t)
	}
}

// TestASmallMemoryIsToldOfWhenTheConfigIsLoaded has sizes around the one from which all small files fit.
func TestASmallMemoryIsToldOfWhenTheConfigIsLoaded(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "cache "+t.TempDir()+" {\n memory 16MiB\n min_free 0\n}")
	if strings.Contains(e.log(t), "memory is less than") {
		t.Error("16 MiB are told to be too little")
	}
	e.reload(t, "cache "+t.TempDir()+" {\n memory 1MiB\n min_free 0\n}")
	await(t, func() bool {
		return strings.Contains(e.log(t), "memory is less than 16 MiB") && strings.Contains(e.log(t), `"largest_file_in_memory":"16 KiB"`)
	})
}

// TestADirectoryThatIsNamedByALinkIsTheOneThatItLeadsTo has two handlers share a directory by two paths.
func TestADirectoryThatIsNamedByALinkIsTheOneThatItLeadsTo(t *testing.T) {
	root := t.TempDir()
	link := filepath.Join(root, "link")
	if err := errors.Join(os.Mkdir(filepath.Join(root, "real"), 0o700), os.Symlink("real", link)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		link:                                "real",
		filepath.Join(link, "not", "there"): "real/not/there",
		filepath.Join(root, "real"):         "real",
	} {
		if got, err := realDirectory(path); err != nil || got != filepath.Join(root, want) {
			t.Errorf("%s is %s, %v", path, got, err)
		}
	}
	gitlab := newGitLab(t)
	cacheBlock := func(directory string) string { return "cache " + directory + " {\n min_free 0\n}" }
	second := around{site: "handle /second/* {\n gitlab_packages " + gitlab.URL + " {\n " + cacheBlock(link) + "\n }\n}\n"}
	startEdge(t, gitlab.URL, cacheBlock(filepath.Join(root, "real")), second)
	states := process.statesInUse()
	if len(states) != 1 || states[0].store.Load() == nil {
		t.Errorf("%d directories are in use", len(states))
	}
}
