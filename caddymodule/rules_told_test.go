package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestARefusalTellsWhichRulesOfTheEdgesRefused has names that are legal for today's GitLab, and some that are never.
func TestARefusalTellsWhichRulesOfTheEdgesRefused(t *testing.T) {
	const byDefault = "refused by the edge, not by GitLab: rules 13.5 are in force and allow "
	const hint = "; rules current allow what today's GitLab does"
	const never = "refused by the edge, not by GitLab: no rules allow it, and rules 13.5 are in force"
	for rules, refused := range map[string]map[string]string{
		"": {
			"pkg/1.0.0-rc1/app.bin":                              byDefault + "three numbers, such as 1.0.0" + hint,
			"p+q/1.0.0/app.bin":                                  byDefault + "letters, digits, dot, underscore and hyphen" + hint,
			"pkg/1.0.0/dir/app.bin":                              byDefault + "letters, digits, dot, underscore and hyphen, and no directories" + hint,
			"pkg/1.0.0/%2e%2e":                                   never,
			"pkg/1.0.0/app.bin?path=../x":                        never,
			"pkg/1.0.0/app.bin?path=%22%0A" + "\\" + "&path=%zz": never,
		},
		"rules current": {
			"pkg/1..0/app.bin": "refused by the edge, not by GitLab: rules current are in force and allow letters, digits, dot, underscore, hyphen and plus, and no two dots in a row",
		},
		"rules {\n version [0-9]+\n}": {
			"pkg/1.0.0/app.bin": "refused by the edge, not by GitLab: rules custom are in force and allow what the pattern in the edge's settings matches",
			"p+q/1/app.bin":     "refused by the edge, not by GitLab: rules custom are in force and allow letters, digits, dot, underscore and hyphen",
		},
	} {
		t.Run(rules, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, rules)
			for path, want := range refused {
				for _, method := range []string{http.MethodGet, http.MethodPut} {
					got := e.do(t, call{method: method, path: "/api/v4/projects/24/packages/generic/" + path, token: developer})
					var told struct{ Error, Edge string }
					err := json.Unmarshal(got.body, &told)
					if err != nil || got.StatusCode != http.StatusBadRequest || !strings.HasSuffix(told.Error, " is invalid") || told.Edge != want {
						t.Errorf("%s %s: %s, %v, %s\nwant %s", method, path, got.Status, err, got.body, want)
					}
				}
			}
			if n := len(gitlab.Requests()); n != 0 {
				t.Errorf("GitLab heard of it %d times", n)
			}
		})
	}
}
