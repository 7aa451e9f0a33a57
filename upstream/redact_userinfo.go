package upstream

import "strings"

// hideUserinfo finds who is named before a host, with a password or without: `http://user:token@host/`, and
// `user:token@host` without a scheme. An e-mail address isn't hidden, nor is one behind `mailto:`.
func (s *spans) hideUserinfo(text decodedText) {
	s.hideUsersOfWords(text, 1)
	s.hideUsersOfWords(text, deepest)
	without := 0 // up to where no `@` is known to come
	for i := 1; i < len(text.bytes); i++ {
		if isSlash(text.bytes[i]) && isSlash(text.bytes[i-1]) {
			without = s.hideUserAfter(text, i+1, without)
		}
	}
}

// deepest is wider than any byte is written: encoded ones count as themselves.
const deepest = 1 << 30

// isSlash reports whether a byte begins a URL's authority when it comes twice. JSON escapes slashes with backslashes, and
// browsers take one for the other.
func isSlash(c byte) bool { return c == '/' || c == '\\' }

// endsURL reports whether no URL goes on past a byte.
func endsURL(c byte) bool { return isSpace(c) || c == '"' || c == '<' || c == '>' }

// endsAuthority reports whether a URL's authority ends at a byte.
func endsAuthority(c byte) bool {
	return endsURL(c) || isSlash(c) || c == '?' || c == '#' || c == '\'' || c == '`'
}

// hideUserAfter hides the user of the authority that begins at a byte. It gets, and returns, up to where no `@` is known
// to come before the URL ends, so that nothing is looked at again and again.
func (s *spans) hideUserAfter(text decodedText, begin, without int) int {
	b := text.bytes
	// What is encoded in a plain URL belongs to the user's name or password; in an encoded URL it may end them.
	depths := []int{1, deepest}
	if text.width(begin-1) > 1 {
		depths = depths[1:]
	}
	for _, depth := range depths {
		end, at := begin, -1
		for ; end < len(b) && (!endsAuthority(b[end]) || text.width(end) > depth); end++ {
			if b[end] == '@' && text.width(end) <= depth {
				at = end
			}
		}
		if at < 0 && begin >= without && !isHostWithPort(b[begin:end]) {
			at, without = lastAt(b, begin) // the password has a slash in it
		}
		if at < 0 && end < len(b) && isBlank(b[end]) && !isHostWithPort(b[begin:end]) {
			at = text.atBeyond(end, text.width(begin-1)) // or a blank
		}
		if at >= 0 {
			s.hide(text.place(begin), text.place(at))
			return without
		}
	}
	return without
}

// isHostWithPort reports whether an authority without a user is one: if there is a colon in it, digits follow.
func isHostWithPort(authority string) bool {
	colon := strings.LastIndexByte(authority, ':')
	if colon < 0 || strings.HasPrefix(authority, "[") {
		return true
	}
	for i := colon + 1; i < len(authority); i++ {
		if !isDigit(authority[i]) {
			return false
		}
	}
	return true
}

// lastAt returns where the last `@` of a URL stands, -1 if there is none, and where the URL ends.
func lastAt(b string, begin int) (at, end int) {
	at = -1
	for end = begin; end < len(b) && !endsURL(b[end]); end++ {
		if b[end] == '@' {
			at = end
		}
	}
	return at, end
}

// atBeyond returns where the last `@` stands after a blank in a password, -1 if there is none before the line ends, or what the
// URL is quoted in, or before another URL begins. width is that of the URL's own slashes.
func (d decodedText) atBeyond(blank, width int) int {
	at := -1
	for i := blank; i < len(d.bytes); i++ {
		c := d.bytes[i]
		if (endsURL(c) && !isBlank(c)) || (d.width(i) < width && (isBlank(c) || c == '&')) || (isSlash(c) && isSlash(d.bytes[i-1])) {
			break
		}
		if c == '@' {
			at = i
		}
	}
	return at
}

// hideUsersOfWords hides `user:password` before an `@`, where no scheme need stand. What is encoded deeper than depth
// belongs to the words.
func (s *spans) hideUsersOfWords(text decodedText, depth int) {
	b, begin, at := text.bytes, 0, -1
	for i := 0; i <= len(b); i++ {
		switch {
		case i == len(b) || ((endsAuthority(b[i]) || b[i] == '&') && text.width(i) <= depth):
			if at >= 0 {
				s.hideUser(text, begin, at)
			}
			begin, at = i+1, -1
		case b[i] == '@' && text.width(i) <= depth:
			at = i
		}
	}
}

// hideUser hides the user and the password between a word's beginning and its last `@`.
func (s *spans) hideUser(text decodedText, begin, at int) {
	b := text.bytes
	colon := begin + strings.IndexByte(b[begin:at], ':')
	if colon <= begin || colon == at-1 {
		return
	}
	user := colon
	for user > begin && (isNameByte(b[user-1]) || strings.IndexByte(".~+%", b[user-1]) >= 0) {
		user--
	}
	if strings.EqualFold(b[user:colon], "mailto") && strings.IndexByte(b[colon+1:at], ':') < 0 {
		return
	}
	s.hide(text.place(user), text.place(at))
}
