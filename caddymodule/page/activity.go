package page

import (
	"hash/fnv"
	"strconv"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// activityView is what the edge is doing now, as lists whose rows come and go.
type activityView struct {
	Lists []moving
	// Trouble says why it can't be told; empty where it can.
	Trouble string
}

// moving is a list of things that move. Row, a template of the page, shows each of them.
type moving struct {
	Key, Title string
	// Empty is the sentence where there are none; More the one about those that aren't listed.
	Empty, More string
	// Action is the form by which a row is stopped; empty where none can be.
	Action string
	Rows   []movingRow
}

// movingRow is one thing that moves.
type movingRow struct {
	// Key tells the row from others, and stays while the thing moves.
	Key string
	// Names are what it is about, from the left to the right, ready to be shown.
	Names string
	// Where is which GitLab's, or in which directory.
	Where string
	// Progress is a part of 1, or less than 0 where nobody knows how far it is.
	Progress float64
	// Amount is how much is there, Rate how fast it comes, and Further what else there is to say.
	Amount, Rate, Further string
	// Stop names what can be stopped: a warming's id, or a verification's directory. It is empty where nothing can be.
	Stop string
}

// ProgressText is Progress as the element <progress> reads it, and ProgressSpoken as a person does.
func (r movingRow) ProgressText() string { return strconv.FormatFloat(max(0, r.Progress), 'f', 3, 64) }

// IsKnown reports whether it is known how far it is.
func (r movingRow) IsKnown() bool { return r.Progress >= 0 }

func activityOf(activity adminapi.Activity, now time.Time) activityView {
	fills := moving{Key: "fills", Title: "On their way in", Empty: "Nothing is on its way in.", More: moreText(activity.FillsTotal-len(activity.Fills), "file", "files")}
	for _, fill := range activity.Fills {
		fills.Rows = append(fills.Rows, fillRow(fill, now))
	}
	uploads := moving{Key: "uploads", Title: "Uploads passing", Empty: "No upload is passing.", More: moreText(activity.UploadsTotal-len(activity.Uploads), "upload", "uploads")}
	for _, upload := range activity.Uploads {
		uploads.Rows = append(uploads.Rows, uploadRow(upload, now))
	}
	warmings := moving{Key: "warmings", Title: "Fetched in advance", Empty: "Nothing is being fetched in advance.", Action: "warm"}
	for _, warming := range activity.Warmings {
		warmings.Rows = append(warmings.Rows, warmingRow(warming, now))
	}
	verifications := moving{Key: "verifications", Title: "Verification", Empty: "No stored file was compared with its SHA-256 since the start.", Action: "verify"}
	for _, verification := range activity.Verifications {
		if verification.Begun != nil {
			verifications.Rows = append(verifications.Rows, verificationRow(verification, now))
		}
	}
	return activityView{Lists: []moving{fills, uploads, warmings, verifications}}
}

// moreText tells of those that aren't listed.
func moreText(further int, one, many string) string {
	if further <= 0 {
		return ""
	}
	return "And " + plural(further, "more "+one, "more "+many) + "."
}

// amountText is how much is there of how much.
func amountText(bytes int64, size *int64) (text string, progress float64) {
	if size == nil {
		return sizeText(bytes), -1
	}
	if *size == 0 {
		return sizeText(0), 1
	}
	return sizeText(bytes) + " of " + sizeText(*size), min(1, float64(bytes)/float64(*size))
}

func fillRow(fill adminapi.FillStatus, now time.Time) movingRow {
	row := movingRow{
		Key:   keyOf(fill.Directory, fill.Upstream, fill.Project, fill.Package, fill.Version, fill.File),
		Names: selection(fill.Project, fill.Package, fill.Version, fill.File), Where: shortUpstream(fill.Upstream),
	}
	row.Amount, row.Progress = amountText(fill.Bytes, fill.Size)
	row.Rate = rateText(fill.Bytes, now.Sub(fill.Begun))
	row.Further = "from " + fromText(fill.From) + connectionsText(fill.Connections) + ", for " + plural(fill.Callers, "caller", "callers") + ", " + durationText(now.Sub(fill.Begun))
	return row
}

// fromText names where bytes come from.
func fromText(from string) string {
	switch from {
	case adminapi.FromGitLab:
		return "GitLab"
	case adminapi.FromObjectStorage:
		return "GitLab's object storage"
	case adminapi.FromSharedStore:
		return "the bucket"
	}
	return visible(from)
}

func uploadRow(upload adminapi.UploadStatus, now time.Time) movingRow {
	row := movingRow{
		Key:   keyOf(upload.Upstream, upload.Project, upload.Package, upload.Version, upload.File, machineTime(upload.Begun)),
		Names: selection(upload.Project, upload.Package, upload.Version, upload.File), Where: shortUpstream(upload.Upstream),
	}
	row.Amount, row.Progress = amountText(upload.Bytes, upload.Size)
	row.Rate = rateText(upload.Bytes, now.Sub(upload.Begun))
	row.Further = durationText(now.Sub(upload.Begun))
	return row
}

func warmingRow(warming adminapi.WarmingStatus, now time.Time) movingRow {
	row := movingRow{
		Key: keyOf(warming.ID), Names: selection(warming.Project, warming.Package, warming.Version), Where: shortUpstream(warming.Upstream), Progress: -1,
	}
	if warming.Running {
		row.Stop = warming.ID
	}
	done := warming.Already + warming.Fetched + warming.Failed
	if warming.Listed {
		row.Amount = countText(done) + " of " + plural(warming.Files, "file", "files") + ", " + sizeText(warming.DoneBytes) + " of " + sizeText(warming.Bytes)
		row.Progress = 1
		if warming.Bytes > 0 {
			row.Progress = min(1, float64(warming.DoneBytes)/float64(warming.Bytes))
		}
	}
	switch {
	case warming.Error != "":
		row.Further = "ended: " + visible(warming.Error)
	case warming.Running && warming.WaitsUntil != nil:
		row.Further = "waits for " + durationText(warming.WaitsUntil.Sub(now)) + ", since GitLab limits requests"
	case warming.Running && !warming.Listed:
		row.Further = "GitLab is asked which files there are"
	case warming.Running:
		row.Rate = rateText(warming.DoneBytes, now.Sub(warming.Begun))
		row.Further = plural(warming.Already, "was", "were") + " here already"
	case warming.NoRoom:
		row.Further = "stopped for want of room; " + plural(warming.Left, "file", "files") + " left"
	case warming.Failed > 0 || warming.Left > 0:
		row.Further = "over; " + plural(warming.Failed, "file", "files") + " failed, " + countText(warming.Left) + " left"
	default:
		row.Further = "done: " + countText(warming.Fetched) + " fetched, " + countText(warming.Already) + " here already"
	}
	if warming.Pinned > 0 {
		row.Further += ", " + countText(warming.Pinned) + " pinned"
	}
	if warming.Ended != nil {
		row.Further += ", " + ago(now, *warming.Ended)
	}
	return row
}

func verificationRow(verification adminapi.VerificationStatus, now time.Time) movingRow {
	row := movingRow{Key: keyOf(verification.Directory), Names: visible(verification.Directory), Progress: -1}
	if verification.Running {
		row.Stop = verification.Directory
		row.Rate = rateText(verification.Bytes, now.Sub(*verification.Begun))
	}
	row.Amount = countText(verification.Entries) + " of " + plural(verification.Total, "name", "names") + ", " + sizeText(verification.Bytes)
	if verification.TotalBytes > 0 {
		row.Progress = min(1, float64(verification.Bytes)/float64(verification.TotalBytes))
		row.Amount += " of about " + sizeText(verification.TotalBytes)
	}
	switch {
	case verification.Error != "":
		row.Further = "ended: " + visible(verification.Error)
	case verification.Running:
		row.Further = "runs for " + durationText(now.Sub(*verification.Begun))
	default:
		row.Progress = 1
		row.Further = plural(verification.Files, "file", "files") + " read, " + countText(verification.Damaged) + " damaged"
	}
	if verification.Ended != nil {
		row.Further += ", " + ago(now, *verification.Ended)
	}
	return row
}

// keyOf tells a row from others.
func keyOf(parts ...string) string {
	sum := fnv.New64a()
	for _, part := range parts {
		_, _ = sum.Write([]byte(strconv.Quote(part))) // never fails
	}
	return strconv.FormatUint(sum.Sum64(), 36)
}

// connectionsText says by how many connections a file comes, where that is more than one.
func connectionsText(count int) string {
	if count <= 1 {
		return ""
	}
	return " by " + plural(count, "connection", "connections")
}
