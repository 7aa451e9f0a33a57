package page

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

// worstNames are what strangers could call things, and worse.
var worstNames = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`' onmouseover='alert(1)`,
	`javascript:alert(1)`,
	`data:text/html,<script>alert(1)</script>`,
	`</title></textarea></svg></template></style><script>alert(1)</script>`,
	`{{.Token}}{{template "token"}}`,
	`--><!--`,
	`]]><x>`,
	"\u202Egnp.exe\u202C",
	"\u2066left\u2069\u200Ebidi\u200F\u061C",
	"a\x00b\x01c\x7f\u0085d\r\ne\tf",
	"\u2028line\u2029\uFEFF\u00AD\u200B",
	"\xff\xfe not UTF-8 \xc0\xaf",
	`../../../etc/passwd`,
	`//evil.example/x`,
	`a?b=c&d=e#f;g=h%00+ `,
	strings.Repeat("ü", 150),
	strings.Repeat("W", 300),
	"👩‍👩‍👧‍👦🏳️‍🌈",
	"اَلْعَرَبِيَّةُ עִבְרִית",
	`-0`, `null`, ` x `, `${alert(1)}`, "`",
}

// worsened puts a name into each text of a value, whatever its type. Names of outcomes, states and the like are texts, too.
func worsened(value reflect.Value, name string) {
	switch value.Kind() {
	case reflect.String:
		value.SetString(name)
	case reflect.Struct:
		if value.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for _, field := range value.Fields() {
			worsened(field, name)
		}
	case reflect.Slice:
		for i := range value.Len() {
			worsened(value.Index(i), name)
		}
	case reflect.Pointer:
		if !value.IsNil() {
			worsened(value.Elem(), name)
		}
	case reflect.Map:
		for _, key := range value.MapKeys() {
			held := reflect.New(value.Type().Elem()).Elem()
			held.Set(value.MapIndex(key))
			worsened(held, name)
			value.SetMapIndex(key, held)
		}
	default:
	}
}

// worstWorld is a world in which everything has one name.
func worstWorld(name string) fakeedge.World {
	world := morning()
	world.Status.Switches, world.Entries = "recalled", world.Entries[:4]
	world.Usage.MostUsed, world.Usage.Largest = world.Usage.MostUsed[:2], world.Usage.Largest[:2]
	worsened(reflect.ValueOf(&world).Elem(), name)
	return world
}

// shape is a page without its texts and values: the tags and the names of their attributes.
func shape(t *testing.T, page string) string {
	t.Helper()
	var shape strings.Builder
	tokens := html.NewTokenizer(strings.NewReader(page))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return shape.String()
		case html.StartTagToken, html.SelfClosingTagToken:
			token := tokens.Token()
			if token.Data == "option" || token.Data == "wbr" {
				continue
			}
			fmt.Fprintf(&shape, "<%s", token.Data)
			for _, attribute := range token.Attr {
				if attribute.Key == "selected" || attribute.Key == "open" || attribute.Key == "hidden" {
					continue // depend on values
				}
				fmt.Fprintf(&shape, " %s", attribute.Key)
			}
			shape.WriteString(">\n")
		case html.EndTagToken:
			fmt.Fprintf(&shape, "</%s>\n", tokens.Token().Data)
		case html.CommentToken:
			shape.WriteString("a comment\n")
		default:
		}
	}
}

// namedPages are the pages with names of a world in them, asked for by those names.
func namedPages(name string) []string {
	query := url.Values{parameterProject: {name}, parameterPackage: {name}, parameterVersion: {name}, parameterFile: {name}, parameterUpstream: {name}}.Encode()
	return []string{
		"/", "/files", "/projects", "/troubles", "/actions", "/files?" + query, "/files?search=" + url.QueryEscape(name), "/purge?" + query, "/purge?grants=yes&project=" + url.QueryEscape(name),
		"/switch?state=off&project=" + url.QueryEscape(name) + "&upstream=" + url.QueryEscape(name), "/?result=" + url.QueryEscape(name), "/?span=" + url.QueryEscape(name), "/files?after=" + url.QueryEscape(name),
	}
}

// TestNoNameChangesAPage gives everything the worst names, and compares each page's tags with those of a page with a harmless name. A
// name that got out of its text or its attribute would make others.
func TestNoNameChangesAPage(t *testing.T) {
	const harmless = "xyz"
	wanted := make(map[int]string)
	for i, target := range namedPages(harmless) {
		p, _ := newPage(t, worstWorld(harmless), ActionsGuarded, loopback...)
		wanted[i] = shape(t, get(t, p, visit{target: target}).Body.String())
	}
	hidden := regexp.MustCompile("[\x00-\x08\x0b-\x1f\x7f\u0080-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
	for _, name := range worstNames {
		for i, target := range namedPages(name) {
			p, _ := newPage(t, worstWorld(name), ActionsGuarded, loopback...)
			body := get(t, p, visit{target: target}).Body.String()
			if got := shape(t, body); got != wanted[i] {
				t.Errorf("%q changes %s:\n%s", name, target, firstDifference(got, wanted[i]))
			}
			checkTexts(t, name, target, body, hidden)
		}
	}
}

// checkTexts looks at what a person sees, and at where links lead.
func checkTexts(t *testing.T, name, target, body string, hidden *regexp.Regexp) {
	t.Helper()
	parsed, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for node := range parsed.Descendants() {
		if node.Type == html.TextNode && hidden.MatchString(node.Data) {
			t.Errorf("%q on %s: characters that can't be seen in %q", name, target, node.Data)
		}
		for _, attribute := range node.Attr {
			if attribute.Key != "href" && attribute.Key != "action" && attribute.Key != "src" {
				continue
			}
			link, err := url.Parse(attribute.Val)
			if err != nil || link.Scheme != "" || link.Host != "" || !regexp.MustCompile(`\A(?:\./|#?|(?:files|projects|actions|troubles|purge|switch|unpin|warm|verify|(?:page|icon)\.[0-9a-f]{12}\.(?:css|js|svg)))\z`).MatchString(link.Path) {
				t.Errorf("%q on %s: a link to %q", name, target, attribute.Val)
			}
		}
	}
}

func firstDifference(got, want string) string {
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range gotLines {
		if i >= len(wantLines) || gotLines[i] != wantLines[i] {
			return "line " + fmt.Sprint(i) + ": " + gotLines[i] + " instead of " + strings.Join(wantLines[min(i, len(wantLines)):min(i+1, len(wantLines))], "")
		}
	}
	return fmt.Sprintf("%d lines instead of %d", len(gotLines), len(wantLines))
}

// TestLinksNameWhatTheyMean follows a link with the worst names to what the edge is asked.
func TestLinksNameWhatTheyMean(t *testing.T) {
	for _, name := range worstNames {
		p, edge := newPage(t, worstWorld(name), ActionsGuarded, loopback...)
		given := link("files", parameterProject, name, parameterPackage, name)
		got := get(t, p, visit{target: "/" + given})
		calls := edge.Calls("entries")
		if len(calls) != 1 || calls[0].Query.Get(parameterProject) != name || calls[0].Query.Get(parameterPackage) != name {
			t.Errorf("%q: %d, %v", name, got.Code, calls)
		}
	}
}

// TestWhatMovesIsPlainTextInJSON gives the worst names to the script: as JSON on one line, as a stream of events needs it.
func TestWhatMovesIsPlainTextInJSON(t *testing.T) {
	for _, name := range worstNames {
		p, _ := newPage(t, worstWorld(name), "", loopback...)
		got := get(t, p, visit{target: "/live"})
		if got.Header().Get("Content-Type") != "application/json" || !json.Valid(got.Body.Bytes()) || strings.ContainsAny(got.Body.String(), "\r\n<>") {
			t.Errorf("%q: %v\n%s", name, got.Header(), got.Body)
		}
		status, _ := p.askStatus(t.Context())
		if message := p.watch.message(t.Context(), status, true); strings.ContainsAny(string(message), "\r\n") || !json.Valid(message) {
			t.Errorf("%q: a message of several lines: %s", name, message)
		}
	}
}
