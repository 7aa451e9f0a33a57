//go:build linux

package main

// protocol is how callers speak to a server. Each server speaks one of them while it is measured.
type protocol struct {
	// name is how the table calls it; suffix is what the names of its rows end in.
	name, suffix string
	tls, http2   bool
}

var (
	plainHTTP = protocol{name: "plain"}
	tlsHTTP1  = protocol{name: "TLS HTTP/1.1", suffix: "-tls", tls: true}
	tlsHTTP2  = protocol{name: "TLS HTTP/2", suffix: "-h2", tls: true, http2: true}
)

var protocols = []protocol{plainHTTP, tlsHTTP1, tlsHTTP2}

func (p protocol) scheme() string {
	if p.tls {
		return "https"
	}
	return "http"
}
