package upstream

import (
	"errors"
	"testing"
)

// TestAnEmptySegmentIsNoIDWhereDotsAreRead: servers squeeze slashes, and then no package is meant.
func TestAnEmptySegmentIsNoIDWhereDotsAreRead(t *testing.T) {
	for path, want := range map[string]error{
		"/api/v4/projects//generic/./a/b":    ErrNotGeneric,
		"/api/v4/projects//24/generic/./a/b": nil,
	} {
		_, err := ParseRoute(path)
		if errors.Is(err, ErrNotGeneric) != (want != nil) || err == nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
