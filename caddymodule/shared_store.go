package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/bucket"
)

// SharedStore is a bucket of an object storage with the S3 API, by which edges share the bytes of files. It holds bytes by their
// SHA-256, and neither names nor rights: who may have a file is GitLab's word alone, as without it. While it can't be used, the edge
// is what it is without it.
type SharedStore struct {
	// The bucket, and what the names of all objects in it begin with: s3://name or s3://name/prefix. Required.
	URL string `json:"url,omitempty"`

	// The storage's URL, such as https://minio.example.com. Default: AWS, https://s3.amazonaws.com.
	Endpoint string `json:"endpoint,omitempty"`

	// The region that requests are signed for. Default: us-east-1, which storages without regions take as well.
	Region string `json:"region,omitempty"`

	// The keys to the bucket. Default: those of the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), of the shared
	// credentials file, or of the identity that the pod, the container or the machine has.
	AccessKey string `json:"access_key,omitempty"`
	SecretKey string `json:"secret_key,omitempty"`

	// What only the edges know that share the bucket, at least 16 characters. It is needed where GitLab redirects to its object
	// storage, and so names no checksums: what the edges tell each other of a location is sealed with it. Default: none, and then
	// files of such a GitLab are written to the bucket and not read from it.
	Secret string `json:"secret,omitempty"`

	// Smaller files aren't shared: they cost a request each. Default: 64 KiB.
	MinSize *int64 `json:"min_size,omitempty"`

	// "both" (the default), "read" or "write".
	Direction string `json:"direction,omitempty"`

	// How long a caller waits for the bucket before the file comes from GitLab, and then for each of its next 16 KiB. Default: 500ms.
	FirstByte caddy.Duration `json:"first_byte,omitempty"`

	// How old an object must be to be written anew while its file is in use: less than what the bucket's life-cycle rule allows.
	// An object with wrong bytes isn't read again that long, or until it was written anew. Default: 14d.
	Refresh caddy.Duration `json:"refresh,omitempty"`

	// How the edge connects to the bucket: Caddy's HTTP transport, as for GitLab.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`
}

// Values of SharedStore.Direction.
const (
	directionBoth  = "both"
	directionRead  = "read"
	directionWrite = "write"
)

const defaultSharedMinSize = 64 << 10

// sharedStore is a handler's way to a bucket.
type sharedStore struct {
	*bucket.Bucket

	minSize       int64
	reads, writes bool
}

// sharedSettings are what all handlers of a cache directory must agree on, comparable, and without a secret.
type sharedSettings struct {
	// url is for people; empty for no shared store.
	url string
	// all stands for all settings.
	all string
}

// config checks the settings, and returns them as the bucket takes them, but for the transport.
func (s *SharedStore) config() (config bucket.Config, err error) {
	if s.URL == "" {
		return config, errors.New("shared_store needs a bucket, such as s3://packages-edge/prefix")
	}
	location, err := url.Parse(s.URL)
	if err != nil || location.Scheme != "s3" || location.Host == "" || location.RawQuery != "" || location.Fragment != "" || location.User != nil || location.Port() != "" {
		return config, fmt.Errorf("shared_store: %q is no bucket such as s3://packages-edge/prefix; keys and the endpoint have settings of their own", s.URL)
	}
	config = bucket.Config{
		Name: location.Host, Prefix: strings.Trim(location.Path, "/"), Region: s.Region, AccessKey: s.AccessKey, SecretKey: s.SecretKey,
		Secret: s.Secret, FirstByte: time.Duration(s.FirstByte), Refresh: time.Duration(s.Refresh),
	}
	if s.Endpoint != "" {
		if config.Endpoint, err = url.Parse(s.Endpoint); err != nil {
			return config, errors.New("shared_store: the endpoint must be a URL such as https://minio.example.com")
		}
	}
	switch s.Direction {
	case "", directionBoth, directionRead, directionWrite:
	default:
		return config, fmt.Errorf("shared_store: direction is %q; it must be %s, %s or %s", s.Direction, directionBoth, directionRead, directionWrite)
	}
	if s.MinSize != nil && *s.MinSize < 0 {
		return config, errors.New("shared_store: min_size must not be negative")
	}
	if err := config.Check(); err != nil {
		return config, fmt.Errorf("shared_store: %w", err)
	}
	return config, nil
}

// withoutPlaceholders is what can be checked before placeholders are resolved: in the place of each stands something that is right.
func (s *SharedStore) withoutPlaceholders() *SharedStore {
	checked := *s
	for _, text := range []struct {
		setting *string
		right   string
	}{
		{&checked.URL, "s3://placeholder"},
		{&checked.Endpoint, "https://placeholder.invalid"},
		{&checked.Region, "placeholder"},
		{&checked.AccessKey, "placeholder"},
		{&checked.SecretKey, "placeholder"},
		{&checked.Secret, strings.Repeat("placeholder", 2)},
		{&checked.Direction, directionBoth},
	} {
		if strings.Contains(*text.setting, "{") {
			*text.setting = text.right
		}
	}
	return &checked
}

// settings are the comparable form.
func (s *SharedStore) settings() sharedSettings {
	text, err := json.Marshal(s) //nolint:gosec // G117: only its sum is kept
	if err != nil {
		text = fmt.Appendf(nil, "%v", err) // only of a transport that is no JSON, and that doesn't load
	}
	sum := sha256.Sum256(text)
	return sharedSettings{s.URL, hex.EncodeToString(sum[:])}
}

// open makes the way to the bucket, by a transport that was loaded for it.
func (s *SharedStore) open(config bucket.Config) (*sharedStore, error) {
	made, err := bucket.New(config)
	if err != nil {
		return nil, fmt.Errorf("shared_store: %w", err)
	}
	shared := &sharedStore{Bucket: made, minSize: defaultSharedMinSize, reads: s.Direction != directionWrite, writes: s.Direction != directionRead}
	if s.MinSize != nil {
		shared.minSize = *s.MinSize
	}
	return shared, nil
}

// openShared makes the handler's way to the shared store, if it has one.
func (h *Handler) openShared() error {
	if h.Cache == nil || h.Cache.SharedStore == nil {
		return nil
	}
	config, err := h.Cache.SharedStore.config()
	if err != nil {
		return err
	}
	config.Transport = h.transports.shared
	h.shared, err = h.Cache.SharedStore.open(config)
	return err
}

// isOwed reports whether a file of that size that came from GitLab, or was uploaded, is written to the shared store.
func (s *sharedStore) isOwed(size int64) bool { return s.takes(size) && s.writes }

// takes reports whether files of that size are shared; of none where there is no shared store.
func (s *sharedStore) takes(size int64) bool { return s != nil && size >= s.minSize && size > 0 }
