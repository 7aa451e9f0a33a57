package gitlabtest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// TokenKind is what a secret is.
type TokenKind int

// The kinds. PersonalToken stands for project, group, service and impersonation tokens too.
const (
	PersonalToken TokenKind = iota
	JobToken
	DeployToken
	OAuthToken
	SessionCookie
)

// String implements fmt.Stringer.
func (k TokenKind) String() string {
	switch k {
	case PersonalToken:
		return "personal token"
	case JobToken:
		return "job token"
	case DeployToken:
		return "deploy token"
	case OAuthToken:
		return "OAuth token"
	case SessionCookie:
		return "session cookie"
	default:
		return fmt.Sprintf("token kind %d", int(k))
	}
}

// Token is a secret and what its owner may do.
//
// Job tokens begin with "glcbt-", as GitLab's do: only so are dead ones told from personal tokens.
type Token struct {
	Kind   TokenKind
	Secret string
	// Username and UserID are the owner's; Sudo names one of them. Tokens of one owner should agree on what follows.
	Username string
	UserID   int
	// Roles are the owner's, by project id. To a deploy token, a project with any role is its own.
	Roles map[int]Role
	// Scopes are api, read_api and sudo; nil is api, and sudo too for an admin. Those of a deploy token are
	// read_package_registry and write_package_registry; nil is both. Others have none.
	Scopes []string
	// Admin may act as others (Sudo), sees all projects and may do all in them.
	Admin bool
	// Blocked bars the owner: 403, whatever the project.
	Blocked bool
	// Revoked and Expired tokens are known, but worth nothing. A job token that is either belongs to a job that ended.
	Revoked, Expired bool
	// Project is the one a job token's job runs in: other projects must have let it in (Project.JobTokenAccess). 0 is a
	// job that every project lets in.
	Project int
	// DPoP is the only proof (DPoP header) with which a personal token works; "" asks for none.
	DPoP string
	// CSRF is the X-CSRF-Token with which a session may write; "" can't.
	CSRF string
	// MaxAddresses bounds the client addresses that the token is used from; 0 is no bound.
	MaxAddresses int

	// addresses are those it was used from, if they are bounded. Guarded by the server's mu.
	addresses []netip.Addr
}

// AddToken adds a secret, or replaces what was known of it.
func (s *Server) AddToken(t Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, known := range s.tokens {
		if known.Secret == t.Secret {
			s.tokens[i] = &t
			return
		}
	}
	s.tokens = append(s.tokens, &t)
}

// RevokeToken makes a secret worthless; for a job token this is the end of its job, for a session a log-out.
func (s *Server) RevokeToken(secret string) {
	s.changeToken(secret, func(t *Token) { t.Revoked = true })
}

// ExpireToken makes a secret worthless as time does.
func (s *Server) ExpireToken(secret string) {
	s.changeToken(secret, func(t *Token) { t.Expired = true })
}

// SetRole changes what the owner of a secret may do in a project. NoRole removes them from it.
func (s *Server) SetRole(secret string, project int, role Role) {
	s.changeToken(secret, func(t *Token) {
		roles := map[int]Role{project: role}
		for other, known := range t.Roles {
			if other != project {
				roles[other] = known
			}
		}
		t.Roles = roles
	})
}

// changeToken replaces a token by a changed copy: requests under way go on with what they found.
func (s *Server) changeToken(secret string, change func(*Token)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, known := range s.tokens {
		if known.Secret == secret {
			changed := *known
			change(&changed)
			s.tokens[i] = &changed
		}
	}
}

// token finds a secret of a kind, dead ones included; nil if there is none.
func (s *Server) token(secret string, kind TokenKind) *Token {
	if secret == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		if t.Secret == secret && t.Kind == kind {
			return t
		}
	}
	return nil
}

// liveToken finds a secret of a kind that is still worth something.
func (s *Server) liveToken(secret string, kind TokenKind) *Token {
	t := s.token(secret, kind)
	if t == nil || t.Revoked || t.Expired {
		return nil
	}
	return t
}

// user finds somebody by id or name, the name in any case.
func (s *Server) user(identifier string) *Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := leadingInteger(identifier)
	for _, t := range s.tokens {
		if t.Kind == DeployToken {
			continue // these have names, but are nobody
		}
		if (t.Username != "" && strings.EqualFold(t.Username, identifier)) || (id > 0 && t.UserID == id) {
			return t
		}
	}
	return nil
}

// exceedsAddresses notes where a token is used and reports whether that is one place too many.
func (s *Server) exceedsAddresses(t *Token, client netip.Addr) bool {
	if t.MaxAddresses == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(t.addresses, client) {
		t.addresses = append(t.addresses, client)
	}
	return len(t.addresses) > t.MaxAddresses
}

// hasScope reports whether a token has one of the scopes.
func (t *Token) hasScope(wanted ...string) bool {
	scopes := t.Scopes
	if scopes == nil {
		switch {
		case t.Kind == DeployToken:
			scopes = []string{"read_package_registry", "write_package_registry"}
		case t.Admin:
			scopes = []string{"api", "sudo"}
		default:
			scopes = []string{"api"}
		}
	}
	for _, scope := range wanted {
		if slices.Contains(scopes, scope) {
			return true
		}
	}
	return false
}
