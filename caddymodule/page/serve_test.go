package page

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// allPages are all that people can look at.
var allPages = []string{
	"/", "/?span=day", "/?span=week", "/?span=quarter", "/?span=nonsense", "/files", "/files?project=24", "/files?search=edge", "/projects", "/actions", "/troubles",
	"/purge?project=24&package=edge", "/purge?all=yes", "/purge?grants=yes&all=yes", "/purge?project=nowhere", "/switch?all=yes&state=off", "/switch?project=24&state=reset",
}

func containsText(text, part string) bool { return strings.Contains(text, part) }

func TestWhatIsThereIsServedAndNothingElse(t *testing.T) {
	p, _ := newPage(t, morning(), ActionsGuarded, loopback...)
	for _, test := range []struct {
		method, target string
		status         int
		allow          string
	}{
		{"GET", "/", 200, ""},
		{"HEAD", "/", 200, ""},
		{"HEAD", "/events", 200, ""},
		{"GET", "/nowhere", 404, ""},
		{"GET", "/files/", 404, ""},
		{"GET", "/assets/page.css", 404, ""},
		{"GET", "/page.css", 404, ""},
		{"POST", "/nowhere", 404, ""},
		{"POST", "/", 405, "GET, HEAD"},
		{"DELETE", "/files", 405, "GET, HEAD"},
		{"GET", "/verify", 405, "POST"},
		{"PUT", "/purge", 405, "GET, HEAD, POST"},
		{"OPTIONS", "/", 405, "GET, HEAD"},
		{"POST", "/" + assetNames["page.css"], 405, "GET, HEAD"},
	} {
		got := get(t, p, visit{method: test.method, target: test.target})
		if got.Code != test.status || got.Header().Get("Allow") != test.allow {
			t.Errorf("%s %s: %d, %q", test.method, test.target, got.Code, got.Header().Get("Allow"))
		}
		if test.method == http.MethodHead && got.Body.Len() > 0 {
			t.Errorf("%s %s has a body", test.method, test.target)
		}
	}
}

// TestEveryAnswerIsGuarded looks at the headers of pages, refusals and files.
func TestEveryAnswerIsGuarded(t *testing.T) {
	p, _ := newPage(t, morning(), ActionsGuarded, loopback...)
	visits := append(make([]visit, 0, 6+len(allPages)), visit{target: "/nowhere"}, visit{target: "/", host: "evil.example"}, visit{target: "/live"}, visit{target: "/" + assetNames["page.js"]}, visit{target: "/verify"}, visit{method: "POST", target: "/verify"})
	for _, target := range allPages {
		visits = append(visits, visit{target: target})
	}
	for _, v := range visits {
		header := get(t, p, v).Header()
		policy := header.Get("Content-Security-Policy")
		expect(t, policy, "default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "require-trusted-types-for 'script'", "trusted-types 'none'")
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %s", v.target, policy)
		}
		isAsset := strings.HasSuffix(v.target, ".js")
		if (header.Get("Cache-Control") != "no-store") != isAsset || header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", v.target, header)
		}
	}
}

// TestPagesHaveNothingInline reads all pages as a browser does: no style, no script but the page's own file, no handler of events, and
// only links that hold below any path. Each form that does something has the token.
func TestPagesHaveNothingInline(t *testing.T) {
	p, _ := newPage(t, morning(), ActionsGuarded, loopback...)
	for _, target := range allPages {
		got := get(t, p, visit{target: target})
		if got.Code != http.StatusOK {
			t.Errorf("%s: %d", target, got.Code)
		}
		parsed, err := html.Parse(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		ids := make(map[string]bool)
		for node := range parsed.Descendants() {
			if node.Type != html.ElementNode {
				continue
			}
			attributes := attributesOf(node)
			switch source := attributes["src"]; {
			case node.Data == "style", node.Data == "script" && (source == "" || node.FirstChild != nil):
				t.Errorf("%s: <%s> inline", target, node.Data)
			case node.Data == "form" && attributes["method"] == "post" && !hasHidden(node, tokenField, p.token):
				t.Errorf("%s: a form without the token", target)
			}
			for name, value := range attributes {
				if name == "style" || strings.HasPrefix(name, "on") {
					t.Errorf("%s: <%s %s=%q>", target, node.Data, name, value)
				}
				if name == "href" || name == "src" || name == "action" {
					if link, err := url.Parse(value); err != nil || link.IsAbs() || link.Host != "" || strings.HasPrefix(link.Path, "/") {
						t.Errorf("%s: <%s %s=%q>", target, node.Data, name, value)
					}
				}
			}
			if id := attributes["id"]; id != "" {
				if ids[id] {
					t.Errorf("%s: the id %s is there twice", target, id)
				}
				ids[id] = true
			}
		}
	}
}

func attributesOf(node *html.Node) map[string]string {
	attributes := make(map[string]string)
	for _, attribute := range node.Attr {
		attributes[attribute.Key] = attribute.Val
	}
	return attributes
}

// hasHidden reports whether a form has a hidden field with a value.
func hasHidden(form *html.Node, name, value string) bool {
	for node := range form.Descendants() {
		if attributes := attributesOf(node); node.Data == "input" && attributes["type"] == "hidden" && attributes["name"] == name && attributes["value"] == value {
			return true
		}
	}
	return false
}

// TestAPageBelowAPathLeadsToItsFolder asks by the path at which the page is mounted, without the slash that relative links need.
func TestAPageBelowAPathLeadsToItsFolder(t *testing.T) {
	p, _ := newPage(t, morning(), "", loopback...)
	for original, want := range map[string]string{"/edge": "./edge/", "/a/b": "./b/", "//evil.example": "./evil.example/", "/edge/": "", "/": ""} {
		v := visit{target: "/", original: original}
		got := get(t, p, v)
		if got.Header().Get("Location") != want || (want == "") != (got.Code == http.StatusOK) {
			t.Errorf("%s: %d, %q", original, got.Code, got.Header().Get("Location"))
		}
	}
}

// TestAPageThatIsDeeperStillHasItsLook follows the links of a page that isn't there.
func TestAPageThatIsDeeperStillHasItsLook(t *testing.T) {
	p, _ := newPage(t, morning(), "", loopback...)
	expect(t, get(t, p, visit{target: "/a/b/c"}).Body.String(), `href="../../`+assetNames["page.css"]+`"`, `href="../../files"`)
}
