package upstream

import (
	"net/http"
	"slices"
	"strings"
)

// untrustedHeaders are never passed on. They would let a caller tell GitLab, or something in front of it, who or what the
// request is about. Client-Ip beside X-Forwarded-For makes GitLab answer 400 (contract, section 2).
// The last one is the bypass header that GitLab's documentation uses.
var untrustedHeaders = []string{
	"Forwarded", "Client-Ip", "X-Client-Ip", "True-Client-Ip", "X-Real-Ip", "X-Cluster-Client-Ip", "X-Original-Url",
	"X-Rewrite-Url", "X-Http-Method-Override", "X-Original-Host", "X-Forwarded-Port", "X-Forwarded-Scheme", "X-Forwarded-Ssl",
	"X-Forwarded-Server", "X-Forwarded-Prefix", "Gitlab-Bypass-Rate-Limiting",
}

// PassesForward reports whether a request header of this canonical name can reach GitLab on a forwarded request.
func PassesForward(name string) bool { return !slices.Contains(untrustedHeaders, name) }

// upgradeHeaders offer another protocol on the same connection (RFC 9110, section 7.8; Http2-Settings goes with h2c). A
// server may ignore the offer, and GitLab isn't to hear of it: what comes after a 101 is a tunnel in which nobody looks at
// names, switches or tokens.
var upgradeHeaders = []string{"Upgrade", "Connection", "Http2-Settings"}

// forwardedHeaders are those that setForwarded sets.
var forwardedHeaders = []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"}

// dropHeaders takes out of a forwarded request's header what must not pass: what callers may not say, further headers that
// the admin has named, and offers to upgrade. Rack tells an underscore from a hyphen in no name (contract, section 1), so
// X_Real_Ip goes too.
func dropHeaders(header http.Header, further []string) {
	for _, name := range slices.Concat(untrustedHeaders, upgradeHeaders, further) {
		header.Del(name)
	}
	for name := range header {
		if !strings.Contains(name, "_") {
			continue
		}
		spelled := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if slices.Contains(untrustedHeaders, spelled) || slices.Contains(forwardedHeaders, spelled) ||
			slices.ContainsFunc(further, func(other string) bool { return strings.EqualFold(other, spelled) }) {
			delete(header, name)
		}
	}
}
