package gitlabtest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// refusal is an answer that ends a request.
type refusal struct {
	status      int
	body        string
	contentType string
	challenge   string
}

func (r refusal) write(w http.ResponseWriter) {
	if r.challenge != "" {
		w.Header().Set("WWW-Authenticate", r.challenge)
	}
	if r.contentType == "" {
		r.contentType = "application/json"
	}
	w.Header().Set("Content-Type", r.contentType)
	w.WriteHeader(r.status)
	_, _ = w.Write([]byte(r.body))
}

var (
	unauthorized = &refusal{status: 401, body: `{"message":"401 Unauthorized"}`, challenge: `Basic realm="GitLab Packages Registry"`}
	invalidToken = &refusal{
		status: 401, body: `{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}`,
		challenge: `Bearer realm="Protected by OAuth 2.0", error="invalid_token"`,
	}
	forbidden       = &refusal{status: 403, body: `{"message":"403 Forbidden"}`}
	notFound        = &refusal{status: 404, body: `{"message":"404 Not Found"}`}
	fileNotFound    = &refusal{status: 404, body: `{"message":"404 Not found"}`}
	noRoute         = &refusal{status: 404, body: `{"error":"404 Not Found"}`}
	notAdmin        = &refusal{status: 403, body: `{"message":"403 Forbidden - Must be admin to use sudo"}`}
	scopeTooSmall   = &refusal{status: 403, body: `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api"}`}
	badRequest      = &refusal{status: 400, body: "Bad Request", contentType: "text/plain"}
	traversal       = &refusal{status: 400, body: "Potential path traversal attempt detected.", contentType: "text/plain"}
	methodNotKnown  = &refusal{status: 405, body: `{"error":"405 Not Allowed"}`}
	malformedUpload = &refusal{status: 400, body: `{"error":"select does not have a valid value"}`}
)

// jobTokenPrefix marks job tokens; the finder of personal tokens skips values with it.
const jobTokenPrefix = "glcbt-"

// authenticate finds out who asks, in GitLab's order (lib/gitlab/auth/auth_finders.rb, lib/api/api_guard.rb). A nil
// token without a refusal is an anonymous caller.
func (s *Server) authenticate(r *http.Request) (*Token, *refusal) {
	actor, refused := s.findActor(r)
	if refused != nil {
		return nil, refused
	}
	sudo := r.URL.Query().Get("sudo")
	if sudo == "" {
		sudo = r.Header.Get("Sudo")
	}
	if sudo == "" {
		return actor, nil
	}
	switch {
	case actor == nil:
		return nil, unauthorized
	case !actor.Admin || (actor.Kind != PersonalToken && actor.Kind != OAuthToken):
		return nil, notAdmin
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, token := range s.tokens {
		if token.Username == sudo {
			return token, nil
		}
	}
	return nil, &refusal{status: 404, body: `{"message":"404 User with ID or username '` + url.QueryEscape(sudo) + `' Not Found"}`}
}

func (s *Server) findActor(r *http.Request) (*Token, *refusal) {
	query := r.URL.Query()
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if bearer == r.Header.Get("Authorization") {
		bearer = ""
	}
	oauth := firstOf(query.Get("access_token"), bearer, query.Get("bearer_token"))
	basicUser, basicPassword, isBasic := r.BasicAuth()
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead

	deploy := firstOf(r.Header.Get("Deploy-Token"), oauth)
	if isBasic {
		deploy = basicPassword
	}
	if token := s.token(deploy, DeployToken); token != nil {
		return token, nil
	}
	if token := s.token(oauth, JobToken); token != nil {
		return token, nil
	}
	if token := s.token(oauth, OAuthToken); token != nil {
		return token, nil
	}
	if personal := firstOf(query.Get("private_token"), r.Header.Get("Private-Token"), oauth); personal != "" && !strings.HasPrefix(personal, jobTokenPrefix) {
		if token := s.token(personal, PersonalToken); token != nil {
			return token, nil
		}
		return nil, invalidToken
	}
	if isBasic {
		if token := s.token(basicPassword, PersonalToken); token != nil {
			return token, nil
		}
		if basicUser == "gitlab-ci-token" && reads {
			if token := s.token(basicPassword, JobToken); token != nil {
				return token, nil
			}
			return nil, unauthorized
		}
	}
	if job := firstOf(query.Get("job_token"), query.Get("token"), r.Header.Get("Job-Token")); job != "" {
		if token := s.token(job, JobToken); token != nil {
			return token, nil
		}
		return nil, unauthorized
	}
	if cookie, err := r.Cookie("_gitlab_session"); err == nil && reads {
		return s.token(cookie.Value, SessionCookie), nil
	}
	return nil, nil //nolint:nilnil // nobody, and no objection
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

func (s *Server) token(secret string, kind TokenKind) *Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token := s.tokens[secret]; token != nil && token.Kind == kind {
		return token
	}
	return nil
}

// authorize judges what an actor may do in a project (lib/api/helpers/packages/basic_auth_helpers.rb).
func authorize(r *http.Request, actor *Token, p *Project) *refusal {
	role := NoRole
	if actor != nil && p != nil {
		role = actor.Roles[p.ID]
		if actor.Admin && role == NoRole {
			role = Developer
		}
	}
	publishes := r.Method == http.MethodPut
	switch {
	case p == nil || !visible(actor, p, role, publishes) || !allowedAddress(r, p):
		if actor == nil {
			return unauthorized
		}
		return notFound
	case p.RegistryOff:
		return forbidden
	case publishes && role < Developer:
		return forbidden
	case publishes && !actor.mayWrite():
		return scopeTooSmall
	}
	return nil
}

func visible(actor *Token, p *Project, role Role, publishes bool) bool {
	return role >= Guest || p.Visibility == Public || (p.Visibility == Internal && actor != nil) || (p.RegistryPublic && !publishes)
}

func allowedAddress(r *http.Request, p *Project) bool {
	if len(p.AllowedIPs) == 0 {
		return true
	}
	forwarded := strings.Split(r.Header.Get("X-Forwarded-For"), ",")
	return slices.Contains(p.AllowedIPs, strings.TrimSpace(forwarded[len(forwarded)-1]))
}
