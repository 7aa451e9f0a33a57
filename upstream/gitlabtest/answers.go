package gitlabtest

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
)

// refusal is an answer that ends a request without a file.
type refusal struct {
	status      int
	body        string
	contentType string // JSON if empty
	challenge   string
	location    string
}

func (r *refusal) write(w http.ResponseWriter) {
	header := w.Header()
	if r.challenge != "" {
		header["Www-Authenticate"] = []string{r.challenge}
	}
	if r.location != "" {
		header.Set("Location", r.location)
	}
	contentType := r.contentType
	if contentType == "" {
		contentType = "application/json"
	}
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(r.body)))
	w.WriteHeader(r.status)
	_, _ = io.WriteString(w, r.body)
}

// message is a refusal by GitLab's own API helpers.
func message(status int, text string) *refusal {
	return &refusal{status: status, body: `{"message":` + quote(text) + `}`}
}

// failure is a refusal by Grape, the framework of the API.
func failure(status int, text string) *refusal {
	return &refusal{status: status, body: `{"error":` + quote(text) + `}`}
}

func quote(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return `""`
	}
	return string(quoted)
}

// plain is a refusal by a layer before the API.
func plain(status int, text string) *refusal {
	return &refusal{status: status, body: text, contentType: "text/plain"}
}

// bearerFailure is a refusal by the OAuth library.
func bearerFailure(kind, description string) *refusal {
	return &refusal{
		status:    http.StatusUnauthorized,
		body:      `{"error":"` + kind + `","error_description":"` + description + `"}`,
		challenge: `Bearer realm="Protected by OAuth 2.0", error="` + kind + `", error_description="` + description + `"`,
	}
}

// insufficientScope says which scopes would have done. It has no challenge.
func insufficientScope(scopes string) *refusal {
	return &refusal{
		status: http.StatusForbidden,
		body:   `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"` + scopes + `"}`,
	}
}

var (
	// The challenge is that of the package registries (lib/api/helpers/packages/basic_auth_helpers.rb).
	unauthorized = &refusal{
		status: http.StatusUnauthorized, body: `{"message":"401 Unauthorized"}`, challenge: `Basic realm="GitLab Packages Registry"`,
	}
	tokenRevoked = bearerFailure("invalid_token", "Token was revoked. You have to re-authorize from the user.")
	tokenExpired = bearerFailure("invalid_token", "Token is expired. You can either do re-authorization or token refresh.")
	proofMissing = bearerFailure("dpop_error", "DPoP validation error: DPoP header is missing")
	proofWrong   = bearerFailure("dpop_error", "DPoP validation error: Malformed JWT, unable to decode. Not enough or too many segments")

	forbidden       = message(http.StatusForbidden, "403 Forbidden")
	ownerBlocked    = message(http.StatusForbidden, "403 Forbidden - Your account has been blocked.")
	notAdmin        = message(http.StatusForbidden, "403 Forbidden - Must be admin to use sudo")
	sudoWithoutPAT  = message(http.StatusForbidden, "403 Forbidden - Must be authenticated using an OAuth or personal access token to use sudo")
	protected       = message(http.StatusForbidden, "403 Forbidden - Package protected.")
	notFound        = message(http.StatusNotFound, "404 Not Found")
	fileNotFound    = message(http.StatusNotFound, "404 Not found")
	projectNotFound = message(http.StatusNotFound, "404 Project Not Found")
	packageNotFound = message(http.StatusNotFound, "404 Package Not Found")
	movedProject    = message(http.StatusMethodNotAllowed, "Non GET methods are not allowed for moved projects")
	brokenOff       = message(http.StatusInternalServerError, "500 Internal Server Error")

	noRoute       = failure(http.StatusNotFound, "404 Not Found")
	wrongMethod   = failure(http.StatusMethodNotAllowed, "405 Not Allowed")
	invalidStatus = failure(http.StatusBadRequest, "status does not have a valid value")
	invalidSelect = failure(http.StatusBadRequest, "select does not have a valid value")

	badRequest = plain(http.StatusBadRequest, "Bad Request")
	traversal  = plain(http.StatusBadRequest, "Potential path traversal attempt detected.")
)

// badMessage is the API's 400. Before 13.10 its helper took any text for the name of a parameter.
func (c settings) badMessage(text string) *refusal {
	if c.release == Release135 {
		return message(http.StatusBadRequest, `400 (Bad request) "`+text+`" not given`)
	}
	return message(http.StatusBadRequest, "400 Bad request - "+text)
}
