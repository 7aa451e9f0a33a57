package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

func init() {
	caddy.RegisterModule(new(RedactedEncoder))
}

// encoders is the namespace of Caddy's log encoders.
const encoders = "caddy.logging.encoders"

// credentialFields are the names of the log fields that are hidden whatever is configured: all by which a request tells
// GitLab who asks, and the other headers that Caddy itself hides.
var credentialFields = slices.Concat(upstream.CarrierHeaders, upstream.CarrierParameters, []string{"Set-Cookie", "Proxy-Authorization"})

// RedactedEncoder hides in each log entry, wherever they stand, all tokens that GitLab takes and all signatures of object
// storage, and leaves the rest to another encoder:
//
//   - A field named like a header or a query parameter that carries a token reads REDACTED, at any depth; a list there
//     has one element that reads so. Case doesn't matter, nor do hyphens and underscores. The names are Authorization,
//     Private-Token, Job-Token, Deploy-Token, Cookie, Set-Cookie, Sudo, DPoP, Proxy-Authorization, access_token,
//     bearer_token, token and those of Headers.
//   - In all other texts, the message included, the values of query parameters that carry a token or sign a URL of object
//     storage read REDACTED, whatever the parameter's spelling.
//
// Use it for each log, the default one too, since errors of Caddy's are logged with the request that met them.
type RedactedEncoder struct {
	// The encoder that writes what is left. Default: json, or console if the log goes to a terminal.
	WrappedRaw json.RawMessage `json:"wrap,omitempty" caddy:"namespace=caddy.logging.encoders inline_key=format"`

	// Further headers to hide, such as those of the handler's identity_headers. Default: none.
	Headers []string `json:"headers,omitempty"`

	redactor
	wrappedIsDefault bool
	context          caddy.Context
}

// CaddyModule returns the Caddy module information.
func (*RedactedEncoder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  encoders + ".gitlab_redacted",
		New: func() caddy.Module { return new(RedactedEncoder) },
	}
}

// Provision loads the wrapped encoder. A header's name that is none is an error, and so is a placeholder that stands for
// nothing.
func (e *RedactedEncoder) Provision(ctx caddy.Context) error {
	e.context = ctx
	replacer := caddy.NewReplacer()
	for i, header := range e.Headers {
		name, err := replacer.ReplaceOrErr(header, true, true)
		if err != nil {
			return fmt.Errorf("resolving placeholders: %w", err)
		}
		e.Headers[i] = name
	}
	if err := checkHeaderNames(e.Headers); err != nil {
		return err
	}
	names := newHiddenNames(credentialFields, e.Headers)
	if e.WrappedRaw == nil {
		e.wrappedIsDefault = true
		encoder := new(logging.JSONEncoder)
		e.redactor = newRedactor(encoder, names)
		return encoder.Provision(ctx)
	}
	module, err := ctx.LoadModule(e, "WrappedRaw")
	if err != nil {
		return fmt.Errorf("loading the wrapped log encoder: %w", err)
	}
	encoder, ok := module.(zapcore.Encoder)
	if !ok {
		return fmt.Errorf("wrap: %T is no log encoder", module)
	}
	e.redactor = newRedactor(encoder, names)
	return nil
}

// ConfigureDefaultFormat makes console the default if the log goes to a terminal, as Caddy's own encoders do.
func (e *RedactedEncoder) ConfigureDefaultFormat(opener caddy.WriterOpener) error {
	if !e.wrappedIsDefault {
		if wrapped, ok := e.wrapped.(caddy.ConfiguresFormatterDefault); ok {
			return wrapped.ConfigureDefaultFormat(opener)
		}
		return nil
	}
	if !caddy.IsWriterStandardStream(opener) || !isTerminal() {
		return nil
	}
	encoder := new(logging.ConsoleEncoder)
	e.redactor = newRedactor(encoder, e.names)
	return encoder.Provision(e.context)
}

// isTerminal reports whether somebody reads the standard error, by which Caddy judges both streams. A variable, for tests.
var isTerminal = func() bool { return term.IsTerminal(int(os.Stderr.Fd())) }

// UnmarshalCaddyfile reads the encoder:
//
//	gitlab_redacted {
//		wrap    <encoder> ...
//		headers <name>...
//	}
func (e *RedactedEncoder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the encoder's name
	if d.NextArg() {
		return d.Errf("unexpected %q after gitlab_redacted; settings go into a block", d.Val())
	}
	return parseBlock(d, "gitlab_redacted", map[string]func(*caddyfile.Dispenser) error{
		"wrap":    e.parseWrap,
		"headers": e.parseHeaders,
	})
}

func (e *RedactedEncoder) parseWrap(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("wrap needs an encoder, such as json or console")
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, encoders+"."+name)
	if err != nil {
		return err
	}
	encoder, ok := module.(zapcore.Encoder)
	if !ok {
		return d.Errf("wrap: %s is no log encoder", name)
	}
	e.WrappedRaw = caddyconfig.JSONModuleObject(encoder, "format", name, nil)
	return nil
}

func (e *RedactedEncoder) parseHeaders(d *caddyfile.Dispenser) error {
	if err := listOption(&e.Headers)(d); err != nil {
		return err
	}
	if strings.Contains(strings.Join(e.Headers, ""), "{") {
		return nil // checked when placeholders are resolved
	}
	if err := checkHeaderNames(e.Headers); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// redactor is the encoder without its settings. What is added to it goes to the wrapped encoder redacted; it is as safe
// for concurrent use as that is.
type redactor struct {
	redactedObject
	wrapped zapcore.Encoder
}

func newRedactor(wrapped zapcore.Encoder, names hiddenNames) redactor {
	return redactor{redactedObject{to: wrapped, names: names}, wrapped}
}

// Clone returns an encoder that holds the same fields, and to which others can be added.
func (r *redactor) Clone() zapcore.Encoder {
	clone := newRedactor(r.wrapped.Clone(), r.names)
	clone.all = r.all
	return &clone
}

// EncodeEntry encodes an entry with the encoder's fields and its own.
func (r *redactor) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	// The wrapped encoder's EncodeEntry would add the fields as they are, so they are added before, to a clone: added to
	// the encoder itself they would stand in the next entry too.
	clone := newRedactor(r.wrapped.Clone(), r.names)
	clone.all = r.all
	for _, field := range fields {
		field.AddTo(&clone.redactedObject)
	}
	entry.Message = upstream.RedactQueries(entry.Message)
	entry.Stack = upstream.RedactQueries(entry.Stack)
	return clone.wrapped.EncodeEntry(entry, nil)
}

// hiddenNames are the names of fields whose values are hidden, as fold writes them.
type hiddenNames struct {
	folded  map[string]bool
	longest int // in bytes
}

func newHiddenNames(lists ...[]string) hiddenNames {
	names := hiddenNames{folded: map[string]bool{}}
	for _, name := range slices.Concat(lists...) {
		folded := foldFieldName(make([]byte, len(name)), name)
		names.folded[string(folded)] = true
		names.longest = max(names.longest, len(folded))
	}
	return names
}

// has reports whether the field of that name is to be hidden.
func (n hiddenNames) has(name string) bool {
	var room [64]byte // enough for all names but odd ones, without an allocation for each field of a log
	switch {
	case len(name) > n.longest:
		return false
	case len(name) > len(room):
		return n.folded[string(foldFieldName(make([]byte, len(name)), name))]
	}
	return n.folded[string(foldFieldName(room[:], name))]
}

// foldFieldName writes a name into room in lower case and with hyphens.
func foldFieldName(room []byte, name string) []byte {
	for i := range len(name) {
		switch c := name[i]; {
		case c == '_':
			room[i] = '-'
		case 'A' <= c && c <= 'Z':
			room[i] = c + 'a' - 'A'
		default:
			room[i] = c
		}
	}
	return room[:len(name)]
}

// redact hides what is to be hidden in a value as encoding/json decodes it, and returns it. It changes lists in place.
func (n hiddenNames) redact(value any) any {
	switch value := value.(type) {
	case string:
		return upstream.RedactQueries(value)
	case []any:
		for i := range value {
			value[i] = n.redact(value[i])
		}
		return value
	case map[string]any:
		redacted := make(map[string]any, len(value))
		for name, field := range value {
			if n.has(name) {
				redacted[name] = hiddenInPlaceOf(field)
			} else {
				redacted[upstream.RedactQueries(name)] = n.redact(field)
			}
		}
		return redacted
	}
	return value
}

// hiddenInPlaceOf is what a decoded value is replaced by. A list stays one, so that programs that read logs don't meet
// another type.
func hiddenInPlaceOf(value any) any {
	if _, isList := value.([]any); isList {
		return []any{upstream.Redacted}
	}
	return upstream.Redacted
}

// Interface guards.
var (
	_ zapcore.Encoder                  = (*RedactedEncoder)(nil)
	_ caddy.Provisioner                = (*RedactedEncoder)(nil)
	_ caddy.ConfiguresFormatterDefault = (*RedactedEncoder)(nil)
	_ caddyfile.Unmarshaler            = (*RedactedEncoder)(nil)
)
