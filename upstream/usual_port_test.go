package upstream

import (
	"net/url"
	"testing"
)

func TestAPortIsUsualForItsOwnSchemeOnly(t *testing.T) {
	for text, want := range map[string]bool{
		"http://h": true, "http://h:80/x": true, "https://h": true, "https://h:443": true, "HTTPS://h:443": true, "http://[::1]:80": true, "http://h:": true,
		"http://h:443": false, "https://h:80": false, "https://h:8443": false, "ssh://h": false, "ssh://h:22": false, "h": false,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := HasUsualPort(u); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
