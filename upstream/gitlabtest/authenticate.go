package gitlabtest

import (
	"net/http"
	"net/netip"
	"strings"
)

// actor is who a request acts as, and from where.
type actor struct {
	owner *Token // whose roles count; nil for an anonymous caller
	// job and deploy are the job token or the deploy token by which the owner came in; nil for other tokens.
	job, deploy *Token
	client      netip.Addr
}

func (a actor) isAnonymous() bool { return a.owner == nil }

func (a actor) isAdmin() bool { return a.owner != nil && a.owner.Admin }

func (a actor) role(project int) Role {
	if a.owner == nil {
		return NoRole
	}
	return a.owner.Roles[project]
}

// authenticate finds out who asks, in GitLab's order (lib/api/api_guard.rb, lib/gitlab/auth/auth_finders.rb), and who
// they want to act as. The first carrier that holds good wins; some that don't hold good end the search.
func (s *Server) authenticate(c *call) (actor, *refusal) {
	a := actor{client: c.client}
	token, refused := s.findToken(c)
	switch {
	case refused != nil:
		return a, refused
	case token != nil && token.Blocked:
		return a, ownerBlocked
	case token != nil && s.exceedsAddresses(token, c.client):
		return a, forbidden
	}
	if identifier := firstOf(c.params["sudo"], c.header("Sudo")); identifier != "" {
		a.owner, refused = s.sudo(token, identifier)
		return a, refused
	}
	if a.owner = token; token == nil {
		return a, nil
	}
	switch token.Kind {
	case JobToken:
		a.job = token
	case DeployToken:
		a.deploy = token
	default:
	}
	return a, nil
}

// authenticateKnown is authenticate for what nobody may do without a credential.
func (s *Server) authenticateKnown(c *call) (actor, *refusal) {
	a, refused := s.authenticate(c)
	if refused == nil && a.isAnonymous() {
		refused = s.settings.challenge()
	}
	return a, refused
}

// challenge is the refusal of callers without a credential. 13.5 knew no Basic authentication to ask for.
func (c settings) challenge() *refusal {
	if c.release == Release135 {
		return message(http.StatusUnauthorized, "401 Unauthorized")
	}
	return unauthorized
}

// sudo finds whom an admin acts as (lib/api/helpers.rb: sudo!).
func (s *Server) sudo(token *Token, identifier string) (*Token, *refusal) {
	switch {
	case token == nil:
		return nil, unauthorized
	case !token.Admin:
		return nil, notAdmin
	case token.Kind != PersonalToken && token.Kind != OAuthToken:
		return nil, sudoWithoutPAT
	case !token.hasScope("sudo"):
		return nil, insufficientScope("sudo")
	}
	target := s.user(identifier)
	if target == nil {
		return nil, message(http.StatusNotFound, "404 User with ID or Username '"+identifier+"' Not Found")
	}
	return target, nil
}

// findToken goes by the order of carriers (contract, section 5). A nil token without a refusal is an anonymous caller.
func (s *Server) findToken(c *call) (*Token, *refusal) {
	oauth := firstOf(c.params["access_token"], c.bearer(), c.params["bearer_token"])
	user, password, isBasic := c.basic()
	if s.settings.release == Release135 {
		isBasic = false
	} else {
		// 1. A deploy token. Any Basic password takes the place of the header.
		deploy := firstOf(c.header("Deploy-Token"), oauth)
		if isBasic {
			deploy = password
		}
		if token := s.liveToken(deploy, DeployToken); token != nil {
			return token, nil
		}
	}
	// 2. A job token. One whose job has ended is no error here.
	if token := s.liveToken(oauth, JobToken); token != nil {
		return token, nil
	}
	// 3. An OAuth access token.
	if token := s.token(oauth, OAuthToken); token != nil {
		return s.vetted(c, token)
	}
	// 4. A personal token: only the first that isn't empty is tried, and a job token there is left to what follows.
	personal := firstOf(c.params["private_token"], c.header("Private-Token"), oauth)
	if personal != "" && !strings.HasPrefix(personal, jobTokenPrefix) {
		token := s.token(personal, PersonalToken)
		if token == nil {
			return nil, unauthorized
		}
		return s.vetted(c, token)
	}
	// 5. A personal token as Basic password, whoever it says it is.
	if isBasic {
		if token := s.token(password, PersonalToken); token != nil {
			return s.vetted(c, token)
		}
	}
	return s.findJobOrSession(c, user, password, isBasic)
}

// jobTokenPrefix marks job tokens.
const jobTokenPrefix = "glcbt-"

// findJobOrSession is the second half of findToken.
func (s *Server) findJobOrSession(c *call, user, password string, isBasic bool) (*Token, *refusal) {
	// 6. A job token as Basic password, to read only.
	if isBasic && user == "gitlab-ci-token" && password != "" && c.reads() {
		return s.runningJob(password)
	}
	// 7. A job token in its own places.
	if job := firstOf(c.params["job_token"], c.params["token"], c.header("Job-Token")); job != "" {
		return s.runningJob(job)
	}
	// 8. A session of the web interface. It may write only with its CSRF token.
	if cookie, err := c.Cookie("_gitlab_session"); err == nil {
		token := s.liveToken(cookie.Value, SessionCookie)
		if token != nil && (c.reads() || (token.CSRF != "" && token.CSRF == c.header("X-Csrf-Token"))) {
			return token, nil
		}
	}
	return nil, nil // nobody, and no objection
}

func (s *Server) runningJob(secret string) (*Token, *refusal) {
	if token := s.liveToken(secret, JobToken); token != nil {
		return token, nil
	}
	return nil, unauthorized
}

// vetted judges a personal or OAuth token that is known: whether it is alive, good for the method, and proven.
func (s *Server) vetted(c *call, token *Token) (*Token, *refusal) {
	switch {
	case token.Expired:
		return nil, tokenExpired
	case token.Revoked:
		return nil, tokenRevoked
	case c.reads() && !token.hasScope("api", "read_api"):
		return nil, insufficientScope("api read_api")
	case !c.reads() && !token.hasScope("api"):
		return nil, insufficientScope("api")
	case token.DPoP != "" && token.Kind == PersonalToken && c.header("Dpop") == "":
		return nil, proofMissing
	case token.DPoP != "" && token.Kind == PersonalToken && c.header("Dpop") != token.DPoP:
		return nil, proofWrong
	}
	return token, nil
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}
