package upstream

import (
	"encoding/base64"
	"strings"
)

// tokenPrefixes are what GitLab's tokens begin with (its documentation: security/tokens, "Token prefixes"). An instance
// may put another prefix before them (`acme-glpat-…`), which matters to nobody here. Each ends in a hyphen, and in a
// letter that endsLikeToken knows.
var tokenPrefixes = []string{
	"glpat-",   // personal, project, group and impersonation tokens
	"gloas-",   // OAuth applications' secrets
	"gldt-",    // deploy tokens
	"glrt-",    // runners' tokens
	"glrtr-",   // the same, of a runner that was registered with a registration token
	"glcbt-",   // jobs' tokens
	"glptt-",   // triggers' tokens
	"glft-",    // feed tokens
	"glimt-",   // incoming mail tokens
	"glagent-", // tokens of agents for Kubernetes
	"glwt-",    // workspaces' tokens
	"glsoat-",  // SCIM tokens
	"glffct-",  // tokens of feature flags' clients
}

// registrationToken is what registration tokens of runners begin with.
const registrationToken = "GR1348941"

// leastToken is how many characters must follow a prefix: all tokens have more, and prose about tokens has less.
const leastToken = 3

// hideTokens finds what is a token by its looks: GitLab's (`glpat-…`), JSON web tokens, and what comes after `Bearer` or
// `Basic`. Case doesn't matter, since hosts are often written in lower case and methods in upper.
//
// It takes a time that grows with the text's length alone: a part of base64url is looked at once.
func (s *spans) hideTokens(text decodedText) {
	b := text.bytes
	noWebToken, noScheme := 0, 0 // up to where the text is known to hold none
	for i := 0; i < len(b); i++ {
		begin, end := 0, 0
		switch b[i] {
		case '-':
			begin, end = gitlabToken(b, i+1)
		case '1':
			begin, end = registration(b, i+1)
		case 'j', 'J':
			if i >= noWebToken {
				begin, end = webToken(b, i-2)
				noWebToken = partEnd(b, i)
			}
		case ' ', '+':
			if i >= noScheme {
				begin, end, noScheme = schemeToken(b, i)
			}
		}
		if begin < end {
			s.hide(text.place(begin), text.place(end))
			i = end - 1
		}
	}
}

// hasSuffixFold reports whether a text ends so, in whatever case.
func hasSuffixFold(text, suffix string) bool {
	return len(text) >= len(suffix) && strings.EqualFold(text[len(text)-len(suffix):], suffix)
}

// gitlabToken returns the token of which the prefix ends at a place; none is empty.
func gitlabToken(b string, prefixEnd int) (begin, end int) {
	for _, prefix := range tokenPrefixes {
		if hasSuffixFold(b[:prefixEnd], prefix) {
			return prefixEnd - len(prefix), tokenEnd(b, prefixEnd)
		}
	}
	return 0, 0
}

// registration returns the registration token of which the prefix ends at a place; none is empty.
func registration(b string, prefixEnd int) (begin, end int) {
	if !hasSuffixFold(b[:prefixEnd], registrationToken) {
		return 0, 0
	}
	return prefixEnd - len(registrationToken), tokenEnd(b, prefixEnd)
}

// tokenEnd returns where a token ends of which the prefix ends at a place; 0 if too little follows. Routable tokens go on
// after a dot, and so do jobs' tokens, which are JSON web tokens behind their prefix.
func tokenEnd(b string, prefixEnd int) int {
	end := partEnd(b, prefixEnd)
	if end-prefixEnd < leastToken {
		return 0
	}
	for end+1 < len(b) && b[end] == '.' && isNameByte(b[end+1]) {
		end = partEnd(b, end+1)
	}
	return end
}

// partEnd returns where what is written in base64url ends.
func partEnd(b string, begin int) int {
	for begin < len(b) && isNameByte(b[begin]) {
		begin++
	}
	return begin
}

// webToken returns the JSON web token that begins at a place, with `{"` in base64; none is empty. It has three parts (RFC
// 7515), five if it is encrypted (RFC 7516). In another case than its own it must be as long as real ones are, since
// `eyjafjalla.example.com` is a host.
func webToken(b string, at int) (begin, end int) {
	if at < 0 || !strings.EqualFold(b[at:at+2], "ey") {
		return 0, 0
	}
	var parts []string
	for end = at; ; end++ {
		next := partEnd(b, end)
		parts = append(parts, b[end:next])
		end = next
		if len(parts) == 5 || end == len(b) || b[end] != '.' {
			break
		}
		if len(parts) >= 3 && partEnd(b, end+1) == end+1 {
			break // the dot ends a sentence
		}
	}
	switch {
	case len(parts) < 3 || parts[1] == "" && len(parts) < 5:
		return 0, 0
	case parts[2] == "" && !strings.HasPrefix(parts[1], "e"):
		return 0, 0 // unsigned, and the middle is no JSON object
	case len(parts[0]) < 17 || len(parts[2]) < 16:
		exact := strings.Index(parts[0], "eyJ")
		if exact < 0 {
			return 0, 0
		}
		return at + exact, end
	}
	return at, end
}

// schemeToken returns the credential after an authentication scheme that ends at a place, as `Bearer` does before a
// space, and where the word there ends; no credential is empty. Prose goes on otherwise: with a word without digits, and base64 of which there is no
// `user:password`.
func schemeToken(b string, schemeEnd int) (begin, end, wordEnd int) {
	basic := endsInWord(b[:schemeEnd], "basic")
	if !basic && !endsInWord(b[:schemeEnd], "bearer") && !endsInWord(b[:schemeEnd], "dpop") {
		return 0, 0, 0
	}
	begin = schemeEnd
	for begin < len(b) && (b[begin] == ' ' || b[begin] == '+') {
		begin++
	}
	end = begin
	for end < len(b) && (isNameByte(b[end]) || strings.IndexByte(".~+/=", b[end]) >= 0) {
		end++
	}
	word := b[begin:end]
	if basic {
		decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(word, "="))
		if err != nil || strings.IndexByte(string(decoded), ':') < 0 {
			return 0, 0, end
		}
		return begin, end, end
	}
	if strings.ContainsAny(word, "0123456789") || (len(word) >= 20 && !strings.HasSuffix(word, "=")) {
		return begin, end, end
	}
	return 0, 0, end
}

// endsInWord reports whether a text ends in a word, in whatever case.
func endsInWord(text, word string) bool {
	before := len(text) - len(word)
	return hasSuffixFold(text, word) && (before == 0 || !isAlphanumeric(text[before-1]))
}
