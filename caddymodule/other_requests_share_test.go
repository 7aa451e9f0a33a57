package caddymodule

import (
	"net/http"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestOneAddressLeavesOthersOtherRequestsTheirConnectionsToGitLab has one address hold all that it may, which is 3 connections of 8.
func TestOneAddressLeavesOthersOtherRequestsTheirConnectionsToGitLab(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, forwardsOthers+"\n header_timeout 300ms\n transport http {\n max_conns_per_host 8\n }")
	before := series(t)
	from := func(address, path string) call {
		return call{path: path, header: http.Header{"X-Forwarded-For": {address}}}
	}
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{PathContains: "held", Hang: true, Times: -1, Release: release})
	held := make(chan answer, 3)
	for range cap(held) {
		go func() { held <- e.do(t, from("2001:db8::1", "/held")) }() // ends with the release
	}
	await(t, func() bool { return len(gitlab.Requests()) == cap(held) })

	got := e.do(t, from("2001:db8::2", "/users/sign_in"))
	if got.StatusCode != http.StatusServiceUnavailable || string(got.body) != bodyLimited || got.Header.Get("Retry-After") == "" {
		t.Errorf("the same network: %s, %v, %s", got.Status, got.Header, got.body)
	}
	for _, address := range []string{"2001:db8:1::1", "192.0.2.1"} {
		if got := e.do(t, from(address, "/users/sign_in")); got.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %s", address, got.Status, got.body)
		}
	}
	expectGrown(t, before, map[string]float64{"requests_total GET limited": 1, "requests_total GET other": 2})
	close(release)
	for range cap(held) {
		<-held
	}
	await(t, func() bool { return e.do(t, from("2001:db8::2", "/users/sign_in")).StatusCode == http.StatusOK })
}
