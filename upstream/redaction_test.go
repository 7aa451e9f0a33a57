package upstream

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"text/template"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const topSecret = "s3cr3t"

func secretCredential() Credential {
	return CredentialOf(
		http.Header{"Private-Token": {topSecret}, "Authorization": {"Bearer " + topSecret, topSecret}, "Cookie": {"x=" + topSecret}},
		"job_token="+topSecret, nil,
	)
}

// holders are the ways in which a credential may come before a printer; in the unexported field of another type's, package
// fmt can't ask its methods.
func holders(credential Credential) map[string]any {
	type unexported struct {
		credential Credential
		caller     Caller
		pointer    *Credential
		list       []Credential
		boxed      any
	}
	return map[string]any{
		"itself": credential, "its pointer": &credential, "a caller": Caller{Credential: credential}, "a pointer to a caller": &Caller{Credential: credential},
		"a list": []Credential{credential}, "a map": map[string]Credential{"x": credential}, "an array of pointers": [1]*Credential{&credential},
		"another type": unexported{credential, Caller{Credential: credential}, &credential, []Credential{credential}, credential},
		"a pointer to another type": &unexported{
			credential, Caller{Credential: credential}, &credential, []Credential{credential}, credential,
		},
		"a download": &Download{caller: Caller{Credential: credential}},
	}
}

// leaks reports whether a text holds the secret, plainly or as one of fmt's verbs would write it.
func leaks(text string) bool {
	decimal := strings.Trim(fmt.Sprintf("%d", []byte(topSecret)), "[]")
	for _, form := range []string{topSecret, fmt.Sprintf("%x", topSecret), fmt.Sprintf("%X", topSecret), fmt.Sprintf("% x", topSecret), decimal} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

func TestNoVerbPrintsACredential(t *testing.T) {
	if !leaks(fmt.Sprintf("%+v", struct{ x http.Header }{http.Header{"A": {topSecret}}})) || !leaks(fmt.Sprintf("%x", []string{topSecret})) {
		t.Fatal("this test would see no leak")
	}
	for how, held := range holders(secretCredential()) {
		for verb := 'A'; verb <= 'z'; verb++ {
			for _, flags := range []string{"", "+", "#", "-20", " ", "0", "+#", "# ", "10.3"} {
				if text := fmt.Sprintf("%"+flags+string(verb), held); leaks(text) {
					t.Errorf("%%%s%c of %s prints %s", flags, verb, how, text)
				}
			}
		}
		// Formats that are wrong make fmt print what it got in a way of its own.
		for _, format := range []string{"no verb", "%", "%!", "%v %d", "%*d", "%[1]*d", "%[2]v", "%.*f", "%w"} {
			if text := fmt.Sprintf(format, held); leaks(text) {
				t.Errorf("%q of %s prints %s", format, how, text)
			}
			if text := fmt.Errorf(format, held).Error(); leaks(text) {
				t.Errorf("an error made with %q of %s prints %s", format, how, text)
			}
		}
		if text := fmt.Sprint(held) + fmt.Sprintln(held); leaks(text) {
			t.Errorf("%s is printed as %s", how, text)
		}
	}
}

func TestNoEncoderWritesACredential(t *testing.T) {
	for how, held := range holders(secretCredential()) {
		if encoded, err := json.Marshal(held); leaks(string(encoded)) || (err != nil && leaks(err.Error())) {
			t.Errorf("JSON of %s: %s, %v", how, encoded, err)
		}
		if encoded, _ := xml.Marshal(held); leaks(string(encoded)) {
			t.Errorf("XML of %s: %s", how, encoded)
		}
		var b bytes.Buffer
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "held", held)
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "held", held)
		logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&b), zapcore.DebugLevel))
		logger.Info("x", zap.Any("held", held), zap.Reflect("reflected", held))
		logger.Sugar().Infow("x", "held", held)
		logger.Sugar().Infof("%v %+v %p", held, held, held)
		if err := template.Must(template.New("x").Parse("{{.}} {{printf `%v` .}}\n")).Execute(&b, held); err != nil {
			t.Errorf("a template with %s: %v", how, err)
		}
		if leaks(b.String()) {
			t.Errorf("%s is logged as %s", how, b.String())
		}
	}
}

func TestACredentialSaysWhetherThereIsOne(t *testing.T) {
	for want, credential := range map[string]Credential{"[redacted credential]": secretCredential(), "[no credential]": {}} {
		text, err := credential.MarshalText()
		if err != nil || fmt.Sprint(credential) != want || string(text) != want || credential.LogValue().String() != want {
			t.Errorf("got %v, %s, %s, %v, want %s", credential, text, credential.LogValue(), err, want)
		}
	}
}

// TestAFingerprintPrintsNothing: it is of no use to anybody, so logs don't carry it either.
func TestAFingerprintPrintsNothing(t *testing.T) {
	key := GrantKey{Upstream: "u", Fingerprint: NewFingerprinter().Of(secretCredential())}
	hex := fmt.Sprintf("%x", key.Fingerprint[:])
	decimal := strings.Trim(fmt.Sprintf("%d", key.Fingerprint[:]), "[]")
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q"} {
		if text := strings.ToLower(fmt.Sprintf(format, key)); strings.Contains(text, hex) || strings.Contains(text, decimal) {
			t.Errorf("%s prints %s", format, text)
		}
	}
	encoded, err := json.Marshal(key)
	if err != nil || !strings.Contains(string(encoded), `"[fingerprint]"`) {
		t.Errorf("JSON: %s, %v", encoded, err)
	}
}
