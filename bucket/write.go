package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/minio/minio-go/v7"
)

const (
	// maxSinglePut is what one PUT holds at most (AWS's PutObject). Larger files go in parts.
	maxSinglePut = 5 << 30
	// leastPart is a part's size, as long as that makes no more than maxParts of them.
	leastPart = 64 << 20
	maxParts  = 10_000
	// abortPatience is how long a stop may wait for the parts of an upload to be given up.
	abortPatience = 2 * time.Second
)

// Put writes bytes under their sum, unless they are there already and young enough for the bucket's life-cycle rule; it reports
// whether it wrote them, and when the object was written last. open returns the bytes from their beginning; it isn't called if they
// are there.
//
// ErrDamagedFile: the bytes aren't those of the sum, and nothing was written. ErrResting and a *TroubleError are those of Open.
func (b *Bucket) Put(ctx context.Context, content Content, open func() (io.ReadCloser, error)) (wrote bool, written time.Time, err error) {
	name := b.BlobName(content.SHA256)
	type result struct {
		wrote   bool
		written time.Time
	}
	got, err := exchange(ctx, b, &b.memory.writing, "writing an object", b.cfg.Patience, func(ctx context.Context, alive func()) (result, error) {
		present, err := b.isPresent(ctx, name, content)
		if err != nil || !present.IsZero() {
			return result{written: present}, err
		}
		opened, err := open()
		if err != nil {
			return result{}, fmt.Errorf("%w: %w", errSource, err)
		}
		source := newChecked(opened, content, alive)
		defer source.close()
		if err := b.put(ctx, name, source, content, alive); err != nil {
			return result{}, err
		}
		b.memory.wrong.forget(content.SHA256)
		return result{true, time.Now()}, nil
	})
	if err == nil {
		b.memory.absent.forget(name)
	}
	return got.wrote, got.written, err
}

// isPresent returns when the object was written, if it needn't be written anew: the zero time else.
func (b *Bucket) isPresent(ctx context.Context, name string, content Content) (time.Time, error) {
	info, err := b.core.StatObject(ctx, b.cfg.Name, name, minio.StatObjectOptions{})
	if err != nil {
		if err := b.classified(ctx, ctx, "looking for an object", b.inWords(ctx, name, err)); !errors.Is(err, ErrAbsent) {
			return time.Time{}, err
		}
		return time.Time{}, nil
	}
	if info.Size != content.Size || b.memory.wrong.has(content.SHA256) || !b.isYoung(info.LastModified) {
		return time.Time{}, nil
	}
	return info.LastModified, nil
}

// inWords returns why a HEAD was refused. Its answer has no body, and so no code: a GET of one byte is refused with the same status, and
// says whether it is the key, the clock, expired credentials, or too many requests.
func (b *Bucket) inWords(ctx context.Context, name string, refused error) error {
	silent, ok := errors.AsType[minio.ErrorResponse](refused)
	if !ok || !slices.Contains(silentStatuses, silent.StatusCode) {
		return refused
	}
	var options minio.GetObjectOptions
	if err := options.SetRange(0, 0); err != nil {
		return refused
	}
	body, _, _, err := b.core.GetObject(ctx, b.cfg.Name, name, options)
	if err == nil {
		_ = body.Close()
		return refused
	}
	if told, ok := errors.AsType[minio.ErrorResponse](err); ok && told.StatusCode == silent.StatusCode {
		return err
	}
	return refused
}

// silentStatuses are those of answers whose codes matter.
var silentStatuses = []int{
	http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable,
}

// isYoung reports whether an object needn't be written anew yet.
func (b *Bucket) isYoung(written time.Time) bool { return time.Since(written) < b.cfg.Refresh }

const blobType = "application/octet-stream"

func (b *Bucket) put(ctx context.Context, name string, source *checked, content Content, alive func()) error {
	if content.Size > b.singlePut {
		return b.putInParts(ctx, name, source, content.Size, alive)
	}
	// The sum is signed, so that the storage compares it as well. Without DisableContentSha256, and without TLS, minio-go signs
	// pieces of the body instead, and leaves the sum out.
	_, err := b.core.PutObject(ctx, b.cfg.Name, name, source, content.Size, "", content.SHA256.String(),
		minio.PutObjectOptions{ContentType: blobType, DisableContentSha256: true})
	return err
}

// putInParts writes a large file. It is there only once all of its parts are, and its sum was right: else they are given up.
func (b *Bucket) putInParts(ctx context.Context, name string, source *checked, size int64, alive func()) error {
	upload, err := b.core.NewMultipartUpload(ctx, b.cfg.Name, name, minio.PutObjectOptions{ContentType: blobType})
	if err != nil {
		return err
	}
	err = b.putParts(ctx, name, upload, source, size, alive)
	if err != nil {
		// What is left of it costs money until somebody aborts it. The caller may have left, and this must not.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortPatience)
		defer cancel()
		_ = b.core.AbortMultipartUpload(last, b.cfg.Name, name, upload) // else the bucket's own rule does
	}
	return err
}

func (b *Bucket) putParts(ctx context.Context, name, upload string, source *checked, size int64, alive func()) error {
	length := partSize(size, b.least)
	var parts []minio.CompletePart
	for number, from := 1, int64(0); from < size; number, from = number+1, from+length {
		part, err := b.core.PutObjectPart(ctx, b.cfg.Name, name, upload, number, io.LimitReader(source, length), min(length, size-from),
			minio.PutObjectPartOptions{DisableContentSha256: true}) // the whole file's sum is compared, by source
		if err != nil {
			return err
		}
		parts = append(parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
		alive()
	}
	_, err := b.core.CompleteMultipartUpload(ctx, b.cfg.Name, name, upload, parts, minio.PutObjectOptions{ContentType: blobType})
	return err
}

// partSize is how large the parts of a file are, in whole MiB.
func partSize(size, least int64) int64 {
	const mebibyte = 1 << 20
	if size <= least*maxParts {
		return least
	}
	return max(least, (size/maxParts/mebibyte+1)*mebibyte)
}
