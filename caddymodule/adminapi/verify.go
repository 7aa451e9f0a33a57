package adminapi

import "time"

// VerificationStatus tells how far the verification of one directory is.
type VerificationStatus struct {
	Directory string `json:"directory"`
	Running   bool   `json:"running"`
	// Begun is missing if there was none since the start, Ended while it runs.
	Begun *time.Time `json:"begun,omitempty"`
	Ended *time.Time `json:"ended,omitempty"`
	// Entries is how many were looked at, of Total; Bytes how many were read, of about TotalBytes.
	Entries    int   `json:"entries"`
	Total      int   `json:"total"`
	Bytes      int64 `json:"bytes"`
	TotalBytes int64 `json:"total_bytes"`
	// Files is how many were read, Damaged how many of them were wrong, short or gone, and were removed. Known at the end.
	Files   int `json:"files"`
	Damaged int `json:"damaged"`
	// Error says why it didn't come to its end.
	Error string `json:"error,omitempty"`
}

// VerificationList is the answer to all calls about verifications.
type VerificationList struct {
	Verifications []VerificationStatus `json:"verifications"`
}
