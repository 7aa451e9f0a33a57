package gitlabtest

import (
	"net/netip"
	"path"
	"regexp"
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

// Role is what somebody may do in a project. Downloads need Guest, publishing Developer, deleting Maintainer.
type Role int

// The roles.
const (
	NoRole     Role = 0
	Guest      Role = 10
	Reporter   Role = 20
	Developer  Role = 30
	Maintainer Role = 40
	Owner      Role = 50
)

// The policies that a project may demand of the job tokens it lets in.
const (
	ReadPackages  = "read_packages"
	AdminPackages = "admin_packages"
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
	// PendingDeletion makes the project vanish for everybody.
	PendingDeletion bool
	// AllowedIPs, if any, are the only addresses (192.0.2.1) or networks (192.0.2.0/24) that may use it, whoever asks.
	AllowedIPs []string
	// JobTokenAccess are the other projects (by id) whose jobs may use this one, each with the policies it grants: no
	// policies means all. The project's own jobs always may.
	JobTokenAccess map[int][]string
	// NoDuplicates refuses a second upload of a file name. What the pattern DuplicateException matches, as a package's
	// name or version, is treated the other way round.
	NoDuplicates       bool
	DuplicateException string
	// ProtectedPackages are name patterns (path.Match) of packages that only maintainers may publish to.
	ProtectedPackages []string
	// MaxFileSize is the largest file in bytes; 0 is any size.
	MaxFileSize int64
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

// findProject looks a decoded :id up (lib/api/helpers.rb: find_project): what has a line of digits is a number, what has
// a slash is a path in any case, and live paths win over former ones. moved tells that a former path was used.
func (s *Server) findProject(id string) (found *Project, moved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settings.isNumeric(id) {
		number := leadingInteger(id)
		return s.projectLocked(func(p *Project) bool { return p.ID == number }), false
	}
	if !strings.Contains(id, "/") {
		return nil, false
	}
	if found = s.projectLocked(func(p *Project) bool { return strings.EqualFold(p.Path, id) }); found != nil {
		return found, false
	}
	if s.settings.release == Release135 {
		return nil, false
	}
	found = s.projectLocked(func(p *Project) bool {
		for _, former := range p.FormerPaths {
			if strings.EqualFold(former, id) {
				return true
			}
		}
		return false
	})
	return found, found != nil
}

func (s *Server) projectLocked(matches func(*Project) bool) *Project {
	for _, p := range s.projects {
		if matches(p) && !p.PendingDeletion {
			return p
		}
	}
	return nil
}

var (
	// In Ruby, ^ and $ are the ends of a line, not of the text.
	numericID    = regexp.MustCompile(`(?m)^-?\d+$`)
	numericID135 = regexp.MustCompile(`(?m)^\d+$`)
)

func (c settings) isNumeric(id string) bool {
	if c.release == Release135 {
		return numericID135.MatchString(id)
	}
	return numericID.MatchString(id)
}

// leadingInteger is Ruby's String#to_i, by which the database layer casts an id: blanks, a sign, digits, and whatever
// follows is ignored. Without digits it is 0, which no project has.
func leadingInteger(text string) int {
	text = strings.TrimLeft(text, " \t\n\v\f\r")
	end := 0
	if end < len(text) && (text[end] == '-' || text[end] == '+') {
		end++
	}
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	number, err := strconv.Atoi(text[:end])
	if err != nil {
		return 0
	}
	return number
}

// lets reports whether the project's address list lets a client in.
func (p *Project) lets(client netip.Addr) bool {
	if len(p.AllowedIPs) == 0 {
		return true
	}
	for _, allowed := range p.AllowedIPs {
		if network, err := netip.ParsePrefix(allowed); err == nil && network.Contains(client) {
			return true
		}
		if address, err := netip.ParseAddr(allowed); err == nil && address == client {
			return true
		}
	}
	return false
}

// registryIsPublic reports whether everybody may download, which spares job tokens their policies.
func (p *Project) registryIsPublic() bool {
	return !p.RegistryOff && (p.Visibility == Public || p.RegistryPublic)
}

func (p *Project) allowsDuplicates(name, version string) bool {
	if p.DuplicateException != "" {
		exception, err := regexp.Compile(`\A(?:` + p.DuplicateException + `)\z`)
		if err == nil && (exception.MatchString(name) || exception.MatchString(version)) {
			return p.NoDuplicates
		}
	}
	return !p.NoDuplicates
}

func (p *Project) protects(name string) bool {
	for _, pattern := range p.ProtectedPackages {
		if matched, err := path.Match(pattern, name); err == nil && matched {
			return true
		}
	}
	return false
}
