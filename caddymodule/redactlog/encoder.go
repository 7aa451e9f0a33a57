package redactlog

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/term"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

func init() {
	caddy.RegisterModule(new(Encoder))
}

// encoders is the namespace of Caddy's log encoders.
const encoders = "caddy.logging.encoders"

// Encoder hides the secrets in each log entry, wherever they stand, and leaves the rest to another encoder:
//
//   - A field that is named like a secret reads REDACTED, at any depth; a list there has one element that reads so. Case
//     doesn't matter, nor do hyphens and underscores. The names are those of the headers and query parameters by which
//     GitLab, and object storage, are told who asks (upstream.CarrierHeaders, upstream.SecretHeaders,
//     upstream.CarrierParameters, upstream.SecretParameters), and those of Headers.
//   - In all other texts, the message and the fields' names included, the values of query parameters, of members of JSON
//     and of `name: value` with such a name read REDACTED, and so do user and password of URLs, GitLab's tokens
//     (`glpat-…`) and JSON web tokens. See upstream.Redactor.
//
// Words that logs need stay: a number under the name `code` is a status, and behind common words in prose, such as
// `unexpected token: EOF`, only what looks like a secret is hidden.
//
// Use it for each log, the default one too, since errors of Caddy's are logged with the request that met them.
type Encoder struct {
	// The encoder that writes what is left. Default: json, or console if the log goes to a terminal.
	WrappedRaw json.RawMessage `json:"wrap,omitempty" caddy:"namespace=caddy.logging.encoders inline_key=format"`

	// Further headers to hide, such as those of a gitlab_packages handler's identity_headers; as names of fields, parameters and members
	// of JSON they are hidden too. Default: none.
	Headers []string `json:"headers,omitempty"`

	redactor
	wrappedIsDefault bool
	context          caddy.Context
}

// CaddyModule returns the Caddy module information.
func (*Encoder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  encoders + ".gitlab_redacted",
		New: func() caddy.Module { return new(Encoder) },
	}
}

// Provision loads the wrapped encoder. A header's name that is none is an error, and so is a placeholder that stands for
// nothing.
func (e *Encoder) Provision(ctx caddy.Context) error {
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
	hidden := upstream.NewRedactor(e.Headers...)
	if e.WrappedRaw == nil {
		e.wrappedIsDefault = true
		encoder := new(logging.JSONEncoder)
		e.redactor = newRedactor(encoder, hidden)
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
	e.redactor = newRedactor(encoder, hidden)
	return nil
}

// ConfigureDefaultFormat makes console the default if the log goes to a terminal, as Caddy's own encoders do.
func (e *Encoder) ConfigureDefaultFormat(opener caddy.WriterOpener) error {
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
	e.redactor = newRedactor(encoder, e.hidden)
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
func (e *Encoder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the encoder's name
	if d.NextArg() {
		return d.Errf("unexpected %q after gitlab_redacted; settings go into a block", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch option := d.Val(); {
		case option == "wrap" && e.WrappedRaw == nil:
			err = e.parseWrap(d)
		case option == "headers" && e.Headers == nil:
			err = e.parseHeaders(d)
		case option == "wrap" || option == "headers":
			err = d.Errf("%s is set twice", option)
		default:
			err = d.Errf("gitlab_redacted has no option %q", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *Encoder) parseWrap(d *caddyfile.Dispenser) error {
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

func (e *Encoder) parseHeaders(d *caddyfile.Dispenser) error {
	if e.Headers = d.RemainingArgs(); len(e.Headers) == 0 {
		return d.Err("headers needs at least one value")
	}
	if strings.Contains(strings.Join(e.Headers, ""), "{") {
		return nil // checked when placeholders are resolved
	}
	if err := checkHeaderNames(e.Headers); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// checkHeaderNames refuses names that no header can have.
func checkHeaderNames(names []string) error {
	for _, name := range names {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("%q is no header name", name)
		}
	}
	return nil
}

// redactor is the encoder without its settings. What is added to it goes to the wrapped encoder redacted; it is as safe
// for concurrent use as that is.
type redactor struct {
	redactedObject
	wrapped zapcore.Encoder
}

func newRedactor(wrapped zapcore.Encoder, hidden *upstream.Redactor) redactor {
	return redactor{redactedObject{to: wrapped, hidden: hidden}, wrapped}
}

// Clone returns an encoder that holds the same fields, and to which others can be added.
func (r *redactor) Clone() zapcore.Encoder {
	clone := newRedactor(r.wrapped.Clone(), r.hidden)
	clone.all = r.all
	return &clone
}

// EncodeEntry encodes an entry with the encoder's fields and its own.
func (r *redactor) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	// The wrapped encoder's EncodeEntry would add the fields as they are, so they are added before, to a clone: added to
	// the encoder itself they would stand in the next entry too.
	clone := newRedactor(r.wrapped.Clone(), r.hidden)
	clone.all = r.all
	for _, field := range fields {
		field.AddTo(&clone.redactedObject)
	}
	entry.LoggerName = r.hidden.Redact(entry.LoggerName)
	entry.Message = r.hidden.Redact(entry.Message)
	entry.Stack = r.hidden.Redact(entry.Stack)
	return clone.wrapped.EncodeEntry(entry, nil)
}

// redactDecoded hides what is to be hidden in a value as encoding/json decodes it, and returns it. It changes lists in
// place.
func redactDecoded(value any, hidden *upstream.Redactor) any {
	switch value := value.(type) {
	case string:
		return hidden.Redact(value)
	case []any:
		for i := range value {
			value[i] = redactDecoded(value[i], hidden)
		}
		return value
	case map[string]any:
		redacted := make(map[string]any, len(value))
		for name, field := range value {
			_, isNumber := field.(json.Number)
			if hidden.HidesNumber(name) || (!isNumber && hidden.Hides(name)) {
				redacted[name] = hiddenInPlaceOf(field)
			} else {
				redacted[hidden.Redact(name)] = redactDecoded(field, hidden)
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
	_ zapcore.Encoder                  = (*Encoder)(nil)
	_ caddy.Provisioner                = (*Encoder)(nil)
	_ caddy.ConfiguresFormatterDefault = (*Encoder)(nil)
	_ caddyfile.Unmarshaler            = (*Encoder)(nil)
)
