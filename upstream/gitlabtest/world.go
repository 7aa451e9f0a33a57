package gitlabtest

import (
	"strconv"
	"strings"
)

// Visibility is who sees a project.
type Visibility int

// The visibilities.
const (
	Private Visibility = iota
	Internal
	Public
)

// Role is what somebody may do in a project. Downloads need Guest, publishing Developer.
type Role int

// The roles.
const (
	NoRole    Role = 0
	Guest     Role = 10
	Reporter  Role = 20
	Developer Role = 30
)

// Project is a project with its package registry.
type Project struct {
	ID         int
	Path       string
	Visibility Visibility
	// FormerPaths still lead here, unless another project has one of them now.
	FormerPaths []string
	// RegistryOff switches the package registry off; RegistryPublic opens it to everyone even if the project is private.
	RegistryOff, RegistryPublic bool
	// AllowedIPs, if any, are the only addresses that may use it. The caller's is that of X-Forwarded-For.
	AllowedIPs []string
}

// TokenKind is what a secret is.
type TokenKind int

// The kinds.
const (
	PersonalToken TokenKind = iota
	JobToken
	DeployToken
	OAuthToken
	SessionCookie
)

// Token is a secret and what its owner may do.
type Token struct {
	Kind     TokenKind
	Secret   string
	Username string
	Roles    map[int]Role
	// Scopes are api (the default), read_api, sudo; of a deploy token read_package_registry and write_package_registry.
	Scopes []string
	// Admin may act as others (Sudo) and sees all projects.
	Admin bool
}

func (t *Token) mayWrite() bool {
	if len(t.Scopes) == 0 {
		return true
	}
	for _, scope := range t.Scopes {
		if scope == "api" || scope == "write_package_registry" {
			return true
		}
	}
	return false
}

// AddProject adds a project, or replaces the one with its id.
func (s *Server) AddProject(p Project) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, known := range s.projects {
		if known.ID == p.ID {
			s.projects[i] = &p
			return
		}
	}
	s.projects = append(s.projects, &p)
}

// AddToken adds a secret.
func (s *Server) AddToken(t Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[t.Secret] = &t
}

// RevokeToken makes a secret worthless; for a job token this is the end of its job.
func (s *Server) RevokeToken(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, secret)
}

// findProject looks a decoded :id up as GitLab does (lib/api/helpers.rb): a line of digits is a number, what has a slash
// is a path in any case, and live paths win over former ones.
func (s *Server) findProject(id string) *Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(id) {
		// Ruby's ^ and $ match at lines, and the cast reads leading digits.
		if number, err := strconv.Atoi(strings.TrimSuffix(line, "\n")); err == nil {
			for _, p := range s.projects {
				if p.ID == number {
					return p
				}
			}
			return nil
		}
	}
	if !strings.Contains(id, "/") {
		return nil
	}
	for _, p := range s.projects {
		if strings.EqualFold(p.Path, id) {
			return p
		}
	}
	for _, p := range s.projects {
		for _, former := range p.FormerPaths {
			if strings.EqualFold(former, id) {
				return p
			}
		}
	}
	return nil
}
