package caddymodule

import (
	"encoding/json"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// docsFolder has the pages beside README.md.
const docsFolder = "../docs"

var caddyfileBlock = regexp.MustCompile("(?s)```caddyfile\n(.*?)```")

// docPages returns README.md and all pages of docs, by their paths from the top folder.
func docPages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(docsFolder, "*.md"))
	if err != nil || len(files) < 15 {
		t.Fatalf("found only %d pages, %v", len(files), err)
	}
	pages := map[string]string{"README.md": readText(t, "../README.md")}
	for _, file := range files {
		pages["docs/"+filepath.Base(file)] = readText(t, file)
	}
	return pages
}

func TestEveryCaddyfileOfTheDocumentationAdapts(t *testing.T) {
	t.Setenv("GITLAB_URL", "https://gitlab.example.com")
	t.Setenv("CACHE_DIR", t.TempDir())
	shown := []string{readText(t, "../Caddyfile.example")}
	for _, page := range docPages(t) {
		for _, block := range caddyfileBlock.FindAllStringSubmatch(page, -1) {
			shown = append(shown, block[1])
		}
	}
	if len(shown) < 7 {
		t.Fatalf("found only %d Caddyfiles", len(shown))
	}
	for _, caddyfile := range shown {
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
		if err != nil || !strings.Contains(string(adapted), `"handler":"gitlab_packages"`) {
			t.Errorf("%v\n%s", err, caddyfile)
		}
	}
}

// TestTheReadmeIsShortAndLeadsToEachPage holds the README to what a newcomer reads at once, and to a link for all the rest.
func TestTheReadmeIsShortAndLeadsToEachPage(t *testing.T) {
	pages := docPages(t)
	readme := pages["README.md"]
	if len(readme) > 10_000 {
		t.Errorf("README.md has %d bytes", len(readme))
	}
	for path := range pages {
		if path != "README.md" && !strings.Contains(readme, "]("+path+")") {
			t.Errorf("README.md doesn't link to %s", path)
		}
	}
}

// TestEachPageBeginsWithTheQuestionThatItAnswers looks for a bold question right below the title.
func TestEachPageBeginsWithTheQuestionThatItAnswers(t *testing.T) {
	begin := regexp.MustCompile(`\A# [^\n]+\n\n\*\*[^\n]+\?\*\*\n`)
	for path, page := range docPages(t) {
		if path != "README.md" && !begin.MatchString(page) {
			t.Errorf("%s begins without a question", path)
		}
	}
}

func TestThePageOfSettingsShowsEverySettingOfTheDirective(t *testing.T) {
	page := docPages(t)["docs/settings.md"]
	options := regexp.MustCompile(`(?m)^\t\t"(\w+)":\s`).FindAllStringSubmatch(readText(t, "caddyfile.go"), -1)
	if len(options) < 20 {
		t.Fatalf("found only %d options in caddyfile.go", len(options))
	}
	for _, option := range options {
		if !strings.Contains(page, "`"+option[1]) {
			t.Errorf("docs/settings.md doesn't tell of %s", option[1])
		}
	}
}

// TestThePagesTellAdminsOfAllThatTheyCanUse goes through the closed sets that dashboards, alerts and scripts rest on.
func TestThePagesTellAdminsOfAllThatTheyCanUse(t *testing.T) {
	gitlab := newGitLab(t)
	startEdge(t, gitlab.URL, "")
	pages := docPages(t)
	expect := func(page, kind, text string) {
		t.Helper()
		if !strings.Contains(pages[page], text) {
			t.Errorf("%s doesn't tell of the %s %s", page, kind, text)
		}
	}
	const toWatch = "docs/metrics-and-logs.md"
	for _, name := range metricNames(t) {
		name, _ = strings.CutPrefix(name, "caddy_gitlab_packages_")
		if base, isPart := strings.CutSuffix(name, "_bucket"); isPart {
			expect(toWatch, "metric", "`"+base+"`")
		} else if !strings.HasSuffix(name, "_count") && !strings.HasSuffix(name, "_sum") {
			expect(toWatch, "metric", "`"+name+"`")
		}
	}
	for _, outcome := range allOutcomes {
		expect(toWatch, "outcome", "| `"+string(outcome)+"` |")
	}
	for _, event := range []string{eventDiskFull, eventUpstreamDown, eventUpstreamUp, eventSwitched} {
		expect(toWatch, "event", "`"+event+"`")
	}
	for call := range adminCalls {
		expect("docs/admin-api.md", "admin call", call)
	}
	for _, reason := range []string{fwdBypass, fwdMethod, fwdMiss, fwdStale, fwdPartial, fwdRefused} {
		expect("docs/answers.md", "reason", "`fwd="+reason+"; fwd-status=")
	}
	for _, outcome := range []outcome{outcomeInvalid, outcomeSwitchedOff, outcomeUnreachable, outcomeLimited} {
		_, detail, _ := strings.Cut(cacheStatusLocal(outcome), "; ")
		expect("docs/answers.md", "answer", "`"+detail+"`")
	}
	for _, verb := range commandLine().Commands() {
		name := "gitlab-packages " + verb.Name()
		if !strings.Contains(pages["README.md"]+pages["docs/running.md"]+pages["docs/projects.md"], name) {
			t.Errorf("no page tells of %s", name)
		}
	}
}

// TestTheCommandsOfThePagesAreUnderstood reads all lines with the command, in blocks and in tables, as the command would.
func TestTheCommandsOfThePagesAreUnderstood(t *testing.T) {
	found := 0
	for path, page := range docPages(t) {
		for _, line := range regexp.MustCompile("(?m)(?:^|`)(?:\\./)?caddy gitlab-packages (\\w[^`#\n]*)").FindAllStringSubmatch(page, -1) {
			found++
			root := commandLine()
			command, args, err := root.Find(strings.Fields(line[1]))
			if err == nil {
				err = command.ParseFlags(args)
			}
			if err == nil {
				err = command.ValidateArgs(command.Flags().Args())
			}
			if err != nil || command == root {
				t.Errorf("%s: %s: %v", path, line[0], err)
			}
		}
	}
	if found < 20 {
		t.Fatalf("found only %d commands", found)
	}
}

// TestTheCommandsOfThePagesNameTheVariablesOfTheirCaddyfile reads all commands with the example. Caddy fills variables in where
// the command runs: one without them would reload an edge to the example's defaults.
func TestTheCommandsOfThePagesNameTheVariablesOfTheirCaddyfile(t *testing.T) {
	verbs := make(map[string]bool)
	for path, page := range docPages(t) {
		for _, line := range regexp.MustCompile("(?m)([^`\n]*)\\./caddy (\\w+) --config \\S*Caddyfile").FindAllStringSubmatch(page, -1) {
			if strings.Contains(line[0], "deploy/two-edges/") {
				continue // has variables of its own, which its test sets
			}
			verbs[line[2]] = true
			for _, variable := range []string{"GITLAB_URL=", "CACHE_DIR="} {
				if !strings.Contains(line[1], variable) {
					t.Errorf("%s: %q names no %s", path, line[0], variable)
				}
			}
		}
	}
	for _, verb := range []string{"run", "validate", "reload"} {
		if !verbs[verb] {
			t.Errorf("no page shows ./caddy %s", verb)
		}
	}
}

// TestTheExampleWritesTheAccessLogThatThePagesSearch looks for the file in which docs/running.md has admins search, and that it
// can't fill the disk.
func TestTheExampleWritesTheAccessLogThatThePagesSearch(t *testing.T) {
	t.Setenv("GITLAB_URL", "https://gitlab.example.com")
	for _, places := range [][2]string{{"", "access.log"}, {"/var/log/edge/access.log", "/var/log/edge/access.log"}} {
		t.Setenv("ACCESS_LOG", places[0])
		if places[0] == "" {
			_ = os.Unsetenv("ACCESS_LOG") // t.Setenv puts back what was there before; an empty value is one to Caddy
		}
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(readText(t, "../Caddyfile.example")), map[string]any{"filename": "Caddyfile"})
		if err != nil {
			t.Fatal(err)
		}
		var config struct {
			Logging struct {
				Logs map[string]struct {
					Writer struct {
						Output   string `json:"output"`
						Filename string `json:"filename"`
						Size     int    `json:"roll_size_mb"`
						Keep     int    `json:"roll_keep"`
						KeepDays int    `json:"roll_keep_days"`
					} `json:"writer"`
				} `json:"logs"`
			} `json:"logging"`
		}
		if err := json.Unmarshal(adapted, &config); err != nil {
			t.Fatal(err)
		}
		writer := config.Logging.Logs["log0"].Writer
		if writer.Output != "file" || writer.Filename != places[1] || writer.Size == 0 || writer.Keep == 0 || writer.KeepDays == 0 {
			t.Errorf("ACCESS_LOG=%q: the access log goes to %+v", places[0], writer)
		}
	}
	pages := docPages(t)
	for _, said := range []string{"at 100 MiB", "ten old ones", "30 days"} {
		if !strings.Contains(pages["docs/metrics-and-logs.md"], said) {
			t.Errorf("docs/metrics-and-logs.md doesn't say of the access log: %s", said)
		}
	}
	if !strings.Contains(pages["docs/running.md"], " access.log`") {
		t.Error("docs/running.md doesn't search access.log")
	}
}

// TestThePicturesSayWhatTheirSourcesSay looks for each label of a picture's source in the picture: who changes the one and
// forgets to draw the other (docs/pictures/draw) is told so.
func TestThePicturesSayWhatTheirSourcesSay(t *testing.T) {
	sources, err := filepath.Glob(filepath.Join(docsFolder, "pictures", "*.dot"))
	if err != nil || len(sources) < 2 {
		t.Fatalf("found only %d sources, %v", len(sources), err)
	}
	for _, source := range sources {
		drawn := regexp.MustCompile(`[ \x{a0}]*([<>])[ \x{a0}]*`).ReplaceAllString(html.UnescapeString(readText(t, strings.TrimSuffix(source, ".dot")+".svg")), "$1")
		labels := regexp.MustCompile(`label="([^"]+)"`).FindAllStringSubmatch(readText(t, source), -1)
		if len(labels) < 5 {
			t.Errorf("%s: found only %d labels", source, len(labels))
		}
		for _, label := range labels {
			for line := range strings.SplitSeq(label[1], `\n`) {
				line = strings.TrimSpace(line)
				if !strings.Contains(drawn, ">"+line+"<") {
					t.Errorf("%s: the picture doesn't say %q", source, line)
				}
			}
		}
	}
}

var (
	backticked = regexp.MustCompile("`([^`]+)`")
	goFile     = regexp.MustCompile(`\A(?:\w+/)*\w+\.go\z`)
	goTest     = regexp.MustCompile(`\ATest\w+\z`)
	goDoor     = regexp.MustCompile(`\A(?:bucket\.|cache\.|upstream\.)?(\w*)\.(\w+)\z`)
	testFunc   = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// testsAndCode returns the names of all tests of bucket, cache, upstream, and caddymodule with the packages below it, and the text of
// all else in them.
func testsAndCode(t *testing.T) (tests map[string]bool, code string) {
	t.Helper()
	tests = make(map[string]bool)
	for _, folder := range goFolders(t) {
		if folder != "bucket" && folder != "cache" && folder != "upstream" && !strings.HasPrefix(folder, "caddymodule") {
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
