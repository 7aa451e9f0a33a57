package upstream

import "strings"

// hideParameters finds the values of query parameters that are secrets, in a text of any kind.
//
// A parameter may be spelled in every way that isCarrierParameter knows, and besides in any case, with hyphens for
// underscores, inside another parameter's encoded value, and as JSON escapes `&` and `=`. A hidden value reaches to the
// next `&` or white space, since whether a semicolon ends it is for Rack to say; only quotes, brackets and punctuation
// right before that space, or the text's end, stay, because they are the text's.
func (s *spans) hideParameters(text string, names secretNames) {
	name := 0 // where a parameter's name may begin
	for at := 0; at < len(text); {
		width := equalsSign(text[at:])
		if width == 0 {
			if endsParameter(text[at]) {
				name = at + 1
			}
			at++
			continue
		}
		kind := kindOfParameter(text[name:at], names)
		at += width
		if kind != harmlessName {
			length := valueLength(text[at:])
			if kind != codeName || !isStatus(text[at:at+length]) {
				s.hide(at, at+length)
			}
			at += length
		}
		name = at
	}
}

// endsParameter reports whether a byte ends a parameter's name and value, in a query or because no URL goes on past it.
func endsParameter(c byte) bool { return c == '&' || isSpace(c) }

// isSpace reports whether a byte is white space, or another control character, which is treated so.
func isSpace(c byte) bool { return c <= ' ' || c == 0x7f }

// equalsSign returns the length of the equals sign that a text begins with, escaped or not; 0 if it begins with none.
func equalsSign(text string) int {
	if c, length := unescape(text); c == '=' {
		return length
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
	return len(strings.TrimRight(text[:end], trailing))
}

// trailing is what stands behind a value without being a part of it.
const trailing = "\"'`)]}>,.:;\\"

// kindOfParameter returns what stands before an equals sign, if that could be read as the name of a secret. There may be
// more before the name: the rest of a URL, and after a semicolon or in an encoded value the parameter before it.
func kindOfParameter(before string, names secretNames) nameKind {
	if isCarrierParameter(before[strings.LastIndexAny(before, "?;")+1:]) {
		return secretName
	}
	decoded := unescapeAll(before)
	for end := len(decoded); end > 0; {
		begin := end
		for begin > 0 && isNameByte(decoded[begin-1]) {
			begin--
		}
		// A name is followed by the equals sign or by brackets, which Rack reads as a list or a hash.
		if end == len(decoded) || decoded[end] == '[' || decoded[end] == ']' {
			if kind := names.kindInText(decoded[begin:end]); kind != harmlessName {
				return kind
			}
		}
		end = min(begin, end-1)
	}
	return harmlessName
}
