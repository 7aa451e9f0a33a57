package page

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

// TestWhatMovesIsWhatThePageSays compares the script's news with the page that was made at the same time: each key is there, and says the
// same. The page would else jump when its script begins.
func TestWhatMovesIsWhatThePageSays(t *testing.T) {
	for name, world := range map[string]fakeedge.World{"morning": morning(), "down": fakeedge.Down(testTime), "empty": fakeedge.Empty(testTime)} {
		p, _ := newPage(t, world, ActionsGuarded, loopback...)
		page := get(t, p, visit{target: "/?span=day"}).Body.String()
		parsed, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		var told live
		if err := json.Unmarshal(get(t, p, visit{target: "/live?span=day"}).Body.Bytes(), &told); err != nil {
			t.Fatal(err)
		}
		if len(told.Cells) < 20 || len(told.Marks) < 10 {
			t.Fatalf("%s: only %d texts and %d marks", name, len(told.Cells), len(told.Marks))
		}
		for key, text := range told.Cells {
			node := find(parsed, "data-cell", key)
			if node == nil {
				t.Errorf("%s: the page has no cell %s", name, key)
				continue
			}
			shown := textOf(node)
			if node.Data == "time" {
				shown = attributesOf(node)["datetime"]
			}
			if shown != text {
				t.Errorf("%s: %s is %q on the page, and told as %q", name, key, shown, text)
			}
		}
		for key, marks := range told.Marks {
			node := find(parsed, "data-mark", key)
			if node == nil {
				t.Errorf("%s: the page has no mark %s", name, key)
				continue
			}
			for attribute, value := range marks {
				shown, isThere := attributesOf(node)[attribute]
				if attribute == attributeHidden {
					if isThere != (value != "") {
						t.Errorf("%s: %s is hidden on the page: %v", name, key, isThere)
					}
				} else if shown != value {
					t.Errorf("%s: %s has %s=%q on the page, and is told %q", name, key, attribute, shown, value)
				}
			}
		}
		for key, rows := range told.Rows {
			list := find(parsed, "data-rows", key)
			if list == nil {
				t.Fatalf("%s: no list %s", name, key)
			}
			if find(parsed, "data-template", key) == nil {
				t.Errorf("%s: the list %s has no template", name, key)
			}
			checkRows(t, name, list, rows)
		}
	}
}

// checkRows compares a list's rows with what is told of them.
func checkRows(t *testing.T, name string, list *html.Node, rows []liveRow) {
	t.Helper()
	for _, row := range rows {
		node := find(list, "data-key", row.Key)
		if node == nil {
			t.Errorf("%s: no row for %v", name, row)
			continue
		}
		stop := find(node, "data-mark", "stop") // the form of a list whose rows can be stopped
		if stop != nil {
			_, isHidden := attributesOf(stop)["hidden"]
			if what := attributesOf(find(stop, "data-mark", "stop.what"))["value"]; isHidden != (row.Marks["stop"]["hidden"] != "") || what != row.Marks["stop.what"]["value"] {
				t.Errorf("%s: %q can be stopped, hidden: %v, and is told as %v", name, what, isHidden, row.Marks)
			}
		}
		for key, text := range row.Cells {
			if key == "stopped" && stop == nil {
				continue
			}
			if cell := find(node, "data-cell", key); cell == nil || textOf(cell) != text {
				t.Errorf("%s: the row's %s isn't %q", name, key, text)
			}
		}
		progress := find(node, "data-mark", "progress")
		if attributes := attributesOf(progress); attributes["value"] != row.Marks["progress"]["value"] || attributes["aria-label"] != row.Marks["progress"]["aria-label"] {
			t.Errorf("%s: progress is %v, and told as %v", name, attributes, row.Marks)
		}
	}
}

// find returns the first element with an attribute's value.
func find(in *html.Node, name, value string) *html.Node {
	for node := range in.Descendants() {
		if node.Type == html.ElementNode && attributesOf(node)[name] == value {
			return node
		}
	}
	return nil
}

func textOf(node *html.Node) string {
	var text strings.Builder
	for inner := range node.Descendants() {
		if inner.Type == html.TextNode {
			text.WriteString(inner.Data)
		}
	}
	return text.String()
}

// TestOneCallThatFailsTakesOnlyItsPartAway has calls fail one by one.
func TestOneCallThatFailsTakesOnlyItsPartAway(t *testing.T) {
	for _, call := range []string{adminapi.CallActivity, adminapi.CallHistory, adminapi.CallUsage, adminapi.CallRefusals} {
		p, edge := newPage(t, morning(), "", loopback...)
		edge.Fail(call, errNoEdge)
		got := get(t, p, visit{target: "/"})
		if got.Code != http.StatusOK {
			t.Fatalf("%s: %d", call, got.Code)
		}
		expect(t, got.Body.String(), "Working.", "This can’t be told now. This program&#39;s edge can&#39;t be asked by a page.")
		if got := get(t, p, visit{target: "/live"}); got.Code != http.StatusOK || !json.Valid(got.Body.Bytes()) {
			t.Errorf("%s: what moves: %d", call, got.Code)
		}
	}
	p, edge := newPage(t, morning(), "", loopback...)
	edge.Fail(adminapi.CallStatus, errNoEdge)
	for _, target := range []string{"/", "/live", "/troubles"} {
		if got := get(t, p, visit{target: target}); got.Code != http.StatusServiceUnavailable {
			t.Errorf("%s without a status: %d", target, got.Code)
		}
	}
	p.edge = nil
	expect(t, get(t, p, visit{target: "/"}).Body.String(), "This program&#39;s edge can&#39;t be asked by a page.")
}
