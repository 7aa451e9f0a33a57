package upstream

import "strings"

// decodedText is a text with its escapes resolved, which knows where each of its bytes stands in the text itself.
type decodedText struct {
	bytes string
	// at holds where each byte begins in the text, and last where the text ends. nil means that nothing is escaped.
	at []int
}

// decode resolves what is percent-encoded, however many times, and JSON's escapes of single bytes (`\u0022`). What can't
// be decoded stays. A plus sign stays one, since it is a space in forms only.
func decode(text string) decodedText {
	if strings.IndexByte(text, '%') < 0 && strings.IndexByte(text, '\\') < 0 {
		return decodedText{bytes: text}
	}
	decoded := make([]byte, 0, len(text))
	at := make([]int, 0, len(text)+1)
	for i := 0; i < len(text); {
		c, length := unescape(text[i:])
		decoded, at = append(decoded, c), append(at, i)
		i += length
	}
	return decodedText{string(decoded), append(at, len(text))}
}

// place returns where a byte stands in the text itself.
func (d decodedText) place(i int) int {
	if d.at == nil {
		return i
	}
	return d.at[i]
}

// width returns how many bytes of the text itself a byte is written with: the deeper it is encoded, the more.
func (d decodedText) width(i int) int {
	if d.at == nil {
		return 1
	}
	return d.at[i+1] - d.at[i]
}

// unescapeAll is decode for callers that don't ask where what stands.
func unescapeAll(text string) string {
	if strings.IndexByte(text, '%') < 0 && strings.IndexByte(text, '\\') < 0 {
		return text
	}
	decoded := make([]byte, 0, len(text))
	for len(text) > 0 {
		c, length := unescape(text)
		decoded, text = append(decoded, c), text[length:]
	}
	return string(decoded)
}

// unescape returns the byte that a text begins with, and how many bytes it takes there. It may be percent-encoded many
// times (`%253D` is an equals sign too) or be written as JSON encoders may (`\u003d`).
func unescape(text string) (c byte, length int) {
	switch text[0] {
	case '%':
		at := 1
		for len(text) >= at+2 && text[at:at+2] == "25" {
			at += 2
		}
		if len(text) >= at+2 {
			if decoded, ok := hexByte(text[at : at+2]); ok {
				return decoded, at + 2
			}
		}
		return '%', at
	case '\\':
		const escaped = len(`\u003d`)
		if len(text) >= escaped && text[1:4] == "u00" {
			if decoded, ok := hexByte(text[4:escaped]); ok {
				return decoded, escaped
			}
		}
	}
	return text[0], 1
}

// hexByte reads two hexadecimal digits.
func hexByte(digits string) (decoded byte, ok bool) {
	high, low := hexDigit(digits[0]), hexDigit(digits[1])
	return high<<4 | low, high < 16 && low < 16
}

// hexDigit reads a hexadecimal digit; what is none is more than 15.
func hexDigit(c byte) byte {
	switch {
	case isDigit(c):
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}
