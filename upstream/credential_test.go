package upstream

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestEveryCarrierAndEveryPairIsInTheFingerprint changes each carrier, alone and beside each other one.
func TestEveryCarrierAndEveryPairIsInTheFingerprint(t *testing.T) {
	fingerprinter := NewFingerprinter()
	type request struct {
		header http.Header
		query  string
	}
	carriers := make([]func(r *request, value string), 0, len(CarrierHeaders)+len(CarrierParameters)+1)
	for _, name := range slices.Concat(CarrierHeaders, []string{"X-Own"}) {
		carriers = append(carriers, func(r *request, value string) { r.header[name] = []string{value} })
	}
	for _, name := range CarrierParameters {
		carriers = append(carriers, func(r *request, value string) { r.query = strings.TrimPrefix(r.query+"&"+name+"="+value, "&") })
	}
	seen := make(map[Fingerprint]string)
	add := func(what string, change func(*request)) {
		r := request{header: http.Header{"Accept": {what}}}
		change(&r)
		fingerprint := fingerprinter.Of(CredentialOf(r.header, r.query, []string{"x-own"}))
		if before, known := seen[fingerprint]; known {
			t.Errorf("%s has the fingerprint of %s", what, before)
		}
		seen[fingerprint] = what
	}
	add("nothing", func(*request) {})
	for i, first := range carriers {
		for _, value := range []string{"a", "b"} {
			add(fmt.Sprint(i, value), func(r *request) { first(r, value) })
			for j, second := range carriers[:i] {
				for _, other := range []string{"a", "b"} {
					add(fmt.Sprint(i, value, j, other), func(r *request) { first(r, value); second(r, other) })
				}
			}
		}
	}
	add("two lines", func(r *request) { r.header["Private-Token"] = []string{"a", "b"} })
	add("one joined line", func(r *request) { r.header["Private-Token"] = []string{"a, b"} })
	add("an empty line", func(r *request) { r.header["Private-Token"] = []string{""} })
	if fingerprinter.Of(Credential{}) == NewFingerprinter().Of(Credential{}) {
		t.Error("two fingerprinters have one key")
	}
	same := http.Header{"Private-Token": {"a"}, "Accept": {"x"}}
	if seen[fingerprinter.Of(CredentialOf(same, "", nil))] == "" {
		t.Error("a header that is no carrier changes the fingerprint")
	}
}

func TestACredentialPrintsItselfRedacted(t *testing.T) {
	const secret = "s3cr3t"
	credential := CredentialOf(http.Header{"Private-Token": {secret}, "Cookie": {"x=" + secret}}, "job_token="+secret, nil)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		for _, printed := range []any{credential, &credential, Caller{Credential: credential}, []Credential{credential}} {
			if text := fmt.Sprintf(verb, printed); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
	encoded, err := json.Marshal(map[string]any{"a": credential, "b": Caller{Credential: credential}})
	if err != nil || strings.Contains(string(encoded), secret) {
		t.Errorf("JSON: %s, %v", encoded, err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "credential", credential)
	if strings.Contains(logged.String(), secret) || !strings.Contains(logged.String(), "redacted") {
		t.Errorf("slog: %s", logged.String())
	}
	if text := fmt.Sprint(NewFingerprinter().Of(credential)); text != "[fingerprint]" {
		t.Errorf("a fingerprint prints %s", text)
	}
}

func TestACredentialIsSentAsItCame(t *testing.T) {
	header := http.Header{"Private-Token": {"a", "b"}, "Authorization": {"Bearer x"}, "Range": {"bytes=0-"}, "X-Own": {"me"}}
	credential := CredentialOf(header, "x=1&private_token=a%20b&job_token=c", []string{"X-Own"})
	header["Private-Token"][0] = "changed later"
	sent := http.Header{}
	credential.AddTo(sent)
	want := http.Header{"Private-Token": {"a", "b"}, "Authorization": {"Bearer x"}, "X-Own": {"me"}}
	if fmt.Sprint(map[string][]string(sent)) != fmt.Sprint(map[string][]string(want)) || credential.Query() != "private_token=a%20b&job_token=c" {
		t.Errorf("sent %v and %s", map[string][]string(sent), credential.Query())
	}
	if credential.Anonymous() || !CredentialOf(http.Header{"Range": {"x"}}, "x=1", nil).Anonymous() {
		t.Error("who is anonymous is told wrongly")
	}
}

func TestQueryHoldsOnlyTrustsNothingDoubtful(t *testing.T) {
	for query, want := range map[string]bool{
		"": true, "private_token=a": true, "job_token=a&sudo=b": true, "private_token=": true, "status=x": false, "private_token=a&path=b": false,
		"private_token=a;path=b": false, "private_token[]=a": false, "private%5Ftoken=a": false, "private_token": false, "private_token=%zz": false,
		"private_token=a&": false, "&private_token=a": false, "Private_Token=a": false, "format=json": false,
	} {
		if got := QueryHoldsOnly(query); got != want {
			t.Errorf("%q: %v", query, got)
		}
	}
	if !QueryHoldsOnly("status=hidden&select=package_file", "status", "select") || QueryHoldsOnly("status=a&path=b", "status", "select") {
		t.Error("further names are judged wrongly")
	}
}

// FuzzCredential: a query that counts as plain holds nothing that the credential leaves out.
func FuzzCredential(f *testing.F) {
	f.Add("private_token=a&sudo=b", "token")
	f.Add("a=b;private_token=c", "x\x00y")
	fingerprinter := NewFingerprinter()
	f.Fuzz(func(t *testing.T, query, token string) {
		credential := CredentialOf(http.Header{"Private-Token": {token}}, query, nil)
		if QueryHoldsOnly(query) && credential.Query() != query {
			t.Errorf("of the plain query %q only %q counts", query, credential.Query())
		}
		other := CredentialOf(http.Header{"Private-Token": {token + "x"}}, query, nil)
		if fingerprinter.Of(credential) == fingerprinter.Of(other) {
			t.Error("two tokens have one fingerprint")
		}
	})
}

func BenchmarkFingerprint(b *testing.B) {
	fingerprinter := NewFingerprinter()
	header := http.Header{"Private-Token": {"glpat-0123456789abcdefghij"}}
	b.ReportAllocs()
	for b.Loop() {
		fingerprinter.Of(CredentialOf(header, "", nil))
	}
}
