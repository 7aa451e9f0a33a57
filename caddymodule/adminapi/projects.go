package adminapi

import (
	"errors"
	"time"
)

// ProjectStatus is a project as the list shows it.
type ProjectStatus struct {
	Upstream string `json:"upstream"`
	// Project is the spelling that the config, an admin or the callers use; Names are its other names, as far as they are
	// known.
	Project string   `json:"project"`
	Names   []string `json:"names,omitempty"`
	// State is "on", "off", or "undecided": while the run-time switches can't be read and none are known; and where api_token is
	// set, some project is off, and GitLab hasn't said yet to which project the name belongs.
	State string `json:"state"`
	// From is "run time", "run time, for all", "config", "config's default", or "run-time switches can't be read"; Since is when
	// it was said at run time.
	From  string     `json:"from"`
	Since *time.Time `json:"since,omitempty"`
}

// ProjectList is the answer to GET projects.
type ProjectList struct {
	// Others is what holds for projects that aren't listed.
	Others   []ProjectStatus `json:"others"`
	Projects []ProjectStatus `json:"projects"`
	// Warning says that GitLab could not be asked which names belong to one project.
	Warning string `json:"warning,omitempty"`
}

// SwitchRequest is the body of POST enable, disable and reset.
type SwitchRequest struct {
	// Upstream is the GitLab; it may be left out where there is one.
	Upstream string `json:"upstream,omitempty"`
	// Project is an id or a path.
	Project string `json:"project,omitempty"`
	// All switches all projects of which nothing else was said at run time. It must be said, so that a forgotten field
	// doesn't.
	All bool `json:"all,omitempty"`
}

// Check returns an error if it isn't clear what is to be switched.
func (s SwitchRequest) Check() error {
	switch {
	case s.All && s.Project != "":
		return errors.New("either all, or a project; not both")
	case !s.All && s.Project == "":
		return errors.New("which project? Name one, or say all")
	}
	return nil
}

// SwitchAnswer is the answer to POST enable, disable and reset: what holds now.
type SwitchAnswer struct {
	ProjectStatus
	// Kept are projects that were switched by themselves at run time, and keep their state while all others are switched.
	Kept []ProjectStatus `json:"kept,omitempty"`
	// Warning says that the project may have names for which this doesn't hold, Names being those for which it does; or, of a
	// reset, that there was nothing to take back.
	Warning string `json:"warning,omitempty"`
}
