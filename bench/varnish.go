//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
)

// startVarnish runs Varnish with its store in memory. A request is first a question about its credential, whose answer
// is remembered for a minute for all files of a project, and then, begun again, a look for the file.
func startVarnish(ctx context.Context, b *bench, at place) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	gitlab, err := url.Parse(b.gitlab.URL)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(gitlab.Host)
	if err != nil {
		return nil, err
	}
	return b.startConfigured(ctx, at, "default.vcl", fmt.Sprintf(`vcl 4.1;
backend gitlab {
	.host = "%s";
	.port = "%s";
	.max_connections = 1000;
}
sub vcl_recv {
	if (req.restarts == 0) {
		set req.http.X-Step = "check";
		if (req.http.Range) {
			set req.http.X-Range = req.http.Range;
			unset req.http.Range;
		}
	} else {
		set req.http.X-Step = "file";
		if (req.http.X-Range) {
			set req.http.Range = req.http.X-Range;
		}
	}
	return (hash);
}
sub vcl_hash {
	hash_data(req.http.X-Step);
	if (req.http.X-Step == "check") {
		hash_data(regsub(req.url, "^(/api/v4/projects/[^/]+)/.*", "\1"));
		hash_data(req.http.Private-Token);
	} else {
		hash_data(req.url);
	}
	return (lookup);
}
sub vcl_backend_fetch {
	if (bereq.http.X-Step == "check") {
		set bereq.method = "HEAD";
	}
}
sub vcl_backend_response {
	unset beresp.http.Set-Cookie;
	unset beresp.http.Vary;
	if (beresp.status != 200) {
		set beresp.uncacheable = true;
		set beresp.ttl = 0s;
	} else if (bereq.http.X-Step == "check") {
		set beresp.ttl = 60s;
		set beresp.grace = 0s;
	} else {
		set beresp.ttl = 1d;
		set beresp.do_stream = true;
	}
	return (deliver);
}
sub vcl_deliver {
	if (req.http.X-Step == "check" && resp.status == 200) {
		return (restart);
	}
}
`, host, port), address, "varnishd", "-j", "none", "-F", "-n", filepath.Join(at.directory, "run"), "-a", address, "-s", "malloc,6g", "-s", "Transient=malloc,1g",
		"-p", "thread_pool_min=50", "-t", "86400", "-f")
}
