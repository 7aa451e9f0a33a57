package adminapi

import (
	"errors"
	"fmt"
)

// PurgeRequest is the body of POST purge. It names a project, and from the left to the right as much more as it is to be
// about; or all. A field that is missing at the right end means all of it; an empty one, or null, is refused.
type PurgeRequest struct {
	// Upstream restricts the purge to one GitLab; all if it is left out. It may be one that no handler stands in front of any more.
	Upstream string `json:"upstream,omitempty"`
	Project  string `json:"project,omitempty"`
	Package  string `json:"package,omitempty"`
	Version  string `json:"version,omitempty"`
	File     string `json:"file,omitempty"`
	// All purges everything. It must be said, so that a forgotten field doesn't.
	All bool `json:"all,omitempty"`
	// Soft marks files as stale instead of removing them: GitLab is asked before they are served again.
	Soft bool `json:"soft,omitempty"`
	// Grants forgets whom GitLab allowed what, of a project or of all, instead of removing files: each caller is asked
	// about anew.
	Grants bool `json:"grants,omitempty"`
	// DryRun changes nothing: the answer tells what the call would have removed, marked or forgotten. Files on their way in, which a purge
	// keeps from being stored, are in neither answer.
	DryRun bool `json:"dry_run,omitempty"`
}

// Check returns an error if it isn't clear what is to be purged.
func (p PurgeRequest) Check() error {
	if err := checkSelection("purged", p.All, p.Project, p.Package, p.Version, p.File); err != nil {
		return err
	}
	if p.Grants && (p.Soft || p.Package != "") {
		return errors.New("grants are those of a project or of all, and can't be soft")
	}
	return nil
}

// checkSelection returns an error if it isn't clear which files are to be purged or unpinned.
func checkSelection(what string, all bool, project, pkg, version, file string) error {
	switch {
	case all && project+pkg+version+file != "":
		return errors.New("either all, or a project; not both")
	case !all && project == "":
		return fmt.Errorf("what is to be %s? Name a project, and its package, version and file if you like; or say all", what)
	case pkg == "" && version+file != "", version == "" && file != "":
		return errors.New("a version needs its package, and a file its version")
	}
	return nil
}

// PurgeAnswer is the answer to POST purge: how many entries were removed or marked, how many bytes became free, and how many grants
// were forgotten; of a dry run, all that would have been.
type PurgeAnswer struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"`
	// HeldBytes aren't free yet: downloads still read them, the disk doesn't remove them now, or the start's work isn't over.
	// They become free by themselves.
	HeldBytes int64 `json:"held_bytes,omitempty"`
	Grants    int   `json:"grants"`
	// SharedObjects are the objects of the shared store that may still have the bytes of what was removed, each by its s3:// URL: no
	// edge deletes any. They are 10,000 at most; FurtherSharedObjects is how many more there may be.
	SharedObjects        []string `json:"shared_objects,omitempty"`
	FurtherSharedObjects int      `json:"further_shared_objects,omitempty"`
	// Names are the other names of the project that were known; what is stored by them is gone, too. Warning says what may
	// be stored by names that aren't known, and stays.
	Names   []string `json:"names,omitempty"`
	Warning string   `json:"warning,omitempty"`
}
