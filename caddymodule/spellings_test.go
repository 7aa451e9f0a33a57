package caddymodule

import (
	"fmt"
	"strings"
	"testing"
)

// TestNoSpellingLeadsToASwitchedOffProject joins spellings of the path, the id and the names, 2,771 in all, and asks for a file by each.
func TestNoSpellingLeadsToASwitchedOffProject(t *testing.T) {
	for name, option := range map[string]string{"with reverse_proxy behind": "", "with " + forwardsOthers: forwardsOthers} {
		t.Run(name, func(t *testing.T) { noSpellingLeadsToASwitchedOffProject(t, option) })
	}
}

func noSpellingLeadsToASwitchedOffProject(t *testing.T, option string) {
	e, gitlab := startSwitchable(t, option+"\napi_token "+administrator+"\nprojects on {\n off 24 group/app\n}")
	publishOld(gitlab, "app.bin", []byte("secret"))
	ids := []string{"24", "024", "24%0A", "24%0Ax", "x%0A24", "24%0D%0A", "%32%34", "+24", "-24", "24%20", "%2024", "24%00", "24;a=b", "24.json", "24,1", "group%2fapp", "GROUP%2FApp", "%67roup%2Fapp", "group%2Fapp%2F", "%2Fgroup%2Fapp", "group%2F%2Fapp", "group%2Fapp%0A", "group%5Capp", "group%252Fapp", "24%2F", "24%0A%2Fx", "group%2Fapp%3Fx", "group%2F.%2Fapp", "group%2Fx%2F..%2Fapp", "%ef%bc%92%ef%bc%94"}
	pre := []string{"/api/v4", "//api//v4", "/%61pi/v4", "/api/%76%34", "/api/v4;x", "/API/v4", "/o/x/api/v4", "/o/x%2Fy/api/v4", "/o/o/x/api/v4", "/%6f/x/api/v4", "/O/x/api/v4", "/o/x/o/y/api/v4", "/-/api/v4", "/./api/v4", "/x/..%2fapi/v4", "/x/%2e%2e/api/v4", "/api/v4/../v4", "/api/v4/.%2e/v4"}
	suf := []string{"/packages/generic/pkg/1.0.0/app.bin", "/packages/generic/pkg/1.0.0/app.bin/", "/generic/pkg/1.0.0/app.bin", "/packages/generic/pkg/1.0.0//app.bin", "/packages/%67eneric/pkg/1.0.0/app.bin", "/-/packages/generic/pkg/1.0.0/app.bin", "/packages/generic/pkg/1.0.0/app.bin?x", "/packages/generic/pkg/1.0.0/app%2Ebin", "/packages/generic/pkg/1.0.0/app.bin%2F", "/packages/generic/pkg/1.0.0/app.bin;x", "/packages/generic/./pkg/1.0.0/app.bin", "/packages/generic/pkg/1.0.0/x/../app.bin", "/packages/generic/pkg/1.0.0/app.bin.json", "/packages/generic/pkg/1.0.0/\"/../app.bin", "/packages/generic/pkg/1.0.0/app.bin#x", "/packages/generic/pkg/1.0.0/%22\"/app.bin"}
	host := strings.TrimPrefix(e.url, "http://")

	for _, p := range pre {
		for _, id := range ids {
			for si, s := range suf {
				if p != "/api/v4" && id != "24" && si > 2 {
					continue
				}
				target := p + "/projects/" + id + s
				for _, abs := range []string{"", "http://" + host} {
					if abs != "" && si > 0 {
						continue
					}

					for _, got := range raw(t, e.url, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n\r\n", abs+target, host, goodLine)) {
						if string(got.body) == "secret" || got.header.Get("Content-Disposition") != "" {
							t.Errorf("%s: %d %s", abs+target, got.status, got.body)
						}
					}
				}
			}
		}
	}
}
