package upstream

import (
	"context"
	"io"
)

// TakeFrom gives up the present answer's body, and reads the rest of the file from elsewhere: from a place that has these very bytes
// and isn't GitLab. Where that breaks off, or stands still, GitLab is asked at once for what is missing, as after any break. body
// must begin at Offset, and end with io.EOF only when all has come; what it brings is compared with nothing here, so that only who
// compares the whole file's sum may do this. Call it before the first Read.
func (d *Download) TakeFrom(body io.ReadCloser) {
	d.closeBody()
	d.body, d.isElsewhere, d.cameFromElsewhere = body, true, true
}

// IsElsewheres reports whether all that was read so far came from elsewhere than GitLab.
func (d *Download) IsElsewheres() bool { return d.cameFromElsewhere && d.isElsewhere }

// CameFromElsewhere reports whether something may have come from elsewhere than GitLab.
func (d *Download) CameFromElsewhere() bool { return d.cameFromElsewhere }

// Elsewhere is the download of a file that GitLab has named to the caller by answer, whose bytes come from elsewhere (TakeFrom), and
// of which GitLab itself was asked for no body. size is the file's.
func (c *Client) Elsewhere(ctx context.Context, caller Caller, ref Ref, answer Answer, size int64, body io.ReadCloser) *Download {
	d := c.remainderOf(ctx, caller, ref, 0, answer.Identity)
	d.Sent, d.Disposition, d.Length = answer.Sent, answer.Disposition, size
	d.TakeFrom(body)
	return d
}
