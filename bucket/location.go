package bucket

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/minio/minio-go/v7"
)

// Location says what a place elsewhere held when somebody read all of it. Places are texts that mean nothing to this package.
// They may be used again for other bytes, so a location counts only for whoever sees ETag and size there now.
type Location struct {
	Content

	// ETag is the place's strong entity tag, quotes included.
	ETag string
}

// locationNote is a location as it lies in the bucket.
type locationNote struct {
	Version int    `json:"version"`
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size"`
	ETag    string `json:"etag"`
	Seal    string `json:"seal"`
}

const (
	locationVersion = 1
	// maxLocationNote bounds what is read of an object that should be a location.
	maxLocationNote = 8 << 10
)

// said is what of the note is sealed.
func (n *locationNote) said() string {
	return fmt.Sprintf("%d %s %d %s", n.Version, n.SHA256, n.Size, n.ETag)
}

// ErrNoSecret says that locations can't be used.
var ErrNoSecret = errors.New("the bucket has no secret")

// LocationOf returns what a place holds. ErrAbsent says that nobody has said so, or nobody who knows the secret. Other errors are
// those of Open.
func (b *Bucket) LocationOf(ctx context.Context, place string) (Location, error) {
	if b.seal == nil {
		return Location{}, ErrNoSecret
	}
	name := b.locationName(place)
	if b.memory.absent.has(name) {
		return Location{}, ErrAbsent
	}
	text, err := exchange(ctx, b, &b.memory.reading, "reading a location", b.cfg.FirstByte, func(ctx context.Context, _ func()) ([]byte, error) {
		text, _, err := b.readNote(ctx, name)
		return text, err
	})
	if errors.Is(err, ErrAbsent) {
		b.memory.absent.note(name, absentFor)
	}
	if err != nil {
		return Location{}, err
	}
	found, err := b.openLocation(place, text)
	if err != nil {
		b.memory.absent.note(name, absentFor)
	}
	return found, err
}

// DistrustLocation says that what a location says is wrong: it isn't asked for again for a while, and written over by whoever knows
// better.
func (b *Bucket) DistrustLocation(place string) {
	if b.seal != nil {
		b.memory.absent.note(b.locationName(place), absentFor)
	}
}

// openLocation returns ErrAbsent for what nobody said who knows the secret.
func (b *Bucket) openLocation(place string, text []byte) (Location, error) {
	var note locationNote
	if err := json.Unmarshal(text, &note); err != nil || len(text) > maxLocationNote || note.Version != locationVersion || note.Size < 0 || !b.seal.isOf(place, note.said(), note.Seal) {
		return Location{}, fmt.Errorf("%w: what is there has no seal of ours", ErrAbsent)
	}
	found := Location{Content{Size: note.Size}, note.ETag}
	if n, err := hex.Decode(found.SHA256[:], []byte(note.SHA256)); err != nil || n != len(found.SHA256) {
		return Location{}, fmt.Errorf("%w: it names no sum", ErrAbsent)
	}
	return found, nil
}

// PutLocation says what a place holds, unless the bucket says so already, and lately enough for its life-cycle rule.
func (b *Bucket) PutLocation(ctx context.Context, place string, is Location) error {
	if b.seal == nil {
		return ErrNoSecret
	}
	name := b.locationName(place)
	note := locationNote{Version: locationVersion, SHA256: is.SHA256.String(), Size: is.Size, ETag: is.ETag}
	note.Seal = b.seal.of(place, note.said())
	text, err := json.Marshal(note)
	if err != nil {
		return fmt.Errorf("writing a location: %w", err)
	}
	_, err = exchange(ctx, b, &b.memory.writing, "writing a location", b.cfg.Patience, func(ctx context.Context, _ func()) (struct{}, error) {
		if b.saysAlready(ctx, name, text) {
			return struct{}{}, nil
		}
		_, err := b.core.PutObject(ctx, b.cfg.Name, name, bytes.NewReader(text), int64(len(text)), "", sumOf(text).String(), minio.PutObjectOptions{
			ContentType: "application/json", DisableContentSha256: true, // see put
		})
		return struct{}{}, err
	})
	if err == nil {
		b.memory.absent.forget(name)
	}
	return err
}

// saysAlready reports whether a location is there as it is to be, and young enough.
func (b *Bucket) saysAlready(ctx context.Context, name string, text []byte) bool {
	present, written, err := b.readNote(ctx, name) // trouble shows when it is written
	return err == nil && bytes.Equal(present, text) && b.isYoung(written)
}

// readNote reads what should be a location, and a byte more than one has at most, and returns when it was written.
func (b *Bucket) readNote(ctx context.Context, name string) (text []byte, written time.Time, err error) {
	body, info, _, err := b.core.GetObject(ctx, b.cfg.Name, name, minio.GetObjectOptions{})
	if err != nil {
		return nil, time.Time{}, err
	}
	defer body.Close()
	text, err = io.ReadAll(io.LimitReader(body, maxLocationNote+1))
	return text, info.LastModified, err
}
