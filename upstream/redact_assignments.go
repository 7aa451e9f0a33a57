package upstream

import "strings"

// hideAssignments finds what is assigned to the name of a secret by a colon or an equals sign: members of JSON, whatever
// it is nested in, and how other languages print such (`"private_token" => "x"`), `PRIVATE-TOKEN: x` in any text, lists
// of headers as Go prints them (`map[Private-Token:[x]]`).
func (s *spans) hideAssignments(text decodedText, names secretNames) {
	hidden, inside := 0, 0 // how far values are hidden, and how many assignments stood in there
	for i := 0; i < len(text.bytes); i++ {
		if c := text.bytes[i]; c != ':' && c != '=' {
			continue
		}
		a := assignmentAt(text, i, names)
		if a.kind <= parameterOnly {
			continue
		}
		if inside++; i >= hidden {
			inside = 0
		}
		if inside <= mostNested {
			hidden = max(hidden, s.hideAssigned(a))
		}
	}
}

// mostNested bounds how many assignments are looked at inside the value of another one, which may reach beyond it
// (`password: Cookie: a b`). Without a bound a long header of nothing else would take its length squared.
const mostNested = 16

// assignment is a name with what is assigned to it.
type assignment struct {
	text      decodedText
	separator int
	kind      nameKind
	// name is where the name begins.
	name int
	// quoted says that the name stands in quotes of its own, as in JSON.
	quoted bool
	// spaced says that there is white space before the separator.
	spaced bool
	// apart says that the value is a word of its own, and no query's parameter: `password= x`.
	apart bool
}

// assignmentAt reads the name before a separator.
func assignmentAt(text decodedText, separator int, names secretNames) assignment {
	a := assignment{text: text, separator: separator}
	b, end := text.bytes, separator
	for end > 0 && isBlank(b[end-1]) {
		end, a.spaced = end-1, true
	}
	if end > 0 && isQuote(b[end-1]) {
		end, a.quoted = end-1, true
		end = len(strings.TrimRight(b[:end], `\`))
	}
	end = len(strings.TrimRight(b[:end], "[]"))
	a.name = end
	for a.name > 0 && isNameByte(b[a.name-1]) {
		a.name--
	}
	a.kind = names.kindInText(b[a.name:end])
	a.apart = a.kind > parameterOnly && a.isApart()
	return a
}

// isApart is the assignment's apart. In `GET /f?password= HTTP/1.1` the parameter is empty, and no value follows.
func (a assignment) isApart() bool {
	b, blank := a.text.bytes, a.separator+1
	if blank < len(b) && b[blank] == '>' {
		blank++ // `=>`
	}
	begin := blank
	for begin < len(b) && isBlank(b[begin]) && a.outside(begin) {
		begin++
	}
	if begin == blank || begin == len(b) || isSpace(b[begin]) {
		return false
	}
	for i := a.name - 1; i >= 0 && !isSpace(b[i]); i-- {
		if b[i] == '?' || b[i] == '&' {
			return false
		}
	}
	return true
}

// isBlank reports whether a byte is white space within a line.
func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// isQuote reports whether a byte begins and ends texts in JSON and other languages.
func isQuote(c byte) bool { return c == '"' || c == '\'' || c == '`' }

// plain reports whether the assignment looks like a query's parameter, which hideParameters knows better.
func (a assignment) plain() bool {
	return a.text.bytes[a.separator] == '=' && !a.spaced && !a.quoted && !a.apart
}

// hideAssigned hides the value of an assignment and returns where that ends; 0 if it stays.
func (s *spans) hideAssigned(a assignment) (hidden int) {
	b, begin := a.text.bytes, a.separator+1
	if begin < len(b) && ((b[begin] == '>' && b[begin-1] == '=') || (b[begin] == '=' && b[begin-1] == ':')) {
		begin++ // `=>` or `:=`
	}
	if !a.plain() {
		for begin < len(b) && isSpace(b[begin]) && (a.kind >= secretName || a.quoted || isBlank(b[begin])) {
			begin++
		}
	}
	if begin == len(b) {
		return 0
	}
	var end int
	switch quote, quoted := a.text.quoteAt(begin); {
	case quoted:
		begin, end = a.text.quotedBy(begin, quote)
	case (b[begin] == '[' || b[begin] == '{') && !a.plain() && (a.quoted || a.kind >= secretName):
		begin++
		end = a.text.closingBracket(begin)
	case a.plain() && (a.kind != wholeLine || isBlank(b[begin])):
		return 0 // hideParameters has found it, or it is empty
	case a.kind < secretName && !a.quoted && !looksSecret(firstWord(b[begin:])):
		return 0
	default:
		end = a.unquotedEnd(begin)
	}
	if !a.hides(b[begin:end]) {
		return 0
	}
	s.hide(a.text.place(begin), a.text.place(end))
	return end
}

// firstWord returns what a text begins with, as much as it takes to see whether that is a secret.
func firstWord(text string) string {
	text = text[:min(len(text), 128)]
	if end := strings.IndexAny(text, " \t\r\n"); end >= 0 {
		return text[:end]
	}
	return text
}

// hides reports whether a value is hidden behind that name.
func (a assignment) hides(value string) bool {
	switch {
	case a.kind == codeName && isStatus(value):
		return false
	case a.kind >= secretName, a.quoted, a.plain():
		return true
	}
	return looksSecret(value)
}

// looksSecret tells a secret behind a common word from prose: it has six characters at least, letters and digits among
// them, and is no hexadecimal number.
func looksSecret(value string) bool {
	letters, digits := false, false
	for i := range len(value) {
		letters = letters || isLetter(value[i])
		digits = digits || isDigit(value[i])
	}
	return len(value) >= 6 && letters && digits && !strings.HasPrefix(value, "0x")
}

// quoteAt returns where the quote stands that opens a text at a byte, behind the backslashes before it.
func (d decodedText) quoteAt(begin int) (quote int, quoted bool) {
	rest := d.bytes[begin:]
	quote = begin + len(rest) - len(strings.TrimLeft(rest, `\`))
	return quote, quote < len(d.bytes) && isQuote(d.bytes[quote])
}

// quotedBy returns where the text begins and ends that quoteAt has found quoted.
func (d decodedText) quotedBy(begin, quote int) (from, end int) {
	return quote + 1, d.closingQuote(quote+1, d.bytes[quote], quote-begin, d.width(quote))
}

// closingQuote returns where the quote ends that was opened before from with so many backslashes before it. A quote with
// more backslashes, or one that is encoded deeper, belongs to what is quoted. Without an end all that follows is quoted.
func (d decodedText) closingQuote(from int, quote byte, backslashes, width int) int {
	run := 0
	for i := from; i < len(d.bytes); i++ {
		switch c := d.bytes[i]; {
		case c == '\\':
			run++
			continue
		case c == quote && run <= backslashes && d.width(i) <= width:
			return i - run
		}
		run = 0
	}
	return len(d.bytes)
}

// closingBracket returns where the bracket closes that was opened before from. Brackets in quotes don't count. Without an
// end all that follows is inside.
func (d decodedText) closingBracket(from int) int {
	open := 1
	for i := from; i < len(d.bytes); i++ {
		switch c := d.bytes[i]; c {
		case '[', '{':
			open++
		case ']', '}':
			if open--; open == 0 {
				return i
			}
		case '"':
			backslashes := i - len(strings.TrimRight(d.bytes[:i], `\`))
			i = d.closingQuote(i+1, c, backslashes, d.width(i)) + backslashes
		}
	}
	return len(d.bytes)
}

// unquotedEnd returns where a value without quotes ends, which begins at from: with the word, or with the line if the
// value can have more words. What is encoded deeper than the separator belongs to the value.
func (a assignment) unquotedEnd(from int) int {
	b, end := a.text.bytes, from
	for end < len(b) && !a.endsLine(end) {
		if isSpace(b[end]) && a.outside(end) && a.kind != wholeLine && (a.kind < secretName || !goesOn(b[from:end])) {
			break
		}
		if a.quoted && strings.IndexByte(",]}", b[end]) >= 0 && a.outside(end) {
			break // as after a number in JSON
		}
		end++
	}
	return from + len(strings.TrimRight(b[from:end], trailing+" \t\r\n"))
}

// outside reports whether a byte is encoded no deeper than the separator.
func (a assignment) outside(i int) bool { return a.text.width(i) <= a.text.width(a.separator) }

// endsLine reports whether the line of an assignment ends at a byte.
func (a assignment) endsLine(i int) bool {
	b := a.text.bytes
	if !a.outside(i) {
		return false
	}
	switch c, next := b[i], b[i+1:]; {
	case c == '\r' && strings.HasPrefix(next, "\n"):
		return false // what comes after both decides
	case c == '\n' || c == '\r':
		return next == "" || !isBlank(next[0]) // else the header goes on
	case c == '\\':
		return a.kind == wholeLine && (strings.HasPrefix(next, "n") || strings.HasPrefix(next, "r"))
	case c == '&':
		return a.plain() || a.text.width(i) < a.text.width(a.separator) // the next parameter
	case isSpace(c):
		return a.text.width(i) < a.text.width(a.separator)
	case isQuote(c):
		return a.name > 0 && b[a.name-1] == c && !a.quoted // `"Private-Token: x"`
	}
	return false
}

// goesOn reports whether after a value's words up to now another one follows: after the scheme of a credential, and after
// a comma or a semicolon.
func goesOn(value string) bool {
	value = strings.TrimRight(value, " \t\r\n")
	if strings.HasSuffix(value, ",") || strings.HasSuffix(value, ";") {
		return true
	}
	switch strings.ToLower(value) {
	case "", "basic", "bearer", "token", "digest", "dpop", "negotiate", "ntlm", "oauth", "apikey":
		return true
	}
	return false
}
