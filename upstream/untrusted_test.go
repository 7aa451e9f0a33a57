package upstream

import (
	"maps"
	"net/http"
	"slices"
	"testing"
)

// TestNoSpellingOfAHeaderTellsGitLabWhatCallersMayNotSay: Rack tells an underscore from a hyphen in no name.
func TestNoSpellingOfAHeaderTellsGitLabWhatCallersMayNotSay(t *testing.T) {
	header := http.Header{
		"X_kept": {"1"}, "X-Kept": {"1"}, "Private_token": {"1"},
		"X_forwarded_for": {"1"}, "X_real-Ip": {"1"}, "X-Forwarded_proto": {"1"}, "X-My_bypass": {"1"}, "CLIENT_IP": {"1"}, "X-Real-Ip": {"1"},
		"X_http_method_override": {"1"}, "X-My-Bypass": {"1"}, "Upgrade": {"h2c"}, "Connection": {"Upgrade"}, "Http2-Settings": {"AAAA"},
	}
	dropHeaders(header, []string{"x-my-bypass"})
	if left := slices.Sorted(maps.Keys(header)); !slices.Equal(left, []string{"Private_token", "X-Kept", "X_kept"}) {
		t.Errorf("left: %v", left)
	}
}
