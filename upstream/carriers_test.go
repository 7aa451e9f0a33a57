package upstream

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestEachCarrierOfTheContractIsTakenAndSent walks the rows of carriers (contract, section 5), and of what else changes who a
// request acts as.
func TestEachCarrierOfTheContractIsTakenAndSent(t *testing.T) {
	for name, test := range map[string]struct {
		header http.Header
		query  string
	}{
		"deploy token":                  {http.Header{"Deploy-Token": {"gldt-x"}}, ""},
		"Bearer":                        {http.Header{"Authorization": {"Bearer x"}}, ""},
		"Basic":                         {http.Header{"Authorization": {"Basic dXNlcjpwYXNz"}}, ""},
		"a scheme nobody knows":         {http.Header{"Authorization": {"Gitlab x"}}, ""},
		"personal access token":         {http.Header{"Private-Token": {"glpat-x"}}, ""},
		"job token":                     {http.Header{"Job-Token": {"glcbt-x"}}, ""},
		"session cookie":                {http.Header{"Cookie": {"_gitlab_session=x; other=y"}}, ""},
		"sudo":                          {http.Header{"Private-Token": {"x"}, "Sudo": {"root"}}, ""},
		"proof of possession":           {http.Header{"Private-Token": {"x"}, "Dpop": {"ey"}}, ""},
		"private_token":                 {nil, "private_token=x"},
		"access_token":                  {nil, "access_token=x"},
		"bearer_token":                  {nil, "bearer_token=x"},
		"job_token":                     {nil, "job_token=x"},
		"token":                         {nil, "token=x"},
		"sudo parameter":                {nil, "private_token=x&sudo=1"},
		"repeated parameter":            {nil, "private_token=x&private_token=y"},
		"header and parameter together": {http.Header{"Private-Token": {"x"}}, "job_token=y"},
		"two lines":                     {http.Header{"Private-Token": {"x", "y"}, "Authorization": {"Bearer a", "Basic b"}}, ""},
		"an empty value":                {http.Header{"Private-Token": {""}}, ""},
		"the admin's own header":        {http.Header{"X-Remote-User": {"me"}}, ""},
	} {
		sent := http.Header{"Accept": {"*/*"}, "X-Other": {"1"}}
		maps.Copy(sent, test.header)
		credential := CredentialOf(sent, test.query, []string{"x-remote-user"})
		got := http.Header{}
		credential.AddTo(got)
		if !maps.EqualFunc(got, test.header, slices.Equal) || credential.Query() != test.query || credential.Anonymous() {
			t.Errorf("%s: GitLab would get %v and %q", name, map[string][]string(got), credential.Query())
		}
	}
}

// TestParametersThatRackReadsAsCarriersAreTaken: GitLab's web server reads names in more ways than one.
func TestParametersThatRackReadsAsCarriersAreTaken(t *testing.T) {
	for query, want := range map[string]string{ //nolint:gosec // G101: these are no credentials
		"a=1&private_token=x&b=2":        "private_token=x",
		"private%5Ftoken=x&a=1":          "private%5Ftoken=x",
		"%70rivate_token=x&a=1":          "%70rivate_token=x",
		"private_token[]=x&a=1":          "private_token[]=x",
		"private_token%5B%5D=x&a=1":      "private_token%5B%5D=x",
		"private_token[a][b]=x&a=1":      "private_token[a][b]=x",
		"[private_token]=x&a=1":          "[private_token]=x",
		"%5B%5Dtoken%5D=x&a=1":           "%5B%5Dtoken%5D=x",
		"+private_token=x&a=1":           "+private_token=x",
		"a=1;private_token=x&b=2":        "a=1;private_token=x",
		"private_token=x;a=1&b=2":        "private_token=x;a=1",
		"a=1;b=2;sudo=root":              "a=1;b=2;sudo=root",
		"a=1&private_token":              "private_token",
		"a=1&private_token=x%zz":         "private_token=x%zz",
		"a=1&%zz=x":                      "%zz=x",
		"a=1&private_tokens=x":           "",
		"a=1&x_private_token=x":          "",
		"a=1&a[private_token]=x":         "",
		"Private_Token=x":                "",
		"path=d/e&format=json&status=x":  "",
		"a=private_token&b=token%3Dx":    "",
		"sudo=a&path=d&token=b&sudo=c&x": "sudo=a&token=b&sudo=c",
		"&&":                             "",
	} {
		if got := CredentialOf(nil, query, nil); got.Query() != want || got.Anonymous() != (want == "") {
			t.Errorf("%q: %q counts, want %q", query, got.Query(), want)
		}
	}
}

func TestACredentialIsItsOwn(t *testing.T) {
	header := http.Header{"Private-Token": {"a"}, "Job-Token": {"b", "c"}}
	credential := CredentialOf(header, "", nil)
	for _, values := range header {
		values[0] = "changed by the caller"
	}
	for range 2 {
		sent := http.Header{}
		credential.AddTo(sent)
		if got := fmt.Sprint(sent["Private-Token"], sent["Job-Token"]); got != "[a] [b c]" {
			t.Errorf("sent %s", got)
		}
		for _, values := range sent {
			values[0] = "changed by a transport"
		}
	}
}

func TestAHeaderNamedTwiceByTheAdminIsTakenOnce(t *testing.T) {
	header := http.Header{"X-Own": {"a"}, "Private-Token": {"b"}, "X-Empty": {}}
	fingerprinter := NewFingerprinter()
	once := fingerprinter.Of(CredentialOf(header, "", []string{"X-Own"}))
	for _, names := range [][]string{{"x-own", "X-OWN"}, {"X-Own", "private-token", "Cookie"}, {"X-Empty", "X-Absent", "X-Own"}} {
		if fingerprinter.Of(CredentialOf(header, "", names)) != once {
			t.Errorf("%v has another fingerprint", names)
		}
	}
	if fingerprinter.Of(CredentialOf(header, "", nil)) == once {
		t.Error("the admin's own header isn't in the fingerprint")
	}
}

func TestTheZeroCredentialIsAnonymous(t *testing.T) {
	var zero Credential
	header := http.Header{}
	zero.AddTo(header)
	fingerprinter := NewFingerprinter()
	if !zero.Anonymous() || zero.Query() != "" || len(header) != 0 || fingerprinter.Of(zero) != fingerprinter.Of(CredentialOf(http.Header{"Accept": {"x"}}, "a=1", nil)) {
		t.Error("the zero credential isn't that of a request without any")
	}
}

// TestAllCarriersTogetherAreKeptApart: one value moved from any carrier to any other, split or joined, is another
// credential.
func TestAllCarriersTogetherAreKeptApart(t *testing.T) {
	fingerprinter := NewFingerprinter()
	seen := make(map[Fingerprint]string)
	add := func(what string, header http.Header, query string) {
		t.Helper()
		fingerprint := fingerprinter.Of(CredentialOf(header, query, []string{"X-Own"}))
		if before, known := seen[fingerprint]; known {
			t.Errorf("%s has the fingerprint of %s", what, before)
		}
		seen[fingerprint] = what
		if again := fingerprinter.Of(CredentialOf(header.Clone(), query, []string{"X-Own"})); again != fingerprint {
			t.Errorf("%s has two fingerprints", what)
		}
	}
	add("a header's name among the values", http.Header{"Private-Token": {"a", "Job-Token", "b"}}, "")
	add("two headers with these values", http.Header{"Private-Token": {"a"}, "Job-Token": {"b"}}, "")
	headers := slices.Concat(CarrierHeaders, []string{"X-Own"})
	for i, first := range headers {
		for _, values := range [][]string{{"ab"}, {"a", "b"}, {"b", "a"}, {"", "ab"}, {"ab", ""}, {"a,b"}, {"a, b"}, {"a\x00b"}, {""}, {"", ""}} {
			add(fmt.Sprintf("%s %q", first, values), http.Header{first: values}, "")
		}
		for _, second := range headers[i+1:] {
			for _, values := range [][2]string{{"ab", "cd"}, {"abc", "d"}, {"a", "bcd"}, {"cd", "ab"}, {"", "abcd"}, {"abcd", ""}} {
				add(fmt.Sprintf("%s and %s %q", first, second, values), http.Header{first: {values[0]}, second: {values[1]}}, "")
			}
		}
		for _, parameter := range CarrierParameters {
			add(first+" and "+parameter, http.Header{first: {"ab"}}, parameter+"=cd")
			add(first+" and another "+parameter, http.Header{first: {"ab"}}, parameter+"=ce")
			add("another "+first+" and "+parameter, http.Header{first: {"ac"}}, parameter+"=cd")
		}
	}
	for i, first := range CarrierParameters {
		for _, query := range []string{first + "=ab", first + "=a%62", first + "=", first + "=a&" + first + "=b", first + "=b&" + first + "=a", first + "[]=ab"} {
			add(query, nil, query)
		}
		for _, second := range CarrierParameters[i+1:] {
			add(first+" then "+second, nil, first+"=a&"+second+"=b")
			add(second+" then "+first, nil, second+"=b&"+first+"=a")
			add(first+" with the value of "+second, nil, first+"=b&"+second+"=a")
		}
	}
}

// FuzzFingerprint makes two requests of whatever comes: they have one fingerprint if, and only if, all their carriers
// are the same.
func FuzzFingerprint(f *testing.F) {
	f.Add([]byte("\x01\x02ab\x03\x01c"), []byte("\x01\x01a\x01\x01b"))
	f.Add([]byte("\x08\x02ab"), []byte("\x08\x01a\x08\x01b"))
	f.Add([]byte("\x00\x00"), []byte(""))
	f.Add([]byte("\x0e\x05a&b=c"), []byte("\x0e\x03a;b"))
	names := slices.Concat(CarrierHeaders, []string{"X-Own"})
	read := func(text []byte) (header http.Header, query string) {
		header = http.Header{}
		var parameters []string
		for len(text) >= 2 {
			carrier, length := int(text[0])%(len(names)+len(CarrierParameters)), min(int(text[1]), len(text)-2)
			value := string(text[2 : 2+length])
			text = text[2+length:]
			if carrier < len(names) {
				header[names[carrier]] = append(header[names[carrier]], value)
			} else {
				value = strings.ReplaceAll(value, "&", "+") // else it is two parameters
				parameters = append(parameters, CarrierParameters[carrier-len(names)]+"="+value)
			}
		}
		return header, strings.Join(parameters, "&")
	}
	fingerprinter := NewFingerprinter()
	f.Fuzz(func(t *testing.T, one, other []byte) {
		header, query := read(one)
		otherHeader, otherQuery := read(other)
		equal := maps.EqualFunc(header, otherHeader, slices.Equal) && query == otherQuery
		credential, otherCredential := CredentialOf(header, query, []string{"X-Own"}), CredentialOf(otherHeader, otherQuery, []string{"X-Own"})
		if same := fingerprinter.Of(credential) == fingerprinter.Of(otherCredential); same != equal {
			t.Errorf("%q %q and %q %q: one fingerprint: %v", header, query, otherHeader, otherQuery, same)
		}
		sent := http.Header{}
		credential.AddTo(sent)
		if !maps.EqualFunc(sent, header, slices.Equal) || credential.Query() != query {
			t.Errorf("%q %q would be sent as %q %q", header, query, sent, credential.Query())
		}
		if credential.Anonymous() != (len(header) == 0 && query == "") {
			t.Errorf("%q %q is anonymous: %v", header, query, credential.Anonymous())
		}
	})
}
