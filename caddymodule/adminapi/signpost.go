package adminapi

// Signpost is the answer to GET of Path itself, by which people may come who look for a page: Caddy's admin API is for programs, and
// refuses what browsers send. It is a JSON object as all answers are, so that a program that comes here by mistake understands it.
type Signpost struct {
	// Page says where the page is, in a sentence.
	Page string `json:"page"`
}
