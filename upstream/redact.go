package upstream

import (
	"encoding/hex"
	"slices"
	"strings"
)

// Redacted stands in texts for what nobody may read there.
const Redacted = "REDACTED"

// storageSecrets are the query parameters that make a URL of object storage a capability, or are a part of that: those of
// AWS, Google, Alibaba and Azure. Signed URLs differ in more parameters, but nobody can read a file by those.
var storageSecrets = []string{
	"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "AWSAccessKeyId", "Signature", "Policy",
	"X-Goog-Signature", "X-Goog-Credential", "GoogleAccessId",
	"X-Oss-Signature", "X-Oss-Credential", "X-Oss-Security-Token", "OSSAccessKeyId", "Security-Token",
	"sig",
}

// secretParameters are all parameters whose values are hidden, as foldName writes them.
var secretParameters = func() []string {
	names := slices.Concat(CarrierParameters, storageSecrets)
	for i, name := range names {
		names[i] = foldName(name)
	}
	return names
}()

// RedactQueries returns a text of any kind (a URL, a query, a message with URLs in it) in which each value of a query
// parameter that carries a credential, or the signature of object storage, reads REDACTED. The parameter's name stays. A
// text without such parameters comes back unchanged.
//
// It hides rather too much than too little: a parameter may be spelled in every way that isCarrierParameter knows, and
// besides in any case, with hyphens for underscores, inside another parameter's encoded value, and as JSON escapes `&`
// and `=`. A hidden value reaches to the next `&` or white space, since whether a semicolon ends it is for Rack to say;
// only quotes, brackets and punctuation right before that space, or the text's end, stay, because they are the text's.
func RedactQueries(text string) string {
	if !strings.ContainsAny(text, `=%\`) {
		return text // nothing in it can be an equals sign
	}
	var redacted strings.Builder
	written, name := 0, 0 // how far the text was taken over, and where a parameter's name may begin
	for at := 0; at < len(text); {
		width := equalsSign(text[at:])
		if width == 0 {
			if endsParameter(text[at]) {
				name = at + 1
			}
			at++
			continue
		}
		secret := namesSecret(text[name:at])
		at += width
		if secret {
			if length := valueLength(text[at:]); length > 0 {
				redacted.WriteString(text[written:at])
				redacted.WriteString(Redacted)
				at += length
				written = at
			}
		}
		name = at
	}
	if written == 0 {
		return text
	}
	redacted.WriteString(text[written:])
	return redacted.String()
}

// endsParameter reports whether a byte ends a parameter's name and value, in a query or because no URL goes on past it.
func endsParameter(c byte) bool { return c == '&' || c <= ' ' || c == 0x7f }

// equalsSign returns the length of the equals sign that a text begins with, 0 if it begins with none. It may be
// percent-encoded any number of times, or be written as some JSON encoders do.
func equalsSign(text string) int {
	switch text[0] {
	case '=':
		return 1
	case '%':
		if c, length := unescape(text); c == '=' {
			return length
		}
	case '\\':
		const escaped = `\u003d`
		if len(text) >= len(escaped) && strings.EqualFold(text[:len(escaped)], escaped) {
			return len(escaped)
		}
	}
	return 0
}

// valueLength returns the length of the parameter value that a text begins with.
func valueLength(text string) int {
	end := 0
	for end < len(text) && !endsParameter(text[end]) {
		end++
	}
	if end < len(text) && text[end] == '&' {
		return end
	}
	return len(strings.TrimRight(text[:end], "\"'`)]}>,.:;\\"))
}

// namesSecret reports whether what stands before an equals sign could be read as a secret parameter's name. There may be
// more before the name: the rest of a URL, and after a semicolon or in an encoded value the parameter before it.
func namesSecret(before string) bool {
	if isCarrierParameter(before[strings.LastIndexAny(before, "?;")+1:]) {
		return true
	}
	folded := foldName(before)
	return slices.ContainsFunc(secretParameters, func(parameter string) bool { return endsWithName(folded, parameter) })
}

// endsWithName reports whether a folded text ends with a parameter's name, with brackets after it or not.
func endsWithName(text, parameter string) bool {
	for from := 0; ; {
		at := strings.Index(text[from:], parameter)
		if at < 0 {
			return false
		}
		begin := from + at
		end := begin + len(parameter)
		if (begin == 0 || !isNameByte(text[begin-1])) && (end == len(text) || text[end] == '[' || text[end] == ']') {
			return true
		}
		from = end
	}
}

// isNameByte reports whether a byte before a parameter's name makes it another, longer name.
func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z'
}

// foldName makes all spellings of a name alike: decoded, in lower case, with underscores. An ampersand that JSON has
// escaped becomes one again.
func foldName(name string) string {
	name = strings.ToLower(unescapeAll(name))
	name = strings.ReplaceAll(name, `\u0026`, "&")
	return strings.ReplaceAll(name, "-", "_")
}

// unescapeAll decodes what is percent-encoded, however many times. What can't be decoded stays.
func unescapeAll(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	decoded := make([]byte, 0, len(text))
	for len(text) > 0 {
		c, length := unescape(text)
		decoded = append(decoded, c)
		text = text[length:]
	}
	return string(decoded)
}

// unescape returns the character that a text begins with, and how many bytes it takes there. It may be percent-encoded
// many times: `%253D` is an equals sign too.
func unescape(text string) (c byte, length int) {
	if text[0] != '%' {
		return text[0], 1
	}
	at := 1
	for strings.HasPrefix(text[at:], "25") {
		at += 2
	}
	if len(text) >= at+2 {
		if decoded, err := hex.DecodeString(text[at : at+2]); err == nil {
			return decoded[0], at + 2
		}
	}
	return '%', at
}
