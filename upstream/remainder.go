package upstream

import (
	"context"
	"time"
)

// Progress is how far a download has come whose body broke off: what FetchRemainder needs to go on. It is for one use.
type Progress struct {
	identity    Identity
	disposition string
	offset      int64
	sum         sum
	summing     *summing
}

// Progress returns how far the download has come. It is over then: nothing may be read of it any more.
func (d *Download) Progress() Progress {
	return Progress{d.Identity, d.Disposition, d.offset, d.sum, d.summing}
}

// Offset is how many bytes have come, from the file's first on.
func (p Progress) Offset() int64 { return p.offset }

// IsExact reports whether the content was named by more than its time and length.
func (p Progress) IsExact() bool {
	return p.identity.SHA256 != "" || p.identity.Location != "" || p.identity.ETag != ""
}

// FetchRemainder is FetchFrom for bytes that others were given, and that were kept when their fetch came to nothing. GitLab must name
// the same content to this caller by its SHA-256, its storage location or a strong entity tag: time and length prove nothing. A
// sum that the storage named of the whole file holds for all of it.
//
// Where the server knows no ranges, all of the file comes (Offset 0): skipping what is kept would keep everybody waiting.
func (c *Client) FetchRemainder(ctx context.Context, caller Caller, ref Ref, progress Progress) (*Download, error) {
	exact := progress.identity
	exact.LastModified, exact.Settled = time.Time{}, false
	d := c.remainderOf(ctx, caller, ref, progress.offset, exact)
	d.takesAll = true
	if err := d.reopen(); err != nil {
		return nil, err
	}
	d.Identity, d.sum, d.takesAll = progress.identity, progress.sum, false
	if d.offset > 0 {
		d.summing, d.Resumed = progress.summing, 1
	}
	if d.Disposition == "" {
		d.Disposition = progress.disposition
	}
	return d, nil
}

// Offset is which byte of the file comes next, from 0 on.
func (d *Download) Offset() int64 { return d.offset }
