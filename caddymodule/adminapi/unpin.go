package adminapi

// UnpinRequest is the body of POST unpin. It says what is meant as PurgeRequest does.
type UnpinRequest struct {
	// Upstream restricts it to one GitLab; all if it is left out.
	Upstream string `json:"upstream,omitempty"`
	Project  string `json:"project,omitempty"`
	Package  string `json:"package,omitempty"`
	Version  string `json:"version,omitempty"`
	File     string `json:"file,omitempty"`
	// All unpins everything. It must be said, so that a forgotten field doesn't.
	All bool `json:"all,omitempty"`
}

// Check returns an error if it isn't clear what is to be unpinned.
func (u UnpinRequest) Check() error {
	return checkSelection("unpinned", u.All, u.Project, u.Package, u.Version, u.File)
}

// UnpinAnswer is the answer to POST unpin: how many pins were taken back. Names and Warning are those of PurgeAnswer.
type UnpinAnswer struct {
	Pins    int      `json:"pins"`
	Names   []string `json:"names,omitempty"`
	Warning string   `json:"warning,omitempty"`
}
