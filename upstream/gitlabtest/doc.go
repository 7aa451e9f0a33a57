// Package gitlabtest is a stand-in for GitLab's Generic Packages Repository and its object storage, for tests and for
// the demonstration. It is GitLab's side as its sources, specs and documentation show it, read without a look at the
// edge: what the two agree on, they agree on by the contract. It doesn't use package upstream, nor package testing.
//
//	gitlab := gitlabtest.New()
//	defer gitlab.Close()
//	gitlab.AddProject(gitlabtest.Project{ID: 24, Path: "group/app"})
//	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: "glpat-x", Username: "dev",
//		Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}})
//	gitlab.Publish(24, "pkg", "1.0.0", "app.bin", []byte("bytes"))
//	// GET gitlab.URL + "/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin" with PRIVATE-TOKEN: glpat-x
//
// The world is changed by the methods of [Server] while it runs: how files are given out by SetMode and SetChecksums,
// trouble by [Server.Inject], an outage by SetDown, time by SetClock. [Server.Requests] tells what was asked, and
// [Server.Await] waits for it without sleeping. Files of any size cost no memory: see [Generated].
//
// One request goes through these files: log.go notes it, faults.go may spoil it, route.go finds what it names,
// screen.go and override.go do what GitLab's middleware does, authenticate.go and authorize.go say who asks and what they may, and
// download.go, publish.go, api.go or web.go answer. storage.go is the object storage, on an address of its own,
// and sums.go what it names of its objects.
//
// What it doesn't do: it checks no proof of possession (a DPoP header is compared with the one expected), knows no
// composite identities of job tokens, and counts no requests for rate limits (a [Fault] with status 429 is one).
package gitlabtest
