package upstream

import (
	"errors"
	"net/http"
)

// errSwitched says that a server switched protocols, which nobody had asked it to.
var errSwitched = errors.New("it answers 101 Switching Protocols, which nobody asked for")

// neverUpgraded is a transport whose answers never are 101: what follows one is a tunnel and no body. The edge offers no
// upgrade, so a server that takes one is out of order.
type neverUpgraded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t neverUpgraded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusSwitchingProtocols {
		_ = response.Body.Close()
		return nil, errSwitched
	}
	return response, err
}
