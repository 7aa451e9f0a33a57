package upstream

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
)

// FuzzNoFormLetsATokenThrough plants a token of any content in each form, between any two texts. Redacting twice must
// change nothing more.
func FuzzNoFormLetsATokenThrough(f *testing.F) {
	forms := []string{
		"glpat-%s", "/a/gldt-%s/b", "GLCBT-64_%s", "glrt-t1_%s.01.0a", "acme-glft-%s", "gloas%%2D%s", "%%67lptt-%s", `glagent\u002d%s`, "GR1348941%s", "_gitlab_session=%s",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.%s", "http://user:%s@host/", "http://%s@host/", "HTTP:%%2F%%2Fuser:%s%%40host", `http:\/\/%s@host`, "oauth2:%s@host",
		`{"private_token":"%s"}`, `{\"privateToken\": \"%s\"}`, `{'PRIVATE-TOKEN':'%s'}`, `{"Job-Token":["a","%s"]}`, "%%7B%%22password%%22%%3A%%22%s%%22%%7D", `{"code":"a %s"}`,
		"Private-Token: %s", "Authorization: Bearer %s", "authorization: basic %s", "Authorization%%3A%%20Bearer%%20%s", "HTTP_PRIVATE_TOKEN=%s", "Set-Cookie: a=b; c=%s", "?q=1&client_secret=%s&r=2",
		"Bearer 1%s", "%b", "--password %s", `["-private-token", "%s"]`, `curl --token '%s' /f`, "password= %s", "https://user:a b%s@host/",
	}
	for i := range forms {
		f.Add("https://h/f?a=b", uint8(i), uint64(i)*0x9e3779b97f4a7c15+1, "&c=d")
		f.Add(`{"u":"\`, uint8(i), ^uint64(i), `"}`)
		f.Add("%2", uint8(i), uint64(i)<<40, "@h:1")
		f.Add("pAsswd:Cookie:\" 0", uint8(i), uint64(i), "0")
		f.Add("password: Cookie: token", uint8(i), uint64(i), "=eyJ.")
	}
	f.Fuzz(func(t *testing.T, before string, form uint8, content uint64, after string) {
		secret := "S3CR3T" + strconv.FormatUint(content, 36)
		if strings.Contains(before+after, "S3CR3T") {
			return
		}
		planted := strings.ReplaceAll(strings.ReplaceAll(forms[int(form)%len(forms)], "%s", secret), "%%", "%")
		planted = strings.ReplaceAll(planted, "%b", "Basic "+base64.StdEncoding.EncodeToString([]byte("user:"+secret)))
		text := before + "\n" + planted + "\n" + after
		got := testRedactor.Redact(text)
		if strings.Contains(got, secret) || strings.Contains(got, base64.StdEncoding.EncodeToString([]byte("user:"+secret))) {
			t.Errorf("%q became %q", text, got)
		}
		if again := testRedactor.Redact(got); again != got {
			t.Errorf("%q became %q, and that %q", text, got, again)
		}
	})
}

// TestALongHostileTextTakesNoTimeOfItsLengthSquared has texts in which everything begins and nothing ends, a quarter as
// long as Caddy takes headers. If each beginning were followed to the end, this would take minutes.
func TestALongHostileTextTakesNoTimeOfItsLengthSquared(t *testing.T) {
	for _, piece := range []string{
		"glpat-", "glpat-x", "eyJ", "eyj", "eyjx.", "eyJ.", "basic ", "basic+", "bearer+", "token:", "password:", "password: ", `"token":[`, `token:"`, `token:\"`, `"password":"`, "Cookie:", "code=", "private_token=", "sudo:1", "a@", "a:b@",
		"//", "//a:b", "//a:b@", "%2F%2Fa:b", "%40", "%25", "%", `\`, `\\"`, "[", "=", ":", "a_", "a-", `\u0022`, "?;", "-", "GR1348941",
		"--password ", "-password '", `--password \"`, `"--password",`, "--", "a--", "-a", "password= ", "password=\t", "//a:b c", "//a:b c ", "?password= ",
	} {
		_ = testRedactor.Redact(strings.Repeat(piece, 1<<18/len(piece)))
		_ = testRedactor.Redact(`{"token":"x` + strings.Repeat(piece, 1<<17/len(piece)) + "@")
	}
}
