package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestAnEmptyFieldWidensNothing(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	e.mustGet(t, "app.bin", developer, []byte("x"))
	awaitNoFlight(t)
	full := [][2]string{{"project", "24"}, {"package", "pkg"}, {"version", "1.0.0"}, {"file", "app.bin"}}
	bodies := make([]string, 0, 2*(4*len(full)+6))
	for _, empty := range []string{`""`, "null"} {
		for at := range full {
			fields := make([]string, 0, at+2)
			for _, field := range full[:at] {
				fields = append(fields, fmt.Sprintf("%q:%q", field[0], field[1]))
			}
			fields = append(fields, fmt.Sprintf("%q:%s", full[at][0], empty))
			bodies = append(bodies, "{"+strings.Join(fields, ",")+"}", "{"+strings.Join(append(fields, `"soft":true`), ",")+"}",
				"{"+strings.Join(append(fields, `"grants":true`), ",")+"}", "{"+strings.Join(append(fields, `"all":true`), ",")+"}")
		}
		bodies = append(bodies,
			`{"project":"24","upstream":`+empty+`}`, `{"all":true,"upstream":`+empty+`}`, `{"project":"24","package":"pkg","Package":`+empty+`}`,
			`{"project":"24","package":`+empty+`,"package":"other"}`, `{"project":"24","PACKAGE":`+empty+`}`, `{"project":"24","all":null}`)
	}
	for _, body := range bodies {
		for _, verb := range []string{"purge", "enable", "disable", "reset", "warm"} {
			status, answer := e.api(t, http.MethodPost, verb, body)
			if status != http.StatusBadRequest || !strings.Contains(answer, "is empty") {
				t.Errorf("%s %s: %d %s", verb, body, status, answer)
			}
		}
	}
	for _, field := range []string{"upstream", "project", "package", "version", "file"} {
		status, answer := e.api(t, http.MethodGet, "entries?"+url.Values{field: {""}}.Encode(), "")
		if status != http.StatusBadRequest || !strings.Contains(answer, "is empty") {
			t.Errorf("entries, %s: %d %s", field, status, answer)
		}
	}
	for _, args := range [][]string{
		{"purge", ""},
		{"purge", "24", ""},
		{"purge", "24", "pkg", ""},
		{"purge", "24", "pkg", "1.0.0", ""},
		{"purge", "", "--all"},
		{"purge", "24", "--upstream", ""},
		{"purge", "24", "", "--soft"},
		{"purge", "", "--grants"},
		{"disable", ""},
		{"disable", "", "--all"},
		{"reset", "", "--all"},
		{"enable", "24", "--upstream="},
		{"entries", ""},
		{"entries", "24", ""},
		{"warm", "24", ""},
		{"warm", "24", "pkg", ""},
	} {
		e.expectCLI(t, 1, []string{"empty name"}, args...)
	}
	if got := e.mustGet(t, "app.bin", developer, []byte("x")); !strings.Contains(got.cacheStatus(), "; hit") {
		t.Errorf("afterwards: %s", got.cacheStatus())
	}
	if said := runningSwitches(t); said.All != nil || len(said.Projects) != 0 {
		t.Errorf("switched %+v", said)
	}
	// A field that is missing at the right end means all of it.
	e.expectCLI(t, 0, []string{"1 file is removed"}, "purge", "24", "pkg")
}
