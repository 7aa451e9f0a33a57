package adminapi

// Build is what a program with the edge in it was built from.
type Build struct {
	// Version is that of the edge's module, such as "v1.2.3"; "(devel)" where the build doesn't say, as one from a checkout
	// whose history isn't there.
	Version string `json:"version"`
	// Commit is the edge's commit: all of its hash for a build from a checkout, the first 12 digits for one by xcaddy. It is
	// missing where the build doesn't say. Modified says that the checkout had changes that weren't committed.
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	// Caddy and Go are their versions, such as "v2.11.9" and "go1.26.0".
	Caddy string `json:"caddy"`
	Go    string `json:"go"`
}
