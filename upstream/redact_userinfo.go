package upstream

import "strings"

// hideUserinfo finds who is named before a host, with a password or without: `http://user:token@host/`, and
// `user:token@host` without a scheme. An e-mail address isn't hidden, nor is one behind `mailto:`.
func (s *spans) hideUserinfo(text decodedText) {
	for i := 1; i < len(text.bytes); i++ {
		switch {
		case text.bytes[i] == '@':
			s.hideUserBefore(text, i)
		case isSlash(text.bytes[i]) && isSlash(text.bytes[i-1]):
			s.hideUserAfter(text, i+1)
		}
	}
}

// isSlash reports whether a byte begins a URL's authority when it comes twice. JSON escapes slashes with backslashes, and
// browsers take one for the other.
func isSlash(c byte) bool { return c == '/' || c == '\\' }

// endsURL reports whether no URL goes on past a byte.
func endsURL(c byte) bool { return isSpace(c) || c == '"' || c == '<' || c == '>' }

// endsAuthority reports whether a URL's authority ends at a byte.
func endsAuthority(c byte) bool {
	return endsURL(c) || isSlash(c) || c == '?' || c == '#' || c == '\'' || c == '`'
}

// hideUserAfter hides the user of the authority that begins at a byte.
func (s *spans) hideUserAfter(text decodedText, begin int) {
	b := text.bytes
	if begin == len(b) {
		return
	}
	// What is encoded in a plain URL belongs to the user's name or password; in an encoded URL it may end them.
	depths := []int{1, len(b) * len("%2525")}
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
		if at < 0 && !isHostWithPort(b[begin:end]) {
			at = lastAt(b, begin) // the password has a slash in it
		}
		if at >= 0 {
			s.hide(text.place(begin), text.place(at))
			return
		}
	}
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

// lastAt returns where the last `@` of a URL stands, -1 if there is none.
func lastAt(b string, begin int) int {
	at := -1
	for i := begin; i < len(b) && !endsURL(b[i]); i++ {
		if b[i] == '@' {
			at = i
		}
	}
	return at
}

// hideUserBefore hides `user:password` before an `@`, where no scheme need stand.
func (s *spans) hideUserBefore(text decodedText, at int) {
	b, begin := text.bytes, at
	for begin > 0 && !((endsAuthority(b[begin-1]) || b[begin-1] == '&') && text.width(begin-1) <= text.width(at)) {
		begin--
	}
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
