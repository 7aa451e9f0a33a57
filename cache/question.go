package cache

import (
	"fmt"
	"time"
)

// QuestionReason says what makes it worth asking the upstream again about a file that is stored. The zero value is none.
type QuestionReason uint8

const (
	// PublishedElsewhere: the upstream has said 2xx to a publish of the same package, version and file under another
	// spelling of a project, which may or may not be the same project.
	PublishedElsewhere QuestionReason = iota + 1
	// UploadUnanswered: the upstream has got the whole body of an upload, and answered with a failure of its own (5xx) or
	// not at all. It may have taken the file.
	UploadUnanswered
	// GoneForOne: the upstream has said 404 to somebody to whom it lately said yes. The file may be gone, or that caller's
	// right to it.
	GoneForOne
)

// String names the reason.
func (r QuestionReason) String() string {
	switch r {
	case PublishedElsewhere:
		return "published elsewhere"
	case UploadUnanswered:
		return "upload unanswered"
	case GoneForOne:
		return "gone for one"
	}
	return fmt.Sprintf("question reason %d", uint8(r))
}

// Question notes that the upstream may have changed the file: what it said of this package, version and file when it was
// asked at `at` or before, under any spelling of a project of this upstream, confirms no more. Whoever wants the file next
// asks (Entry.Questioned), also where a fill whose answer is as old is stored afterwards, and Confirm doesn't count an
// answer that is as old. Nobody has seen other content, so the entry keeps its Confirmed: it may still be served while the
// upstream can't be asked.
//
// Example: a package is published as 24, and a copy of it is stored as group/app, which is the same project as far as the
// upstream knows. The next download from group/app asks.
//
// Anybody may call it at any time. Question panics without one of the reasons above: that is an error in the program, and
// to go on would serve a file that may be old.
func (s *Store) Question(k Key, at time.Time, why QuestionReason) {
	if why < PublishedElsewhere || why > GoneForOne {
		panic("cache: a question without a reason: " + why.String())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers.question(k, at.Sub(s.started))
}

// IsQuestioned reports whether what the upstream said of the key, asked at `at`, confirms no more (Question).
func (s *Store) IsQuestioned(k Key, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers.isQuestioned(k, at.Sub(s.started))
}
