package bucket

import (
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
	return credentials.NewChainCredentials([]credentials.Provider{
		new(credentials.EnvAWS), new(credentials.FileAWSCredentials), &credentials.IAM{Client: client, Region: cfg.Region},
	})
}

// proxyOf is the environment's proxy, but for who answers on this machine or its link alone.
func proxyOf(request *http.Request) (*url.URL, error) {
	if address, err := netip.ParseAddr(request.URL.Hostname()); err == nil && (address.IsLinkLocalUnicast() || address.IsLoopback()) {
		return nil, nil //nolint:nilnil // what http.Transport.Proxy returns for none
	}
	return http.ProxyFromEnvironment(request)
}
