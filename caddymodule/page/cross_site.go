package page

import "net/http"

// isDrawnIn reports whether a page of another site asks without the person going here: by a picture, a script, a frame or a
// stream. It could read nothing, but would have the edge compute, and take up viewers' places.
func isDrawnIn(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
	}
	return false
}
