package page

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestAForeignHostIsRefused asks by many names. A name that somebody else lets lead to this machine must not be answered.
func TestAForeignHostIsRefused(t *testing.T) {
	for _, test := range []struct {
		host, local string
		hosts       []string
		matchers    []string
		ours        bool
	}{
		{host: "localhost:2020", ours: true},
		{host: "LOCALHOST", ours: true},
		{host: "localhost.:2020", ours: true},
		{host: "edge.localhost:2020", ours: true},
		{host: "127.0.0.1:2020", ours: true},
		{host: "[::1]:2020", ours: true},
		{host: "evil.example:2020"},
		{host: "localhost.evil.example"},
		{host: "127.0.0.1.evil.example"},
		{host: "evil.example", matchers: []string{"edge.example.com"}},
		{host: "edge.example.com", matchers: []string{"edge.example.com"}, ours: true},
		{host: "EDGE.example.com:8443", matchers: []string{"edge.example.com"}, ours: true},
		{host: "berlin.example.com", matchers: []string{"*.example.com"}, ours: true},
		{host: "evil.example", matchers: []string{"*.example.com"}},
		{host: "edge.example.com", hosts: []string{"Edge.Example.com"}, ours: true},
		{host: "bücher.example", hosts: []string{"xn--bcher-kva.example"}, ours: true},
		{host: "10.0.0.7:2020", local: "10.0.0.7", ours: true},
		{host: "[fd00::7]:2020", local: "fd00::7", ours: true},
		{host: "10.0.0.8:2020", local: "10.0.0.7"},
		{host: "10.0.0.8:2020", local: "10.0.0.7", hosts: []string{"10.0.0.8"}, ours: true},
		{host: "[fd00::8]", local: "10.0.0.7", hosts: []string{"[fd00::8]"}, ours: true},
		{host: "0.0.0.0:2020"},
		{host: "<script>", local: "10.0.0.7"},
	} {
		p, edge := newPage(t, morning(), "", ":2020")
		names, err := newHostNames(test.hosts)
		if err != nil {
			t.Fatal(err)
		}
		p.hosts = names
		if test.matchers != nil {
			hosts := caddyhttp.MatchHost(test.matchers)
			p.server.Routes = caddyhttp.RouteList{{MatcherSets: caddyhttp.MatcherSets{{&hosts}}}}
		}
		want := http.StatusMisdirectedRequest
		if test.ours {
			want = http.StatusOK
		}
		if got := get(t, p, visit{target: "/", host: test.host, local: test.local}); got.Code != want {
			t.Errorf("%+v: %d", test, got.Code)
		}
		if !test.ours && len(edge.Calls("")) > 0 {
			t.Errorf("%+v: the edge was asked", test)
		}
	}
}

func TestHostsTakesNamesAlone(t *testing.T) {
	for _, name := range []string{"edge.example.com:2020", "https://edge.example.com", "*.example.com", "edge.example.com/page", "user@edge", "a b", ""} {
		if known, err := newHostNames([]string{name}); err == nil {
			t.Errorf("%q is taken as %v", name, known)
		}
	}
}

// TestOnlyAServerAllOfWhoseListenersAreOnLoopbackIsOnLoopback goes through what listeners can be. What can't be proven isn't.
func TestOnlyAServerAllOfWhoseListenersAreOnLoopbackIsOnLoopback(t *testing.T) {
	for _, test := range []struct {
		listen []string
		is     bool
	}{
		{[]string{"127.0.0.1:2020"}, true},
		{[]string{"tcp/127.0.0.1:2020", "tcp/[::1]:2020"}, true},
		{[]string{"localhost:2020"}, true},
		{[]string{"127.9.9.9:2020-2030"}, true},
		{nil, false},
		{[]string{":2020"}, false},
		{[]string{"0.0.0.0:2020"}, false},
		{[]string{"[::]:2020"}, false},
		{[]string{"127.0.0.1:2020", ":2021"}, false},
		{[]string{"10.0.0.7:2020"}, false},
		{[]string{"edge.example.com:2020"}, false},
		{[]string{"unix//run/edge.sock"}, false},
		{[]string{"fd/3"}, false},
		{[]string{"127.0.0.1:nonsense"}, false},
	} {
		if is := isOnLoopback(test.listen); is != test.is {
			t.Errorf("%v: %v", test.listen, is)
		}
	}
}
