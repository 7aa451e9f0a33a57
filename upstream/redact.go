package upstream

import (
	"slices"
	"strings"
)

// Redacted stands in texts for what nobody may read there.
const Redacted = "REDACTED"

// Redactor hides secrets in texts and knows the names of fields that hold one. It is safe for concurrent use.
type Redactor struct {
	names secretNames
}

// NewRedactor returns a redactor that knows further names of secrets besides its own, such as an admin's own header.
func NewRedactor(more ...string) *Redactor { return &Redactor{newSecretNames(more)} }

// Hides reports whether the value of a field, a header or a member of that name is a secret, whatever it is. Case doesn't
// matter, nor do hyphens and underscores, nor words before it.
func (r *Redactor) Hides(name string) bool { return r.names.kindInText(name) > parameterOnly }

// HidesNumber is Hides for a value that is a number: as a `code` that is somebody's status.
func (r *Redactor) HidesNumber(name string) bool { return r.names.kindInText(name) > codeName }

// Redact returns a text of any kind (a URL, a header, JSON, a message with all of these in it) in which each secret reads
// REDACTED. A text without secrets comes back unchanged, and so does one that was redacted before. Hidden are
//
//   - values of query parameters (hideParameters),
//   - what follows the name of a secret in JSON, in `name: value` and the like (hideAssignments),
//   - what follows a flag of that name (hideFlags),
//   - user and password of URLs (hideUserinfo),
//   - tokens that can be told by how they look (hideTokens), wherever they stand.
//
// Names, separators and tokens may be percent-encoded, many times too, or escaped as JSON does. Of what is doubtful
// rather too much is hidden than too little.
func (r *Redactor) Redact(text string) string {
	// What is hidden may bring other things together: a second look then finds what it would find in the log's own text.
	for range mostLooks {
		redacted := r.redactOnce(text)
		if redacted == text {
			break
		}
		text = redacted
	}
	return text
}

// mostLooks bounds how often a text is looked at. Each look but the last hides more, and texts that aren't made to need
// more looks need two.
const mostLooks = 16

func (r *Redactor) redactOnce(text string) string {
	signs := signsIn(text)
	if signs == 0 {
		return text
	}
	var found spans
	if signs&signOfParameter != 0 {
		found.hideParameters(text, r.names)
		if len(found.all) > 0 {
			signs |= signOfAssignment // whose value may have more words
		}
	}
	if signs == signOfParameter {
		return text // a query without secrets, which most entries have
	}
	decoded := decode(text)
	if signs&signOfAssignment != 0 {
		found.hideAssignments(decoded, r.names)
	}
	if signs&signOfFlag != 0 {
		found.hideFlags(decoded, r.names)
	}
	if signs&signOfUserinfo != 0 {
		found.hideUserinfo(decoded)
	}
	if signs&signOfToken != 0 {
		found.hideTokens(decoded)
	}
	return found.hiddenIn(text)
}

// sign is a set of what a text may hold. Most texts of a log hold nothing, so that one look at each byte must do.
type sign uint8

const (
	signOfParameter sign = 1 << iota
	signOfAssignment
	signOfUserinfo
	signOfToken
	signOfFlag
	// signOfEscape says that a byte may stand for another one.
	signOfEscape
	// signOfNeighbours says that the bytes before must be looked at.
	signOfNeighbours
)

// signOf is what each byte is a sign of.
var signOf = func() (signs [256]sign) {
	signs['='], signs[':'], signs['@'] = signOfParameter|signOfAssignment, signOfAssignment, signOfUserinfo
	signs['%'], signs['\\'] = signOfEscape, signOfEscape
	for _, c := range "-jJ8 +" {
		signs[c] = signOfNeighbours
	}
	return signs
}()

// signsIn returns what a text may hold; 0 means that it holds no secret.
func signsIn(text string) sign {
	var signs sign
	for i := 0; i < len(text); i++ {
		switch seen := signOf[text[i]]; seen {
		case 0:
		case signOfEscape:
			c, length := unescape(text[i:])
			if length > 1 {
				// Nobody encodes letters and digits but to hide something.
				if isAlphanumeric(c) || signOf[c] == signOfNeighbours {
					signs |= signOfToken | signOfFlag
				}
				signs |= signOf[c] &^ (signOfEscape | signOfNeighbours)
				i += length - 1
			}
		case signOfNeighbours:
			if endsLikeToken(text[:i+1]) {
				signs |= signOfToken
			}
			if text[i] == '-' && mayBeginFlag(text, i) {
				signs |= signOfFlag
			}
		case signOfParameter | signOfAssignment:
			signs |= signOfParameter
			if !isPlainSign(text, i) {
				signs |= signOfAssignment
			}
		default:
			signs |= seen
		}
	}
	return signs
}

// isPlainSign reports whether nothing but a query's parameter needs an equals sign like that.
func isPlainSign(text string, at int) bool {
	before := at == 0 || (!isSpace(text[at-1]) && !isQuote(text[at-1]))
	return before && (at+1 == len(text) || (!isQuote(text[at+1]) && !isBlank(text[at+1]) && text[at+1] != '>' && text[at+1] != '\\'))
}

// mayBeginFlag reports whether a flag may begin with the hyphen at a place. Two hyphens may in whatever word, since what stands
// before them may be the end of an escape. One hyphen may after a line's end as languages write it.
func mayBeginFlag(text string, at int) bool {
	if at+1 == len(text) || (text[at+1] != '-' && !isLetter(text[at+1])) {
		return false
	}
	return text[at+1] == '-' || endsWord(text, at)
}

// endsLikeToken reports whether a text ends in what tokens begin with, as far as two or three bytes tell.
func endsLikeToken(text string) bool {
	if len(text) < 4 {
		return strings.EqualFold(text, "eyj")
	}
	before := text[len(text)-2] | 0x20
	switch text[len(text)-1] {
	case '-':
		return before == 't' || before == 's' || before == 'r' // as all tokenPrefixes
	case 'j', 'J':
		return before == 'y' && text[len(text)-3]|0x20 == 'e'
	case '8':
		return strings.HasSuffix(text, "348") // of registrationToken
	default: // a space, after the scheme
		return before == 'r' || before == 'c' || before == 'p'
	}
}

// span is a part of a text, from begin to end.
type span struct{ begin, end int }

// spans are the parts of a text that are to be hidden, in any order. They may overlap.
type spans struct{ all []span }

func (s *spans) hide(begin, end int) {
	if begin < end {
		s.all = append(s.all, span{begin, end})
	}
}

// hiddenIn returns the text with REDACTED in place of each span.
func (s *spans) hiddenIn(text string) string {
	if len(s.all) == 0 {
		return text
	}
	slices.SortFunc(s.all, func(a, b span) int { return a.begin - b.begin })
	var redacted strings.Builder
	written := 0
	for i := 0; i < len(s.all); {
		hidden := s.all[i]
		for i++; i < len(s.all) && s.all[i].begin <= hidden.end; i++ {
			hidden.end = max(hidden.end, s.all[i].end)
		}
		redacted.WriteString(text[written:hidden.begin])
		redacted.WriteString(Redacted)
		written = hidden.end
	}
	redacted.WriteString(text[written:])
	return redacted.String()
}
