package bucket

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// identityTimeout bounds a question to whoever gives the machine, the container or the pod its identity.
const identityTimeout = 10 * time.Second

// keysOf returns the keys that the config names, or else those that the usual places give, in this order: the environment
// (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), the shared credentials file (AWS_SHARED_CREDENTIALS_FILE, or
// ~/.aws/credentials, profile AWS_PROFILE), and the identity of the pod (AWS_WEB_IDENTITY_TOKEN_FILE, or EKS Pod Identity), of the
// container, or of the machine. The last three expire, and are renewed before that.
func keysOf(cfg Config) *credentials.Credentials {
	if cfg.AccessKey != "" {
		return credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, "")
	}
	// Not by the bucket's transport: a private CA or a proxy for the bucket has nothing to do with who gives identities.
	client := &http.Client{Timeout: identityTimeout, Transport: &http.Transport{DisableKeepAlives: true, Proxy: proxyOf}}
	return credentials.New(&firstKeys{places: []credentials.Provider{
		new(credentials.EnvAWS), new(credentials.FileAWSCredentials), &credentials.IAM{Client: client, Region: cfg.Region},
	}})
}

// errNoKeys says that no place has keys.
var errNoKeys = errors.New("there are no keys to the bucket: neither in the config, nor in the environment, nor in the shared credentials file, and whoever gives the pod, the container or the machine its identity gave none")

// firstKeys are the keys of the first place that has any. Unlike minio-go's chain it says so when none has, and sends no request without
// a signature then, which the storage would only call forbidden. Credentials guards it.
type firstKeys struct {
	places []credentials.Provider
	// found is where they were found; nil for nowhere.
	found credentials.Provider
}

// RetrieveWithCredContext implements credentials.Provider.
func (f *firstKeys) RetrieveWithCredContext(asked *credentials.CredContext) (credentials.Value, error) {
	f.found = nil
	var last error
	for _, place := range f.places {
		keys, err := place.RetrieveWithCredContext(asked)
		if err == nil && keys.AccessKeyID != "" && keys.SecretAccessKey != "" {
			f.found = place
			return keys, nil
		}
		last = err
	}
	if last == nil {
		return credentials.Value{}, errNoKeys
	}
	return credentials.Value{}, fmt.Errorf("%w: %w", errNoKeys, last)
}

// Retrieve implements credentials.Provider.
func (f *firstKeys) Retrieve() (credentials.Value, error) { return f.RetrieveWithCredContext(nil) }

// IsExpired implements credentials.Provider.
func (f *firstKeys) IsExpired() bool { return f.found == nil || f.found.IsExpired() }

// proxyOf is the environment's proxy, but for who answers on this machine or its link alone.
func proxyOf(request *http.Request) (*url.URL, error) {
	if address, err := netip.ParseAddr(request.URL.Hostname()); err == nil && (address.IsLinkLocalUnicast() || address.IsLoopback()) {
		return nil, nil //nolint:nilnil // what http.Transport.Proxy returns for none
	}
	return http.ProxyFromEnvironment(request)
}
