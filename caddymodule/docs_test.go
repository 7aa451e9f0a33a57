package caddymodule

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

var caddyfileBlock = regexp.MustCompile("(?s)```caddyfile\n(.*?)```")

func TestEveryCaddyfileOfTheDocumentationAdapts(t *testing.T) {
	t.Setenv("GITLAB_URL", "https://gitlab.example.com")
	t.Setenv("CACHE_DIR", t.TempDir())
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	blocks := caddyfileBlock.FindAllStringSubmatch(string(readme), -1)
	shown := make([]string, 0, len(blocks)+1)
	shown = append(shown, string(example))
	for _, block := range blocks {
		shown = append(shown, block[1])
	}
	if len(shown) < 4 {
		t.Fatalf("found only %d Caddyfiles", len(shown))
	}
	for _, caddyfile := range shown {
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
		if err != nil || !strings.Contains(string(adapted), `"handler":"gitlab_packages"`) {
			t.Errorf("%v\n%s", err, caddyfile)
		}
	}
}

func TestTheReadmeShowsEverySettingOfTheDirective(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("caddyfile.go")
	if err != nil {
		t.Fatal(err)
	}
	options := regexp.MustCompile(`(?m)^\t\t"(\w+)":\s`).FindAllStringSubmatch(string(source), -1)
	if len(options) < 20 {
		t.Fatalf("found only %d options in caddyfile.go", len(options))
	}
	for _, option := range options {
		if !strings.Contains(string(readme), "`"+option[1]) {
			t.Errorf("README.md doesn't tell of %s", option[1])
		}
	}
}

// TestTheReadmeTellsAdminsOfAllThatTheyCanUse goes through the closed sets that dashboards, alerts and scripts rest on.
func TestTheReadmeTellsAdminsOfAllThatTheyCanUse(t *testing.T) {
	gitlab := newGitLab(t)
	startEdge(t, gitlab.URL, "")
	content, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(content)
	expect := func(kind, text string) {
		t.Helper()
		if !strings.Contains(readme, text) {
			t.Errorf("README.md doesn't tell of the %s %s", kind, text)
		}
	}
	for _, name := range metricNames(t) {
		name, _ = strings.CutPrefix(name, "caddy_gitlab_packages_")
		if base, isPart := strings.CutSuffix(name, "_bucket"); isPart {
			expect("metric", "`"+base+"`")
		} else if !strings.HasSuffix(name, "_count") && !strings.HasSuffix(name, "_sum") {
			expect("metric", "`"+name+"`")
		}
	}
	for _, outcome := range allOutcomes {
		expect("outcome", "`"+string(outcome)+"`")
	}
	for call := range adminCalls {
		expect("admin call", call)
	}
	for _, verb := range commandLine().Commands() {
		expect("verb", "gitlab-packages "+verb.Name())
	}
	for _, event := range []string{eventDiskFull, eventUpstreamDown, eventUpstreamUp, eventSwitched} {
		expect("event", "`"+event+"`")
	}
}

// TestTheReadmesCommandsAreUnderstood reads all lines with the command, in blocks and in tables, as the command would.
func TestTheReadmesCommandsAreUnderstood(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile("(?m)(?:^|`)caddy gitlab-packages ([^`#\n]*)").FindAllStringSubmatch(string(readme), -1)
	if len(lines) < 15 {
		t.Fatalf("found only %d commands", len(lines))
	}
	for _, line := range lines {
		root := commandLine()
		command, args, err := root.Find(strings.Fields(line[1]))
		if err == nil {
			err = command.ParseFlags(args)
		}
		if err == nil {
			err = command.ValidateArgs(command.Flags().Args())
		}
		if err != nil || command == root {
			t.Errorf("%s: %v", line[0], err)
		}
	}
}

// TestTheReadmesCommandsNameTheVariablesOfTheirCaddyfile reads all commands with the example. Caddy fills variables in where
// the command runs: one without them would reload an edge to the example's defaults.
func TestTheReadmesCommandsNameTheVariablesOfTheirCaddyfile(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	verbs := make(map[string]bool)
	for _, line := range regexp.MustCompile("(?m)([^`\n]*)\\./caddy (\\w+) --config Caddyfile\\.example").FindAllStringSubmatch(string(readme), -1) {
		verbs[line[2]] = true
		for _, variable := range []string{"GITLAB_URL=", "CACHE_DIR="} {
			if !strings.Contains(line[1], variable) {
				t.Errorf("%q names no %s", line[0], variable)
			}
		}
	}
	for _, verb := range []string{"run", "validate", "reload"} {
		if !verbs[verb] {
			t.Errorf("README.md doesn't show ./caddy %s", verb)
		}
	}
}

var (
	backticked = regexp.MustCompile("`([^`]+)`")
	goFile     = regexp.MustCompile(`\A(?:\w+/)*\w+\.go\z`)
	goTest     = regexp.MustCompile(`\ATest\w+\z`)
	goDoor     = regexp.MustCompile(`\A(?:cache\.|upstream\.)?(\w*)\.(\w+)\z`)
	testFunc   = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// testsAndCode returns the names of all tests of cache, upstream, and caddymodule with the packages below it, and the text of
// all else in them.
func testsAndCode(t *testing.T) (tests map[string]bool, code string) {
	t.Helper()
	tests = make(map[string]bool)
	for _, folder := range goFolders(t) {
		if folder != "cache" && folder != "upstream" && !strings.HasPrefix(folder, "caddymodule") {
			continue
		}
		files, err := filepath.Glob(filepath.Join("..", folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", folder, len(files), err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(file, "_test.go") {
				code += string(source)
				continue
			}
			for _, match := range testFunc.FindAllStringSubmatch(string(source), -1) {
				tests[match[1]] = true
			}
		}
	}
	return tests, code
}

// TestTheTableOfWhoMayChangeWhatNamesDoorsAndTestsThatExist reads each row of the table, and all files that its page names.
func TestTheTableOfWhoMayChangeWhatNamesDoorsAndTestsThatExist(t *testing.T) {
	page, err := os.ReadFile("../docs/who-may-change-what.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, code := testsAndCode(t)
	for _, match := range backticked.FindAllStringSubmatch(string(page), -1) {
		if name := match[1]; goFile.MatchString(name) {
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Errorf("the page names a file that isn't there: %v", err)
			}
		} else if goTest.MatchString(name) && !tests[name] {
			t.Errorf("the page names a test that isn't there: %s", name)
		}
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| **") {
			continue
		}
		rows++
		columns := strings.Split(line, " | ")
		if len(columns) != 5 {
			t.Errorf("%d columns: %s", len(columns), line)
			continue
		}
		if !strings.Contains(columns[4], "`Test") {
			t.Errorf("no test: %s", columns[0])
		}
		owner := ""
		for _, match := range backticked.FindAllStringSubmatch(columns[3], -1) {
			door := goDoor.FindStringSubmatch(match[1])
			if door == nil || goFile.MatchString(match[1]) {
				continue
			}
			if door[1] == "" {
				door[1] = owner // one more method of the type before it
			}
			owner = door[1]
			method := regexp.MustCompile(`(?m)^func \((?:\w+ )?\*?` + door[1] + `\) ` + door[2] + `\(`)
			field := regexp.MustCompile(`(?ms)^type ` + door[1] + ` struct \{\n[^}]*^\t` + door[2] + ` `)
			named := regexp.MustCompile(`(?m)^type ` + door[2] + ` `) // of upstream.Grants and its like
			if !method.MatchString(code) && !field.MatchString(code) && !named.MatchString(code) {
				t.Errorf("no such door: %s", match[1])
			}
		}
	}
	if rows < 15 {
		t.Errorf("found only %d rows", rows)
	}
}

// reportRow is a row of the page of reports: the report, what people saw, what the edge does, and the tests.
var reportRow = regexp.MustCompile(`\A\| \[([\w.-]+/[\w.-]+)#(\d+)\]\(https://github\.com/([\w.-]+/[\w.-]+)/(?:issues|pull)/(\d+)\) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|\n\z`)

// TestThePageOfReportsNamesReportsAndTestsThatExist reads each row of docs/reports.md.
func TestThePageOfReportsNamesReportsAndTestsThatExist(t *testing.T) {
	page, err := os.ReadFile("../docs/reports.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, _ := testsAndCode(t)
	groups := strings.Split(string(page), "\n## ")[1:]
	if len(groups) != 3 {
		t.Fatalf("%d groups", len(groups))
	}
	seen := make(map[string]bool)
	for _, group := range groups {
		name, _, _ := strings.Cut(group, "\n")
		rows := 0
		for line := range strings.Lines(group) {
			if !strings.HasPrefix(line, "| [") {
				continue
			}
			rows++
			row := reportRow.FindStringSubmatch(line)
			if row == nil || row[1] != row[3] || row[2] != row[4] {
				t.Errorf("no row of a report: %s", line)
				continue
			}
			if report := row[1] + row[2]; seen[report] {
				t.Errorf("%s stands twice", row[1]+"#"+row[2])
			} else {
				seen[report] = true
			}
			named := backticked.FindAllStringSubmatch(row[7], -1)
			if len(named) == 0 {
				t.Errorf("no test: %s", line)
			}
			for _, test := range named {
				if !tests[test[1]] {
					t.Errorf("%s#%s names a test that isn't there: %s", row[1], row[2], test[1])
				}
			}
		}
		if rows < 10 {
			t.Errorf("%s: only %d reports", name, rows)
		}
	}
}
