package adminapi

import "time"

// Activity is the answer to GET activity: what the edge is doing now. Each list has at most MaxActivity, the oldest first; the
// counts beside it are of all.
type Activity struct {
	// Fills are files on their way in of which GitLab has said yes to somebody; FillsTotal is how many there are.
	Fills      []FillStatus `json:"fills"`
	FillsTotal int          `json:"fills_total"`
	// Uploads are those that pass. Of a project to which nobody held a yes only the number is told: UploadsTotal has them too.
	Uploads      []UploadStatus `json:"uploads"`
	UploadsTotal int            `json:"uploads_total"`
	// Warmings are those that run, and the last that are over; Verifications one for each directory.
	Warmings      []WarmingStatus      `json:"warmings"`
	Verifications []VerificationStatus `json:"verifications"`
}

// MaxActivity bounds each list of Activity.
const MaxActivity = 50

// Where a fill's bytes come from.
const (
	FromGitLab        = "gitlab"
	FromObjectStorage = "object storage"
	FromSharedStore   = "shared store"
)

// FillStatus is one file on its way in.
type FillStatus struct {
	Directory string `json:"directory"`
	Upstream  string `json:"upstream"`
	Project   string `json:"project"`
	Package   string `json:"package"`
	Version   string `json:"version"`
	File      string `json:"file"`
	// Bytes is how much is here, of Size; null where nobody has told the size.
	Bytes int64  `json:"bytes"`
	Size  *int64 `json:"size"`
	// From is FromGitLab, FromObjectStorage or FromSharedStore.
	From string `json:"from"`
	// Callers is how many are served from it now.
	Callers int       `json:"callers"`
	Begun   time.Time `json:"begun"`
}

// UploadStatus is one upload that passes.
type UploadStatus struct {
	Upstream string `json:"upstream"`
	Project  string `json:"project"`
	Package  string `json:"package"`
	Version  string `json:"version"`
	File     string `json:"file"`
	// Bytes is how much has passed, of Size; null where the caller hasn't told it.
	Bytes int64     `json:"bytes"`
	Size  *int64    `json:"size"`
	Begun time.Time `json:"begun"`
}
