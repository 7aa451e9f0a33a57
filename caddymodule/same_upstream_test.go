package caddymodule

import "testing"

func TestAGitLabIsMeantByEachSpellingOfItsURL(t *testing.T) {
	for _, test := range []struct {
		known, spelling string
		want            bool
	}{
		{"https://gitlab.example.com", "HTTPS://GitLab.example.com:443//", true},
		{"https://gitlab.example.com:443", "https://gitlab.example.com", true},
		{"http://gitlab.example.com/gitlab", " http://gitlab.example.com:80/gitlab/", true},
		{"http://[::1]", "http://[::1]:80", true},
		{"https://gitlab.example.com", "https://gitlab.example.com:80", false},
		{"http://gitlab.example.com", "http://gitlab.example.com:443", false},
		{"https://gitlab.example.com", "http://gitlab.example.com", false},
		{"https://gitlab.example.com", "https://gitlab.example.com:8443", false},
		{"https://gitlab.example.com/gitlab", "https://gitlab.example.com", false},
	} {
		if got := isSameUpstream(test.known, test.spelling); got != test.want {
			t.Errorf("%q for %s: %v", test.spelling, test.known, got)
		}
	}
}
