// Package gitlabtest is a stand-in for GitLab's Generic Packages Repository and its object storage, for tests and for
// the demonstration. It is GitLab's side as its sources, specs and documentation show it, read without a look at the
// edge: what the two agree on, they agree on by the contract.
//
//	gitlab := gitlabtest.New()
//	defer gitlab.Close()
//	gitlab.AddProject(gitlabtest.Project{ID: 24, Path: "group/app"})
//	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: "glpat-x", Username: "dev",
//		Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}})
//	gitlab.Publish(24, "pkg", "1.0.0", "app.bin", []byte("bytes"))
//	// GET gitlab.URL + "/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin" with PRIVATE-TOKEN: glpat-x
//
// How a file is given out is chosen by SetMode and SetChecksums, trouble by Inject, and Requests tells what was asked.
package gitlabtest
