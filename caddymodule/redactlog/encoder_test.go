package redactlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// unseen is the secret of these tests. No log may show it.
const unseen = "glpat-unseen"

// redactedEncoder provisions the encoder from its JSON config.
func redactedEncoder(t testing.TB, config string) *Encoder {
	t.Helper()
	encoder := new(Encoder)
	if err := json.Unmarshal([]byte(config), encoder); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := encoder.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	return encoder
}

// redactedLog is a logger with the encoder, and what it has written.
func redactedLog(t testing.TB, config string) (*zap.Logger, *bytes.Buffer) {
	t.Helper()
	written := new(bytes.Buffer)
	return zap.New(zapcore.NewCore(redactedEncoder(t, config), zapcore.AddSync(written), zapcore.DebugLevel)), written
}

// fieldsOf decodes an entry and returns it without what zap itself adds.
func fieldsOf(t testing.TB, line string) string {
	t.Helper()
	var entry map[string]any
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&entry); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	delete(entry, "ts")
	delete(entry, "level")
	if entry["msg"] == "" {
		delete(entry, "msg")
	}
	encoded, err := json.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// person is a value that only reflection can show.
type person struct {
	Name   string         `json:"name"`
	Cookie []string       `json:"cookie"`
	URL    string         `json:"url"`
	More   map[string]any `json:"more,omitempty"`
	ID     uint64         `json:"id"`
}

func TestAnEntryShowsNoCredentialWhateverItsFieldIs(t *testing.T) {
	const path, shown = "/f?private_token=" + unseen + "&a=b", "/f?private_token=REDACTED\\u0026a=b"
	inner := zap.DictObject(zap.String("dpop", unseen), zap.String("uri", path), zap.Int("n", 1))
	for name, test := range map[string]struct {
		field zap.Field
		want  string
	}{
		"text by its name":        {zap.String("private_token", unseen), `{"private_token":"REDACTED"}`},
		"name in another case":    {zap.String("PRIVATE-Token", unseen), `{"PRIVATE-Token":"REDACTED"}`},
		"an admin's own":          {zap.String("x_team", unseen), `{"x_team":"REDACTED"}`},
		"longer name":             {zap.String("cookies", "shown"), `{"cookies":"shown"}`},
		"text by its content":     {zap.String("uri", path), `{"uri":"` + shown + `"}`},
		"bytes by their name":     {zap.ByteString("cookie", []byte(unseen)), `{"cookie":"REDACTED"}`},
		"bytes by their content":  {zap.ByteString("uri", []byte(path)), `{"uri":"` + shown + `"}`},
		"binary by its name":      {zap.Binary("cookie", []byte(unseen)), `{"cookie":"REDACTED"}`},
		"binary by its content":   {zap.Binary("body", []byte("token="+unseen)), `{"body":"dG9rZW49UkVEQUNURUQ="}`},
		"list by its name":        {zap.Strings("Set-Cookie", []string{unseen, unseen}), `{"Set-Cookie":["REDACTED"]}`},
		"list by its content":     {zap.Strings("uris", []string{path, "/g"}), `{"uris":["` + shown + `","/g"]}`},
		"byte lists":              {zap.ByteStrings("uris", [][]byte{[]byte(path)}), `{"uris":["` + shown + `"]}`},
		"stringer":                {zap.Stringer("url", &url.URL{RawQuery: "token=" + unseen}), `{"url":"?token=REDACTED"}`},
		"error by its name":       {zap.NamedError("authorization", errors.New(unseen)), `{"authorization":"REDACTED"}`},
		"error by its content":    {zap.Error(fmt.Errorf("asking %q: %w", path, errors.New("EOF"))), `{"error":"asking \"` + shown + `\": EOF"}`},
		"list of errors":          {zap.Errors("errors", []error{errors.New(path)}), `{"errors":[{"error":"` + shown + `"}]}`},
		"joined errors":           {zap.Error(group{errors.New(path), errors.New("x")}), `{"error":"` + shown + `; x","errorCauses":[{"error":"` + shown + `"},{"error":"x"}]}`},
		"object by its name":      {zap.Object("cookie", inner), `{"cookie":"REDACTED"}`},
		"in an object":            {zap.Object("request", inner), `{"request":{"dpop":"REDACTED","n":1,"uri":"` + shown + `"}}`},
		"inlined":                 {zap.Inline(inner), `{"dpop":"REDACTED","n":1,"uri":"` + shown + `"}`},
		"in objects of a list":    {zap.Objects("requests", []zapcore.ObjectMarshaler{inner}), `{"requests":[{"dpop":"REDACTED","n":1,"uri":"` + shown + `"}]}`},
		"in a list of lists":      {zap.Array("lists", lists{path, inner}), `{"lists":[["` + shown + `"],{"name":"` + shown + `"}]}`},
		"number by its name":      {zap.Int("sudo", 7), `{"sudo":"REDACTED"}`},
		"time by its name":        {zap.Duration("sudo", time.Second), `{"sudo":"REDACTED"}`},
		"reflected by its name":   {zap.Reflect("token", person{}), `{"token":"REDACTED"}`},
		"reflected list by name":  {zap.Reflect("token", []string{unseen}), `{"token":["REDACTED"]}`},
		"reflected map":           {zap.Any("headers", http.Header{"Job-Token": {unseen}, "Referer": {path}}), `{"headers":{"Job-Token":["REDACTED"],"Referer":["` + shown + `"]}}`},
		"reflected query":         {zap.Any("query", url.Values{"access_token": {unseen}}), `{"query":{"access_token":["REDACTED"]}}`},
		"reflected key":           {zap.Any("asked", map[string]int{"?token=" + unseen: 1}), `{"asked":{"?token=REDACTED":1}}`},
		"reflected JSON":          {zap.Any("body", json.RawMessage(`{"a":[{"Cookie":null,"n":1e400}]}`)), `{"body":{"a":[{"Cookie":"REDACTED","n":1e400}]}}`},
		"reflected nothing":       {zap.Reflect("x", nil), `{"x":null}`},
		"reflected without JSON":  {zap.Reflect("x", func() {}), `{"xError":"logging a func(): json: unsupported type: func()"}`},
		"hidden and without JSON": {zap.Reflect("token", func() {}), `{"token":"REDACTED"}`},
		"reflected struct": {
			zap.Reflect("caller", &person{Name: "a", Cookie: []string{unseen}, URL: path, ID: 1<<64 - 1, More: map[string]any{"DPoP": person{Name: unseen}}}),
			`{"caller":{"cookie":["REDACTED"],"id":18446744073709551615,"more":{"DPoP":"REDACTED"},"name":"a","url":"` + shown + `"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			logger, written := redactedLog(t, `{"headers": ["X-Team"]}`)
			logger.Info("", test.field)
			if got := fieldsOf(t, written.String()); got != test.want {
				t.Errorf("got\n%s, want\n%s", got, test.want)
			}
			if strings.Contains(written.String(), unseen) {
				t.Errorf("the log shows the secret: %s", written)
			}
		})
	}
}

// group is an error of many, as zap knows them.
type group []error

func (g group) Error() string   { return fmt.Sprintf("%v; %v", g[0], g[1]) }
func (g group) Errors() []error { return g }

// lists is a list of a list and an object, and of what only reflection shows.
type lists struct {
	text  string
	inner zapcore.ObjectMarshaler
}

// MarshalLogArray implements zapcore.ArrayMarshaler.
func (l lists) MarshalLogArray(to zapcore.ArrayEncoder) error {
	return errors.Join(
		to.AppendArray(zapcore.ArrayMarshalerFunc(func(to zapcore.ArrayEncoder) error { to.AppendString(l.text); return nil })),
		to.AppendReflected(map[string]string{"name": l.text}),
	)
}

// TestFieldsWithoutTextStayAsTheyAre walks through all kinds that zap has.
func TestFieldsWithoutTextStayAsTheyAre(t *testing.T) {
	fields := []zap.Field{
		zap.Bool("bool", true), zap.Complex128("complex128", 1+2i), zap.Complex64("complex64", 1+2i), zap.Duration("duration", time.Minute),
		zap.Float64("float64", 1.5), zap.Float32("float32", 1.5), zap.Int("int", -1), zap.Int64("int64", -1), zap.Int32("int32", -1),
		zap.Int16("int16", -1), zap.Int8("int8", -1), zap.Time("time", time.Unix(1, 5e8)), zap.Uint("uint", 1), zap.Uint64("uint64", 1),
		zap.Uint32("uint32", 1), zap.Uint16("uint16", 1), zap.Uint8("uint8", 1), zap.Uintptr("uintptr", 1), zap.Ints("ints", []int{1, 2}),
		zap.Durations("durations", []time.Duration{time.Second}), zap.Times("times", []time.Time{time.Unix(1, 0)}), zap.Bools("bools", []bool{true}),
		zap.Stack("stack"), zap.Skip(), zap.String("text", "as it is"), zap.Error(errors.New("as it is")), zap.Namespace("inside"), zap.Int("n", 1),
	}
	encoder := redactedEncoder(t, `{}`)
	redacted, err := encoder.EncodeEntry(zapcore.Entry{Message: "done", Stack: "main.go:1"}, fields)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := encoder.wrapped.EncodeEntry(zapcore.Entry{Message: "done", Stack: "main.go:1"}, fields)
	if err != nil {
		t.Fatal(err)
	}
	if redacted.String() != plain.String() {
		t.Errorf("got\n%s, want\n%s", redacted, plain)
	}
	for _, field := range fields[:18] {
		field.Key = "authorization"
		hidden, err := encoder.EncodeEntry(zapcore.Entry{}, []zap.Field{field})
		if err != nil || fieldsOf(t, hidden.String()) != `{"authorization":"REDACTED"}` {
			t.Errorf("type %d: %s, %v", field.Type, hidden, err)
		}
	}
}

func TestTheMessageAndTheStackShowNoCredential(t *testing.T) {
	for _, config := range []string{`{}`, `{"wrap":{"format":"console"}}`} {
		encoder := redactedEncoder(t, config)
		line, err := encoder.EncodeEntry(zapcore.Entry{Message: "GET /f?job_token=" + unseen, Stack: "panic: ?token=" + unseen + "\nmain.go:1"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if text := line.String(); strings.Contains(text, unseen) || !strings.Contains(text, "GET /f?job_token=REDACTED") || !strings.Contains(text, "panic: ?token=REDACTED") {
			t.Errorf("%s: %s", config, text)
		}
	}
}

// TestFieldsOfALoggerAreRedactedTooAndEntriesDoNotMix logs twice with each of two loggers of one encoder.
func TestFieldsOfALoggerAreRedactedTooAndEntriesDoNotMix(t *testing.T) {
	logger, written := redactedLog(t, `{}`)
	child := logger.With(zap.String("cookie", unseen), zap.String("uri", "?sudo="+unseen), zap.Namespace("inside"))
	hidden := logger.With(zap.Namespace("Authorization"), zap.String("kind", unseen))
	child.Info("", zap.Int("n", 1), zap.String("cookie", unseen))
	logger.Info("", zap.Int("n", 2))
	child.Info("", zap.Int("n", 3))
	hidden.Info("", zap.Strings("texts", []string{unseen}), zap.Object("more", zap.DictObject(zap.String("a", unseen))), zap.Reflect("r", unseen))
	logger.Info("", zap.Int("n", 4))
	want := []string{
		`{"cookie":"REDACTED","inside":{"cookie":"REDACTED","n":1},"uri":"?sudo=REDACTED"}`,
		`{"n":2}`,
		`{"cookie":"REDACTED","inside":{"n":3},"uri":"?sudo=REDACTED"}`,
		`{"Authorization":{"kind":"REDACTED","more":"REDACTED","r":"REDACTED","texts":["REDACTED"]}}`,
		`{"n":4}`,
	}
	lines := strings.Split(strings.TrimSpace(written.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		if got := fieldsOf(t, line); got != want[i] {
			t.Errorf("line %d is %s, want %s", i, got, want[i])
		}
	}
}

// TestARequestShowsNoCarrierEvenIfCaddyIsToldToLogCredentials sends each carrier in headers and query at once.
func TestARequestShowsNoCarrierEvenIfCaddyIsToldToLogCredentials(t *testing.T) {
	query := ""
	for _, parameter := range upstream.CarrierParameters {
		query += "&" + parameter + "=" + unseen
	}
	for _, config := range []string{`{}`, `{"wrap":{"format":"console"}}`, `{"wrap":{"format":"filter","fields":{"request>proto":{"filter":"delete"}}}}`} {
		request := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/f?select=x"+query, nil)
		for _, name := range append([]string{"Set-Cookie", "Proxy-Authorization"}, upstream.CarrierHeaders...) {
			request.Header.Set(name, unseen)
		}
		request.Header.Set("Referer", "https://h/?X-Amz-Signature="+unseen)
		request.Header["odd_JOB_name"] = []string{"shown"}
		request.Header["private_TOKEN"] = []string{unseen}
		logger, written := redactedLog(t, config)
		logger = logger.With(zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: request, ShouldLogCredentials: true}))
		logger.Info("handled request", zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: request, ShouldLogCredentials: true}))
		if text := written.String(); strings.Contains(text, unseen) || !strings.Contains(text, "shown") || !strings.Contains(text, "select=x") {
			t.Errorf("%s: %s", config, text)
		}
	}
}

// TestTheEncoderIsSafeForConcurrentUse has many callers log with one encoder, some with fields of their own.
func TestTheEncoderIsSafeForConcurrentUse(t *testing.T) {
	encoder := redactedEncoder(t, `{}`)
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			own := encoder.Clone()
			own.AddInt("caller", i)
			for n := range 100 {
				for _, used := range []zapcore.Encoder{encoder, own} {
					line, err := used.EncodeEntry(zapcore.Entry{}, []zap.Field{zap.Int("n", n), zap.String("cookie", unseen), zap.Any("of", map[string]int{"n": n})})
					want := fmt.Sprintf(`"n":%d,"cookie":"REDACTED","of":{"n":%d}}`, n, n)
					if err != nil || !strings.HasSuffix(line.String(), want+"\n") || strings.Contains(line.String(), "caller") != (used == own) {
						t.Errorf("%s, %v", line, err)
					}
					line.Free()
				}
			}
		})
	}
	callers.Wait()
}

func TestTheDefaultFormatIsConsoleOnATerminalAndJSONElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		config   string
		terminal bool
		opener   caddy.WriterOpener
		wantJSON bool
	}{
		"terminal":                      {`{}`, true, caddy.StderrWriter{}, false},
		"no terminal":                   {`{}`, false, caddy.StderrWriter{}, true},
		"elsewhere than a terminal":     {`{}`, true, caddy.DiscardWriter{}, true},
		"as it is set":                  {`{"wrap":{"format":"json"}}`, true, caddy.StderrWriter{}, true},
		"what is wrapped is asked too":  {`{"wrap":{"format":"gitlab_redacted"}}`, true, caddy.StderrWriter{}, false},
		"what is wrapped has no choice": {`{"wrap":{"format":"gitlab_redacted","wrap":{"format":"json"}}}`, true, caddy.StderrWriter{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := isTerminal
			t.Cleanup(func() { isTerminal = before })
			isTerminal = func() bool { return test.terminal }
			encoder := redactedEncoder(t, test.config)
			if err := encoder.ConfigureDefaultFormat(test.opener); err != nil {
				t.Fatal(err)
			}
			line, err := encoder.EncodeEntry(zapcore.Entry{Message: "m"}, []zap.Field{zap.String("cookie", unseen)})
			if err != nil || json.Valid(line.Bytes()) != test.wantJSON || strings.Contains(line.String(), unseen) {
				t.Errorf("%s, %v", line, err)
			}
		})
	}
}

func TestTheEncoderRefusesWhatItCannotUse(t *testing.T) {
	t.Setenv("OWN_HEADER", "X-Own")
	for config, refused := range map[string]bool{
		`{"headers":["{env.OWN_HEADER}"]}`:   false,
		`{"headers":["{env.NOT_SET_EVER}"]}`: true,
		`{"headers":["X Y"]}`:                true,
		`{"headers":[""]}`:                   true,
		`{"wrap":{"format":"jason"}}`:        true,
	} {
		encoder := new(Encoder)
		if err := json.Unmarshal([]byte(config), encoder); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		err := encoder.Provision(ctx)
		cancel()
		if (err != nil) != refused {
			t.Errorf("%s: %v", config, err)
		}
		if err == nil && !encoder.hidden.Hides("x_own") {
			t.Errorf("%s: the placeholder is not resolved", config)
		}
	}
}
