package cache

import (
	"fmt"
	"testing"
)

// TestReasonsAreToldByTheirNames where they are logged, and those that there aren't by their number.
func TestReasonsAreToldByTheirNames(t *testing.T) {
	for want, reason := range map[string]fmt.Stringer{
		"published": Published, "soft purge": SoftPurged, "raise reason 0": RaiseReason(0), "raise reason 9": RaiseReason(9),
		"other content named": OtherContentNamed, "doubt reason 0": DoubtReason(0), "doubt reason 9": DoubtReason(9),
		"published elsewhere": PublishedElsewhere, "upload unanswered": UploadUnanswered, "gone for one": GoneForOne,
		"question reason 0": QuestionReason(0), "question reason 9": QuestionReason(9),
		"superseded": Superseded, "lagging": Lagging, "confirmed": Confirmed, "confirmation 9": Confirmation(9),
	} {
		if got := reason.String(); got != want {
			t.Errorf("%q is told as %q", want, got)
		}
	}
}
