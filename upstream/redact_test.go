package upstream

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestRedactHidesEachValueOfASecretParameterAndKeepsTheRest(t *testing.T) {
	for text, want := range map[string]string{ //nolint:gosec // no credentials but those of this test
		// Where a query may stand.
		"private_token=s3cr3t":                         "private_token=REDACTED",
		"?private_token=s3cr3t":                        "?private_token=REDACTED",
		"/f?select=package_file&job_token=s3cr3t&a=b":  "/f?select=package_file&job_token=REDACTED&a=b",
		"/f?token=s3cr3t&token=s3cr3t":                 "/f?token=REDACTED&token=REDACTED",
		"https://user@host:1/f?sudo=s3cr3t#x":          "https://REDACTED@host:1/f?sudo=REDACTED",
		`Get "https://h/?token=s3cr3t": EOF`:           `Get "https://h/?token=REDACTED": EOF`,
		"asked /f?token=s3cr3t, then /g?token=s3cr3t.": "asked /f?token=REDACTED, then /g?token=REDACTED.",
		"<https://h/?token=s3cr3t>; rel=next":          "<https://h/?token=REDACTED>; rel=next",
		"/f?token=s3cr3t\n/g?token=s3cr3t\n":           "/f?token=REDACTED\n/g?token=REDACTED\n",
		`{"url":"/f?a=b\u0026token=s3cr3t"}`:           `{"url":"/f?a=b\u0026token=REDACTED"}`,
		`{"url":"/f?token\u003Ds3cr3t"}`:               `{"url":"/f?token\u003DREDACTED"}`,
		`<a href="/f?a=b&amp;token=s3cr3t">`:           `<a href="/f?a=b&amp;token=REDACTED">`,
		"/log-in?to=%2Ff%3Ftoken%3Ds3cr3t&a=b":         "/log-in?to=%2Ff%3Ftoken%3DREDACTED&a=b",
		"?to=%252Ff%253Fx%253Dy%2526token%253ds3cr3t":  "?to=%252Ff%253Fx%253Dy%2526token%253dREDACTED",
		"?to=/f?token=s3cr3t":                          "?to=/f?token=REDACTED",

		// How a name may be spelled.
		"?%70rivate_toke%6e=s3cr3t":      "?%70rivate_toke%6e=REDACTED",
		"?%70rivate_toke%6E=s3cr3t":      "?%70rivate_toke%6E=REDACTED",
		"?token[]=s3cr3t":                "?token[]=REDACTED",
		"?token%5B%5D=s3cr3t":            "?token%5B%5D=REDACTED",
		"?token[a=b]=s3cr3t":             "?token[a=REDACTED",
		"?token[a?b;c]=s3cr3t":           "?token[a?b;c]=REDACTED",
		"?[token]=s3cr3t":                "?[token]=REDACTED",
		"?[]token=s3cr3t":                "?[]token=REDACTED",
		"?+%20token=s3cr3t":              "?+%20token=REDACTED",
		"?a=1;token=s3cr3t":              "?a=1;token=REDACTED",
		"?a;token=s3cr3t":                "?a;token=REDACTED",
		"?%zztoken=s3cr3t":               "?%zztoken=REDACTED", // might be anything
		"?PRIVATE-TOKEN=s3cr3t":          "?PRIVATE-TOKEN=REDACTED",
		"?tokentoken=shown&token=s3cr3t": "?tokentoken=shown&token=REDACTED",

		// What a value may be.
		"?token=s3;cr3t&a=b":            "?token=REDACTED&a=b",
		"?token=s3=cr3t==&a=b":          "?token=REDACTED&a=b",
		`?token=s3"cr'3)t,u&a=b`:        `?token=REDACTED&a=b`,
		"?token=s3%26cr3t%20&a=b":       "?token=REDACTED&a=b",
		"?token=REDACTED":               "?token=REDACTED",
		"?token=&private_token=s3cr3t":  "?token=&private_token=REDACTED",
		"?token=\xff\x80s3cr3t\xfe&a=b": "?token=REDACTED&a=b",
	} {
		if got := testRedactor.Redact(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestRedactHidesEveryCarrierAndTheSignaturesOfStorage(t *testing.T) {
	for _, parameter := range slices.Concat(parametersOfTheList, signaturesOfTheList) {
		text, want := "https://h/f?a=b&"+parameter+"="+topSecret+"&c=d", "https://h/f?a=b&"+parameter+"=REDACTED&c=d"
		if got := testRedactor.Redact(text); got != want {
			t.Errorf("%s became %s", text, got)
		}
	}
	for _, signature := range signatures {
		if text := testRedactor.Redact("?" + signature.parameter + "=" + topSecret); strings.Contains(text, topSecret) {
			t.Errorf("a URL that counts as signed by %s shows it", signature.parameter)
		}
	}
}

func TestRedactLeavesOtherTextAsItIs(t *testing.T) {
	for _, text := range []string{
		"", "token", "token: x", "?token", "?token=", "?token=&a=b", `"token="`, "?a=token", "?a=b&c=token;d",
		"/api/v4/projects/24/packages/generic/token/1.0/f?select=package_file", "/private_token/f?status=hidden", "50% of 3 = 1",
		"?xid_token=x&csrf-tokens=x&tokens=x&tokenx[]=x", "?signature_method=x&sigs=x", "/a%2Fb?c=d%20e", "?a=b%3Dc",
		"bytes=0-99", "max-age=0, must-revalidate", "GitLab; hit; ttl=60; detail=grant", `form-data; name="a"; filename="b"`, "äöü=ß", `\u003`, `\u003d`, "%", "%2", "%25", "=", "==",
	} {
		if got := testRedactor.Redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

var testRedactor = NewRedactor()

// spell writes a parameter's name as a caller may: of each byte two bits say whether it is encoded, and in which case;
// two more say whether all of it is encoded again.
func spell(name string, bits uint64) string {
	var spelled strings.Builder
	for i := range len(name) {
		switch bits >> (2 * i) & 3 {
		case 1:
			fmt.Fprintf(&spelled, "%%%02x", name[i])
		case 2:
			fmt.Fprintf(&spelled, "%%%02X", name[i])
		default:
			spelled.WriteByte(name[i])
		}
	}
	if bits>>62 == 3 {
		return strings.ReplaceAll(spelled.String(), "%", "%25")
	}
	return spelled.String()
}

// FuzzNoSpellingOfAParameterLetsASecretThrough puts a secret behind all spellings of a secret parameter, in the midst of
// any text.
func FuzzNoSpellingOfAParameterLetsASecretThrough(f *testing.F) {
	for i := range len(CarrierParameters) + len(storageSecrets) {
		f.Add("https://h/f?a=b", "", uint8(i), uint64(i)*0x9e3779b97f4a7c15, uint8(i), uint8(i), "&c=d")
	}
	f.Add(`{"u":"`, "a=b;c?d%zz", uint8(0), ^uint64(0), uint8(3), uint8(2), `"}`)
	f.Add("%2", "\\u003", uint8(3), uint64(1<<63|5), uint8(2), uint8(1), "%")
	f.Fuzz(func(t *testing.T, before, inBrackets string, parameter uint8, bits uint64, separator, equals uint8, after string) {
		const secret = "glpat-S3CR3T"
		if strings.Contains(before, "S3CR3T") || strings.Contains(inBrackets, "S3CR3T") || strings.Contains(after, "S3CR3T") {
			return
		}
		names := slices.Concat(CarrierParameters, storageSecrets)
		name := spell(names[int(parameter)%len(names)], bits)
		if inBrackets != "" {
			if slices.ContainsFunc([]byte(inBrackets), endsParameter) {
				return // no such thing can be in a name
			}
			name += "[" + inBrackets + "]"
		}
		separators := []string{"&", "?", ";", " ", "\n", `"`, "%26", "%3F", `\u0026`, "&[]", "&+", "&amp;", "[", "=", "%253f", "("}
		signs := []string{"=", "%3D", "%3d", "%25253D", `\u003d`, `\u003D`}
		text := before + separators[int(separator)%len(separators)] + name + signs[int(equals)%len(signs)] + secret + after
		got := testRedactor.Redact(text)
		if strings.Contains(got, "S3CR3T") {
			t.Errorf("%q became %q", text, got)
		}
		if again := testRedactor.Redact(got); again != got {
			t.Errorf("%q became %q, and that %q", text, got, again)
		}
	})
}

// FuzzTextWithoutAnySignStaysAsItIs takes any text that has nothing of what secrets stand behind or begin with.
func FuzzTextWithoutAnySignStaysAsItIs(f *testing.F) {
	for _, text := range []string{"", "GET /f?token", "%zz%", `C;\private_token`, "token x", "100 %, \xff", "glpat", "ey.J.x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lower := strings.ToLower(text)
		for _, sign := range []string{"=", ":", "@", "-", "ey", "bearer", "basic", "dpop", "gr1348941", "%2", "%3", "%4", "%5", "%6", "%7", `\u00`} {
			if strings.Contains(lower, sign) {
				return
			}
		}
		if got := testRedactor.Redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}

func BenchmarkRedactAPlainURL(b *testing.B) {
	const text = "https://gitlab.example.com/api/v4/projects/24/packages/generic/app/1.0.0/app.bin"
	b.ReportAllocs()
	for b.Loop() {
		_ = testRedactor.Redact(text)
	}
}

func TestANameOfASecretWithAWordBeforeItIsHiddenAsAFieldToo(t *testing.T) {
	redactor := NewRedactor()
	for name, want := range map[string]bool{
		"X-Deploy-Token": true, "X-Runner-Token": true, "Gitlab-Job-Token": true, "X-Http-Authorization": true, "X-Rss-Token": true,
		"X-Policy": false, "status_code": false, "Next-Token": false, "project": false,
	} {
		if got := redactor.Hides(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
