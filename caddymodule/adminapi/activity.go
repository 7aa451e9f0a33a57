package adminapi

import "time"

// Activity is the answer to GET activity: what the edge is doing now. Each list has at most MaxActivity.
type Activity struct {
	// Fills are files on their way into the store of which GitLab has said yes to somebody, the oldest first. What streams through to
	// one caller and isn't kept is none. FillsTotal is how many there are.
	Fills      []FillStatus `json:"fills"`
	FillsTotal int          `json:"fills_total"`
	// Uploads are those that pass, the oldest first. UploadsTotal is how many there are. Of a project to which GitLab has said yes to
	// nobody since the start, neither to who wanted to read a file nor to an upload, only the number is told.
	Uploads      []UploadStatus `json:"uploads"`
	UploadsTotal int            `json:"uploads_total"`
	// Warmings are those that run, and the last that are over, the newest first; Verifications one for each directory.
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
	// Bytes is how much is here, of Size, which is null where nobody has told it.
	Bytes int64  `json:"bytes"`
	Size  *int64 `json:"size"`
	// From is FromGitLab, FromObjectStorage or FromSharedStore: where the bytes come from now, which may not be where the first ones did.
	From string `json:"from"`
	// Connections is by how many of them the bytes come (fetch_connections).
	Connections int `json:"connections"`
	// Callers is how many are sent the file as it comes; none of a warming's.
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
	// Bytes is how much has gone to GitLab, of Size, which is null where the caller hasn't told it.
	Bytes int64     `json:"bytes"`
	Size  *int64    `json:"size"`
	Begun time.Time `json:"begun"`
}
