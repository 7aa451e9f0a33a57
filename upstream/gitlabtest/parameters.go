package gitlabtest

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// parameters are what Rack makes of a query string and a form body: names and values decoded, the last of a name wins.
// Nested ones (a[b]=c, a[]=c) are known by their whole name, and so are none of those that GitLab looks for.
type parameters map[string]string

// parse reads a query string as Rack 2 does: ';' separates as '&' does, blanks after either are skipped, and a
// name without '=' has no value. It returns false where Rack raises an error.
func (p parameters) parse(query string) bool {
	for part := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(strings.TrimLeft(part, " "), "=")
		name, nameFits := unescape(name)
		value, valueFits := unescape(value)
		if !nameFits || !valueFits {
			return false
		}
		p[name] = value
	}
	return true
}

// unescape decodes a form value; false for a broken escape, bytes that aren't UTF-8, and NUL.
func unescape(text string) (string, bool) {
	decoded, err := url.QueryUnescape(text)
	return decoded, err == nil && wellFormed(decoded)
}

// wellFormed is what lib/gitlab/middleware/handle_malformed_strings.rb asks of every string.
func wellFormed(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsRune(text, 0)
}

// maxForm bounds the form bodies that are looked into.
const maxForm = 1 << 20

// parseForm adds the fields of a form that comes with a GET, which Rack reads like any other, or with a POST, whose body is
// a form if it doesn't say what it is. An upload is no form: Workhorse takes its body out before Rails sees it.
func (p parameters) parseForm(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		return true
	}
	said := r.Header.Get("Content-Type")
	if said == "" && r.Method == http.MethodPost {
		said = "application/x-www-form-urlencoded"
	}
	contentType, options, err := mime.ParseMediaType(said)
	if err != nil || (contentType != "application/x-www-form-urlencoded" && contentType != "multipart/form-data") {
		return true
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxForm))
	if err != nil {
		return false
	}
	if contentType == "application/x-www-form-urlencoded" {
		return p.parse(string(body))
	}
	return p.parseMultipart(body, options["boundary"])
}

func (p parameters) parseMultipart(body []byte, boundary string) bool {
	form := http.Request{
		Method: http.MethodPost, Body: io.NopCloser(bytes.NewReader(body)),
		Header: http.Header{"Content-Type": {`multipart/form-data; boundary="` + boundary + `"`}},
	}
	if form.ParseMultipartForm(maxForm) != nil { //nolint:gosec // body is bounded already
		return false
	}
	defer func() { _ = form.MultipartForm.RemoveAll() }()
	for name, values := range form.MultipartForm.Value {
		value := values[len(values)-1]
		if !wellFormed(name) || !wellFormed(value) {
			return false
		}
		p[name] = value
	}
	return true
}
