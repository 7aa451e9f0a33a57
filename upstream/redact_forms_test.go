package upstream

import (
	"fmt"
	"strings"
	"testing"
)

// expectRedacted redacts each text and compares. What was redacted once must stay so.
func expectRedacted(t *testing.T, texts map[string]string) {
	t.Helper()
	for text, want := range texts {
		got := testRedactor.Redact(text)
		if got != want {
			t.Errorf("%s\nbecame\n%s, want\n%s", text, got, want)
		}
		if again := testRedactor.Redact(got); again != got {
			t.Errorf("%s\nbecame\n%s, and that\n%s", text, got, again)
		}
	}
}

func TestUserAndPasswordOfAURLAreHiddenAndTheHostStays(t *testing.T) {
	expectRedacted(t, map[string]string{ //nolint:gosec // no credentials but those of this test
		"http://user:tok@host/":                          "http://REDACTED@host/",
		"GET http://oauth2:tok@host:80/f?a=b HTTP/1.1":   "GET http://REDACTED@host:80/f?a=b HTTP/1.1",
		"HTTPS://USER:TOK@HOST/F":                        "HTTPS://REDACTED@HOST/F",
		"http://tok@host/":                               "http://REDACTED@host/",
		"http://:tok@host":                               "http://REDACTED@host",
		"//user:tok@host/":                               "//REDACTED@host/",
		"http://user:t@k@host/a@b":                       "http://REDACTED@host/a@b",
		"http://user:to/k@host/":                         "http://REDACTED@host/",
		"http://user:t?o#k@host/":                        "http://REDACTED@host/",
		"http://user:to'k@host/":                         "http://REDACTED@host/",
		"http://user:to%2Fk@host/":                       "http://REDACTED@host/",
		"http://us%2Fer@host/":                           "http://REDACTED@host/",
		"http://user:tok%40host/":                        "http://REDACTED%40host/",
		"http:%2F%2Fuser:tok%40host/":                    "http:%2F%2FREDACTED%40host/",
		"http%3A%2F%2Fuser%3Atok%40host%2Ff%40b":         "http%3A%2F%2FREDACTED%40host%2Ff%40b",
		"http%253A%252F%252Fuser%253Atok%2540host%252Ff": "http%253A%252F%252FREDACTED%2540host%252Ff",
		`{"url":"http:\/\/user:tok@host\/f"}`:            `{"url":"http:\/\/REDACTED@host\/f"}`,
		`{"url":"http://user:tok\u0040host/f"}`:          `{"url":"http://REDACTED\u0040host/f"}`,
		`parse "http://user:tok@host/": bad`:             `parse "http://REDACTED@host/": bad`,
		"from http://a:b@one/ to http://c:d@two/":        "from http://REDACTED@one/ to http://REDACTED@two/",
		"?to=http://user:tok@host/&x=y":                  "?to=http://REDACTED@host/&x=y",
		"<http://user:tok@host/>; rel=next":              "<http://REDACTED@host/>; rel=next",
		"oauth2:tok@host":                                "REDACTED@host",
		"CONNECT oauth2:tok@host:443":                    "CONNECT REDACTED@host:443",
		"oauth2:to%2Fk@host":                             "REDACTED@host",
		"oauth2%3Atok%40host":                            "REDACTED%40host",
		"?proxy=oauth2:tok@host":                         "?proxy=REDACTED@host",
		"git+ssh://gitlab-ci-token:tok@host/a.git":       "git+ssh://REDACTED@host/a.git",
	})
}

func TestURLsAndAddressesWithoutAUserStayAsTheyAre(t *testing.T) {
	for _, text := range []string{
		"http://host/", "http://host:8080/@scope/pkg", "https://host/npm/@scope%2fpkg", "http://host/a@b", "http://host?mail=a@b", "http://host#a@b",
		"http://[::1]:80/a@b", "http://host:80/go/@v/list", "//host/a@b", "/a/b@c:1", "someone@example.com", "mailto:someone@example.com",
		"contact mailto:a@example.com,b@example.com", "/root/go/pkg/mod/github.com/caddyserver/caddy/v2@v2.11.9/listeners.go:123 +0x1", "@", "a@", ":@", "//@",
		"http://", "http:%2F%2Fhost%2Fa%40b",
	} {
		if got := testRedactor.Redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// secretNamesOfTheTest are written out here, so that a name that is lost in the code is missed.
var secretNamesOfTheTest = []string{
	"Authorization", "Private-Token", "Job-Token", "Deploy-Token", "Cookie", "DPoP", "Set-Cookie", "Proxy-Authorization",
	"X-Gitlab-Static-Object-Token", "X-NuGet-ApiKey", "X-Gitlab-Token", "X-Gitlab-Feed-Token", "X-CSRF-Token", "Gitlab-Workhorse-Api-Request", "X-Private-Token",
	"X-Amz-Security-Token", "X-Amz-Signature", "X-Amz-Credential",
	"private_token", "access_token", "bearer_token", "job_token", "feed_token", "rss_token", "deploy_token", "runner_token", "personal_access_token",
	"refresh_token", "id_token", "oauth_token", "authenticity_token", "client_secret", "password", "api_key", "api_token", "_gitlab_session",
}

// commonNamesOfTheTest are words that stand in other texts too.
var commonNamesOfTheTest = []string{"token", "sudo", "code", "sig", "Signature"}

func TestASecretIsHiddenBehindItsNameInJSONAndInText(t *testing.T) {
	const secret = "Zm9v1bar"
	quoted := []string{
		`{"%s":"` + secret + `"}`,
		`{"a":1,"%s" : "` + secret + `","b":2}`,
		"{\n\t\"%s\":\n\t\"" + secret + "\"\n}",
		`{'%s': '` + secret + `'}`,
		`{\"%s\":\"` + secret + `\"}`,
		`"{\\\"%s\\\":\\\"` + secret + `\\\"}"`,
		`{\u0022%s\u0022:\u0022` + secret + `\u0022}`,
		"%%7B%%22%s%%22%%3A%%22" + secret + "%%22%%7D",
		`{"%s":["` + secret + `","x` + secret + `"]}`,
		`{"%s":{"a":["]}` + secret + `"]}}`,
		`{"%s":"two words \" of ` + secret + `"}`,
		`{"%s":"is cut off after ` + secret,
		`{"%s"=>"` + secret + `"}`,
		`"%s" = "` + secret + `"`,
		`"%s":` + secret + `,"b":2`,
		`%s="` + secret + `"`,
		`%s=` + secret,
		`{"body":"{\"%s\":\"` + secret + `\"}"}`,
	}
	for _, name := range append(secretNamesOfTheTest, commonNamesOfTheTest...) {
		expectNoForm(t, secret, name, quoted...)
	}
	for _, name := range secretNamesOfTheTest {
		expectNoForm(t, secret, name,
			"%s: "+secret, "%s:"+secret, "%s : "+secret, "a: b, %s: "+secret+", c: d", "a\r\n%s: "+secret+"\r\nb", "%s: a, "+secret, "%s: a; b="+secret,
			"%s: Bearer "+secret, "%s: Basic "+secret, "%s: Token "+secret, "%s:\r\n "+secret, "map[%s:["+secret+" b] c:[d]]", "curl -H '%s: "+secret+"' /f", "`%s: "+secret+"`",
			`"%s: two words `+secret[:4]+" "+secret[4:], "%s:%%20"+secret, "%s%%3A%%20"+secret+"&a=b", "%s := "+secret, "%s = "+secret, `%s: "`+secret+`"`, "request.%s: "+secret,
		)
	}
}

// expectNoForm fills in the name, in several spellings, in each form.
func expectNoForm(t *testing.T, secret, name string, forms ...string) {
	t.Helper()
	for _, spelled := range []string{
		name, strings.ToUpper(name), strings.ToLower(name), strings.ReplaceAll(name, "_", "-"), strings.ReplaceAll(name, "-", "_"), strings.NewReplacer("-", "", "_", "").Replace(name),
	} {
		for _, form := range forms {
			text := strings.ReplaceAll(strings.ReplaceAll(form, "%s", spelled), "%%", "%")
			got := testRedactor.Redact(text)
			if strings.Contains(got, secret) || !strings.Contains(got, spelled) {
				t.Errorf("%q became %q", text, got)
			}
			if again := testRedactor.Redact(got); again != got {
				t.Errorf("%q became %q, and that %q", text, got, again)
			}
		}
	}
}

func TestWhatStandsAroundAnAssignmentStays(t *testing.T) {
	expectRedacted(t, map[string]string{ //nolint:gosec // no credentials but those of this test
		`{"private_token":"s3cr3t","id":24}`:              `{"private_token":"REDACTED","id":24}`,
		`{"private_token": 123, "id":24}`:                 `{"private_token": REDACTED, "id":24}`,
		`{\"private_token\":\"s3cr3t\",\"id\":24}`:        `{\"private_token\":\"REDACTED\",\"id\":24}`,
		`{"privateToken":["a","b"],"id":24}`:              `{"privateToken":[REDACTED],"id":24}`,
		`{"private_token":"","id":24}`:                    `{"private_token":"","id":24}`,
		"%7B%22private_token%22%3A%22s3cr3t%22%7D&a=b":    "%7B%22private_token%22%3A%22REDACTED%22%7D&a=b",
		"sent PRIVATE-TOKEN: s3cr3t to host":              "sent PRIVATE-TOKEN: REDACTED to host",
		"Authorization: Bearer s3cr3t\r\nHost: h":         "Authorization: REDACTED\r\nHost: h",
		`Authorization: Bearer s3cr3t\nHost: h`:           `Authorization: REDACTED\nHost: h`,
		"curl -H 'Authorization: Bearer s3cr3t' http://h": "curl -H 'Authorization: REDACTED' http://h",
		"Cookie: a=b; c=d\nHost: h":                       "Cookie: REDACTED\nHost: h",
		"?h=Authorization%3A%20Bearer%20s3cr3t&a=b":       "?h=Authorization%3A%20REDACTED&a=b",
		"map[Private-Token:[a b] Accept:[*/*]]":           "map[Private-Token:[REDACTED] Accept:[*/*]]",
		"_gitlab_session=s3cr3t; path=/":                  "_gitlab_session=REDACTED; path=/",
		"token: Xy12ab90":                                 "token: REDACTED",
	})
}

// TestWordsThatLogsNeedStay holds what Caddy, Go and GitLab say with words that name secrets as well.
func TestWordsThatLogsNeedStay(t *testing.T) {
	for _, text := range []string{
		"status code: 200", "exit code=1", "exit code=137", "code: 503, body: x", `{"code":404,"message":"404 Project Not Found"}`, `{"code":"404"}`, "?code=200",
		"rpc error: code = Unavailable desc = connection error", "rpc error: code = DeadlineExceeded", "unexpected token: EOF", "unexpected token '}'", "token: unexpected end of input",
		"error code: 0x80070005", "policy: round_robin", `{"policy":"random"}`, "tls: bad certificate signature: x", "wrong password", "no authorization", "authorization failed: ",
		"invalid header field value for \"Authorization\"", `net/http: invalid byte '"' in Cookie.Value; dropping invalid bytes`, "HTTP 403 urn:ietf:params:acme:error:unauthorized - token mismatch",
		`Bearer realm="https://gitlab.example.com/jwt/auth",service="container_registry",error="invalid_token"`, "Bearer authentication failed", "Basic authentication failed", `Basic realm="GitLab"`,
		"certificate obtained successfully", "2026-01-02T15:04:05.000Z", "Mon, 02 Jan 2006 15:04:05 GMT", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", `W/"5d41402abc4b2a76b9719d911017c592"`, "[::1]:8080", "tcp/:443", "text/html; charset=utf-8",
	} {
		if got := testRedactor.Redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

// tokensOfTheTest are made-up tokens of each kind.
var tokensOfTheTest = []string{
	"glpat-Abc_efghij-lmnopqr12", "glpat-unseen", "glpat-Abcdefghijklmnopqrstuvwxyz0.01.0a1b2c3d4", "gldt-Abcdefghijklmnopqr12", "glcbt-64_Abcdefghijklmnopqr12", "glrt-Abcdefghijklmnopqr12",
	"glrt-t1_Abcdefghijklmnopqr12", "glrtr-Abcdefghijklmnopqr12", "glft-Abcdefghijklmnopqr12", "gloas-Abcdefghijklmnopqr12", "glptt-Abcdefghijklmnopqr12", "glagent-Abcdefghijklmnopqr12",
	"glimt-Abcdefghijklmnopqr12", "glsoat-Abcdefghijklmnopqr12", "glffct-Abcdefghijklmnopqr12", "glwt-Abcdefghijklmnopqr12", "GR1348941Abcdefghijklmnopqr12", jwt, "glcbt-" + jwt,
}

func TestATokenIsHiddenWhereverItStands(t *testing.T) {
	for _, token := range tokensOfTheTest {
		for form, want := range map[string]string{
			"%s": "REDACTED", "/api/v4/%s/f": "/api/v4/REDACTED/f", "curl/8 (%s)": "curl/8 (REDACTED)", "%s.example.com": "",
			`"%s"`: `"REDACTED"`, `W/"%s"`: `W/"REDACTED"`, "00-%s-01": "", "a %s b": "a REDACTED b", "acme-%s": "acme-REDACTED", "/a%%2F%s%%2Fb": "/a%2FREDACTED%2Fb",
			"[%s]": "[REDACTED]", "%s,%s": "REDACTED,REDACTED", "?q=%s&r=s": "?q=REDACTED&r=s", "é%sé": "éREDACTEDé", "%s.": "REDACTED.",
		} {
			for how, spelled := range map[string]string{
				"as it is": token, "lower": strings.ToLower(token), "UPPER": strings.ToUpper(token), "dots and hyphens encoded": strings.NewReplacer("-", "%2D", ".", "%2e").Replace(token),
				"all encoded": encodeAll(token, "%%%02x"), "encoded twice": encodeAll(token, "%%25%02X"), "in JSON's escapes": encodeAll(token, `\u%04x`),
			} {
				text := strings.ReplaceAll(strings.ReplaceAll(form, "%s", spelled), "%%", "%")
				got := testRedactor.Redact(text)
				if (want != "" && got != want) || strings.Contains(strings.ToLower(got), strings.ToLower(token[9:])) {
					t.Errorf("%s: %q became %q", how, text, got)
				}
			}
		}
	}
}

func encodeAll(text, format string) string {
	var encoded strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&encoded, format, text[i])
	}
	return encoded.String()
}

func TestWhatMerelyBeginsLikeATokenStays(t *testing.T) {
	for _, text := range []string{
		"glpat-", "glpat- tokens", "tokens begin with glpat-, gldt- or glrt-.", "glpat-x", "glpat", "glrt-1.0.0.tar.gz", "/glft-2/f", "gl-sast-report.json", "global-settings", "GR1348941", "GR1348941x",
		"eyJ", "eyJx", "eyJx.y", "eyJx..z", "heyJude", "eyjafjalla.example.com", "eyjafjallajokull-and-more.is.example", "a-b-c", "-", "--", "t-", "mast-head", "dash-board",
	} {
		if got := testRedactor.Redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestACredentialAfterItsSchemeIsHidden(t *testing.T) {
	expectRedacted(t, map[string]string{ //nolint:gosec // no credentials but those of this test
		"Bearer s3cr3t":                        "Bearer REDACTED",
		"bearer abcdefghijklmnopqrstuvwx, b":   "bearer REDACTED, b",
		"sent Basic dXNlcjpwYXNzd29yZA== to h": "sent Basic REDACTED to h",
		"BASIC dXNlcjpwYXNz":                   "BASIC REDACTED",
		"Bearer%20s3cr3t":                      "Bearer%20REDACTED",
		"Bearer+s3cr3t":                        "Bearer+REDACTED",
		"DPoP s3cr3t":                          "DPoP REDACTED",
	})
}

func TestAnAdminsOwnNamesAreHiddenInTextsToo(t *testing.T) {
	redactor := NewRedactor("X-Team")
	for _, text := range []string{"X-Team: s3cr3t", `{"x_team":"s3cr3t"}`, "?xteam=s3cr3t"} {
		if got := redactor.Redact(text); strings.Contains(got, "s3cr3t") {
			t.Errorf("%q became %q", text, got)
		}
		if got := testRedactor.Redact(text); got != text {
			t.Errorf("without the name %q became %q", text, got)
		}
	}
	if !redactor.Hides("x-TEAM") || testRedactor.Hides("X-Team") {
		t.Error("the name isn't known as a field's, or always is")
	}
}
