package page

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible is a name as a page shows it: characters that can't be seen, or turn what stands beside them around, are shown by their
// codes. The name itself, as forms and links send it back, stays as it is.
func visible(name string) string {
	if !strings.ContainsFunc(name, isHidden) && utf8.ValidString(name) {
		return name
	}
	var shown strings.Builder
	for i, char := range name {
		switch {
		case char == utf8.RuneError && !strings.HasPrefix(name[i:], "\uFFFD"):
			fmt.Fprintf(&shown, "⟨%02X⟩", name[i])
		case isHidden(char):
			fmt.Fprintf(&shown, "⟨U+%04X⟩", char)
		default:
			shown.WriteRune(char)
		}
	}
	return shown.String()
}

// isHidden reports whether a character is a control, turns text around, or takes no room of its own. The joiner of emoji is left.
func isHidden(char rune) bool {
	const emojiJoiner = '\u200D'
	return char != ' ' && char != emojiJoiner && (unicode.In(char, unicode.Cc, unicode.Cf, unicode.Cs, unicode.Co, unicode.Zl, unicode.Zp, unicode.Zs) || char == '\u115F' || char == '\u3164')
}

// sentenceOf makes a sentence of an error's text.
func sentenceOf(text string) string {
	text = strings.TrimSpace(visible(text))
	if text == "" {
		return "Something failed, and nothing says what."
	}
	first, size := utf8.DecodeRuneInString(text)
	text = string(unicode.ToUpper(first)) + text[size:]
	if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "?") && !strings.HasSuffix(text, "!") {
		text += "."
	}
	return text
}

// shortUpstream is a GitLab's name for people: its host, and its path if it has one.
func shortUpstream(upstream string) string {
	parsed, err := url.Parse(upstream)
	if err != nil || parsed.Host == "" {
		return visible(upstream)
	}
	return visible(parsed.Host + strings.TrimRight(parsed.Path, "/"))
}

// enumerated joins words as a sentence does: a, b and c.
func enumerated(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// selection names what is meant by a project and further names: project 24 / package / version / file.
func selection(names ...string) string {
	var shown []string
	for _, name := range names {
		if name != "" {
			shown = append(shown, visible(name))
		}
	}
	return strings.Join(shown, " / ")
}
