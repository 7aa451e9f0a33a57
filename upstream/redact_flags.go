package upstream

import "strings"

// hideFlags finds what follows a flag of a command that is the name of a secret: `--password x`, `-token 'x'`, and the same in
// a list of arguments, `["--password","x"]`. A flag with an equals sign is an assignment. Hyphens inside of a word begin none.
func (s *spans) hideFlags(text decodedText, names secretNames) {
	b := text.bytes
	for i := 0; i < len(b); i++ {
		if b[i] != '-' {
			continue
		}
		name := i + len(b[i:]) - len(strings.TrimLeft(b[i:], "-"))
		begins := endsWord(b, i)
		end := partEnd(b, name)
		i = end - 1
		if !begins {
			continue
		}
		if kind := names.kindInText(b[name:end]); kind > parameterOnly {
			i = max(i, s.hideFlagged(text, end, kind)-1)
		}
	}
}

// endsWord reports whether no word goes on at a place. The letter of a line's end as languages write it (\n) is in no word.
func endsWord(b string, at int) bool {
	return at == 0 || !isNameByte(b[at-1]) || (at > 1 && b[at-2] == '\\')
}

// hideFlagged hides the value of a flag whose name ends at a byte and returns where that ends; 0 if there is none.
func (s *spans) hideFlagged(text decodedText, nameEnd int, kind nameKind) (hidden int) {
	b, begin := text.bytes, nameEnd
	if quote, quoted := text.quoteAt(begin); quoted {
		begin = quote + 1
	}
	inList := begin < len(b) && begin > nameEnd && b[begin] == ','
	if inList {
		begin++
	}
	separator := begin
	for begin < len(b) && (isBlank(b[begin]) || (inList && isSpace(b[begin]))) {
		begin++
	}
	if begin == len(b) || (begin == separator && !inList) {
		return 0
	}
	var end int
	switch quote, quoted := text.quoteAt(begin); {
	case quoted:
		begin, end = text.quotedBy(begin, quote)
	case strings.HasPrefix(b[begin:], "--"):
		return 0 // the next flag
	default:
		end = text.wordEnd(begin, text.width(begin-1))
		end = begin + len(strings.TrimRight(b[begin:end], trailing))
	}
	if begin == end || (kind == codeName && isStatus(b[begin:end])) {
		return 0
	}
	s.hide(text.place(begin), text.place(end))
	return end
}

// wordEnd returns where a word ends that begins at a byte: before white space, or before the next parameter of the query in
// which the word stands. What is encoded deeper than width belongs to the word.
func (d decodedText) wordEnd(begin, width int) int {
	end := begin
	for end < len(d.bytes) {
		if c := d.bytes[end]; (isSpace(c) && d.width(end) <= width) || (c == '&' && d.width(end) < width) {
			break
		}
		end++
	}
	return end
}
