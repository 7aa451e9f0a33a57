package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// Config says which bucket it is, and how it is asked. Zero values are the defaults, where there are any.
type Config struct {
	// Endpoint is the storage's URL, without a path; AWS by default.
	Endpoint *url.URL
	// Name is the bucket's. Prefix is what all objects' names begin with, without slashes at its ends; empty for none.
	Name, Prefix string
	// Region is what requests are signed for; us-east-1 by default, which storages that know no regions take as well.
	Region string
	// AccessKey and SecretKey are the keys to the bucket. Without them the usual places are looked at: the environment, the shared
	// credentials file, and the identity that the machine, the container or the pod has.
	AccessKey, SecretKey string
	// Secret is what only the edges know that share the bucket. Without it locations are neither read nor written.
	Secret string
	// Transport carries the requests.
	Transport http.RoundTripper
	// FirstByte is how long the head of an object is waited for, and then each of its next 16 KiB; 500 ms by default.
	FirstByte time.Duration
	// Patience is how long anything is waited for that nobody waits for; a minute by default.
	Patience time.Duration
	// Refresh is how old an object must be to be written anew, and how long one isn't read again that had wrong bytes; 14 days by
	// default.
	Refresh time.Duration
}

const (
	defaultRegion    = "us-east-1"
	awsHost          = "s3.amazonaws.com"
	defaultFirstByte = 500 * time.Millisecond
	defaultPatience  = time.Minute
	// DefaultRefresh is Config.Refresh's.
	DefaultRefresh = 14 * 24 * time.Hour
)

// Bucket is one bucket that edges share. Safe for concurrent use.
type Bucket struct {
	cfg    Config
	core   *minio.Core
	keys   *credentials.Credentials
	seal   *seal // nil without a secret
	memory *Memory
	// singlePut is maxSinglePut, and least leastPart, but for tests.
	singlePut, least int64
	// renewing says that somebody has the keys renewed.
	renewing atomic.Bool
	// skew is how far the storage's clock was ahead of ours when it last answered, in nanoseconds.
	skew atomic.Int64
}

// New makes a bucket of its settings. It asks nothing.
func New(cfg Config) (*Bucket, error) {
	if cfg.Transport == nil {
		return nil, errors.New("a bucket needs a transport")
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	b := &Bucket{cfg: cfg, memory: NewMemory(), singlePut: maxSinglePut, least: leastPart}
	if cfg.Secret != "" {
		sealed, err := newSeal(cfg.Secret)
		if err != nil {
			return nil, err
		}
		b.seal = sealed
	}
	transport := noting{cfg.Transport, b}
	b.keys = keysOf(cfg)
	core, err := minio.NewCore(cfg.Endpoint.Host, &minio.Options{
		Creds: b.keys, Secure: cfg.Endpoint.Scheme == "https", Transport: transport, Region: cfg.Region,
		// A request is tried once: trouble has its own pauses (health.go), and nobody waits for a second try.
		MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("the endpoint of the bucket: %w", err)
	}
	core.SetAppInfo("gitlab-packages-edge", "1")
	b.core = core
	return b, nil
}

func (c Config) withDefaults() Config {
	c.Region = cmp.Or(c.Region, defaultRegion)
	c.FirstByte = cmp.Or(c.FirstByte, defaultFirstByte)
	c.Patience = cmp.Or(c.Patience, defaultPatience)
	c.Refresh = cmp.Or(c.Refresh, DefaultRefresh)
	if c.Endpoint == nil {
		c.Endpoint = &url.URL{Scheme: "https", Host: awsHost}
	}
	return c
}

// Check says what is wrong with the settings. The transport may be missing yet.
func (c Config) Check() error {
	c = c.withDefaults()
	switch {
	case c.Endpoint.Scheme != "http" && c.Endpoint.Scheme != "https", c.Endpoint.Host == "", strings.Trim(c.Endpoint.Path, "/") != "",
		c.Endpoint.RawQuery != "", c.Endpoint.User != nil:
		return errors.New("the endpoint of the bucket must be a URL such as https://minio.example.com, without a path")
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return errors.New("access_key and secret_key belong together")
	case c.Secret != "" && len(c.Secret) < leastSecret:
		return fmt.Errorf("secret must have at least %d characters, such as those of: openssl rand -hex 32", leastSecret)
	case c.FirstByte < 0, c.Patience < 0, c.Refresh < 0:
		return errors.New("the bucket's times must not be negative")
	}
	if err := s3utils.CheckValidBucketNameStrict(c.Name); err != nil {
		return fmt.Errorf("the bucket's name %q: %w", c.Name, err)
	}
	if err := checkPrefix(c.Prefix); err != nil {
		return fmt.Errorf("the prefix %q: %w", c.Prefix, err)
	}
	return nil
}

// String names the bucket as people do: s3://name/prefix.
func (b *Bucket) String() string { return "s3://" + path.Join(b.cfg.Name, b.cfg.Prefix) }

// Endpoint is the storage's URL.
func (b *Bucket) Endpoint() string { return b.cfg.Endpoint.Scheme + "://" + b.cfg.Endpoint.Host }

// HasSecret reports whether locations can be read and written.
func (b *Bucket) HasSecret() bool { return b.seal != nil }

// FirstByte is how long the head of an object is waited for by whom others wait for.
func (b *Bucket) FirstByte() time.Duration { return b.cfg.FirstByte }

// UseMemory has the bucket use what is known of it already, by another Bucket for the same one. Call it before all else.
func (b *Bucket) UseMemory(memory *Memory) { b.memory = memory }

// State is how the bucket is now.
func (b *Bucket) State() State { return b.memory.State() }

// Refresh is how old an object must be to be written anew.
func (b *Bucket) Refresh() time.Duration { return b.cfg.Refresh }

// noting notes the storage's clock.
type noting struct {
	next   http.RoundTripper
	bucket *Bucket
}

// RoundTrip implements http.RoundTripper.
func (t noting) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err == nil {
		if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			t.bucket.skew.Store(int64(time.Until(date)))
		}
	}
	return response, err
}

// errStandsStill is why a request ended that brought nothing for too long.
var errStandsStill = errors.New("the bucket brings nothing")

// patiently runs one exchange with the bucket in a context that ends, with errStandsStill, when first has passed, or as much since the
// last call of alive as that has said, unless rest was called since.
func patiently(ctx context.Context, first time.Duration) (patient context.Context, alive func(time.Duration), rest func(), end context.CancelCauseFunc) {
	patient, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(first, func() { cancel(errStandsStill) })
	return patient, func(next time.Duration) { timer.Reset(next) }, func() { timer.Stop() }, func(cause error) {
		timer.Stop()
		cancel(cause)
	}
}
