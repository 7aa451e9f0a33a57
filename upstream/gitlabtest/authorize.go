package gitlabtest

import (
	"net/http"
	"slices"
)

// mayRead judges a download (lib/api/generic_packages.rb: get). The order is GitLab's.
func (a actor) mayRead(p *Project) *refusal {
	switch {
	case p == nil:
		return a.hidden()
	case !a.readsPackages(p):
		if a.readsProject(p) {
			return forbidden
		}
		return a.hidden()
	case a.isJob() && !p.registryIsPublic() && !p.grants(a.job, ReadPackages):
		return lacksPolicy(p, ReadPackages)
	}
	return nil
}

// mayPublish judges an upload.
func (a actor) mayPublish(p *Project) *refusal {
	switch {
	case p == nil || !a.readsProject(p):
		return a.hidden()
	case a.isJob() && !p.grants(a.job, AdminPackages):
		return lacksPolicy(p, AdminPackages)
	case p.RegistryOff || !a.publishes(p):
		return forbidden
	}
	return nil
}

// hidden is the answer about a project that isn't there, or isn't for the caller: nobody gets a challenge, everybody
// else a 404 (lib/api/helpers/packages/basic_auth_helpers.rb: unauthorized_or!).
func (a actor) hidden() *refusal {
	if a.isAnonymous() {
		return unauthorized
	}
	return notFound
}

func lacksPolicy(p *Project, policy string) *refusal {
	return message(http.StatusForbidden,
		"403 Forbidden - Insufficient permissions to access this resource in project "+p.Path+". The following token permissions are required: "+policy+".")
}

func (a actor) isJob() bool { return a.job != nil }

// readsProject reports whether the project is there for the caller at all.
func (a actor) readsProject(p *Project) bool {
	switch {
	case !p.lets(a.client):
		return false
	case p.Visibility == Public:
		return true
	case a.deploy != nil:
		return a.role(p.ID) > NoRole && a.deploy.hasScope("read_package_registry", "write_package_registry")
	case p.Visibility == Internal && !a.isAnonymous():
		return true
	case a.isJob() && !p.letsJobsOf(a.job):
		return false
	default:
		return a.isAdmin() || a.role(p.ID) >= Guest
	}
}

// readsPackages reports whether the caller may download. A registry that is open to everyone is so in a private project
// too (app/policies/packages/policies/project_policy.rb).
func (a actor) readsPackages(p *Project) bool {
	if p.RegistryOff {
		return false
	}
	return a.readsProject(p) || (p.RegistryPublic && p.lets(a.client))
}

func (a actor) publishes(p *Project) bool {
	if a.deploy != nil {
		return a.role(p.ID) > NoRole && a.deploy.hasScope("write_package_registry")
	}
	if a.isJob() && !p.letsJobsOf(a.job) {
		return false
	}
	return a.isAdmin() || a.role(p.ID) >= Developer
}

// maintains reports whether the caller may delete packages and publish protected ones.
func (a actor) maintains(p *Project) bool {
	return a.deploy == nil && (!a.isJob() || p.letsJobsOf(a.job)) && (a.isAdmin() || a.role(p.ID) >= Maintainer)
}

// letsJobsOf reports whether the project's allow-list names the project that a job runs in.
func (p *Project) letsJobsOf(job *Token) bool {
	_, listed := p.JobTokenAccess[job.Project]
	return job.Project == 0 || job.Project == p.ID || listed
}

// grants reports whether jobs of a project may do what a policy is for.
func (p *Project) grants(job *Token, policy string) bool {
	policies := p.JobTokenAccess[job.Project]
	if job.Project == 0 || job.Project == p.ID || len(policies) == 0 {
		return true
	}
	// Who may administer may read.
	return slices.Contains(policies, policy) || (policy == ReadPackages && slices.Contains(policies, AdminPackages))
}
