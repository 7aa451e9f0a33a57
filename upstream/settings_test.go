package upstream

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestAClientIsOnlyMadeOfWhatCanWork(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		works  bool
	}{
		"as it should be":              {func(*Config) {}, true},
		"plain http":                   {func(c *Config) { c.Base.Scheme = "http" }, true},
		"no URL":                       {func(c *Config) { c.Base = nil }, false},
		"no host":                      {func(c *Config) { c.Base.Host = "" }, false},
		"another scheme":               {func(c *Config) { c.Base.Scheme = "ftp" }, false},
		"a user":                       {func(c *Config) { c.Base.User = url.User("root") }, false},
		"a query":                      {func(c *Config) { c.Base.RawQuery = "a=b" }, false},
		"a fragment":                   {func(c *Config) { c.Base.Fragment = "a" }, false},
		"a path":                       {func(c *Config) { c.Base.Path = "/gitlab/api/for/all" }, true},
		"the URL of its API":           {func(c *Config) { c.Base.Path = "/gitlab/API//v4/" }, false},
		"a part of the API's":          {func(c *Config) { c.Base.Path = "/api" }, false},
		"a project's URL in the API":   {func(c *Config) { c.Base.Path = "/api/v4/projects/24" }, false},
		"no transport for GitLab":      {func(c *Config) { c.Transport = nil }, false},
		"no transport for its storage": {func(c *Config) { c.StorageTransport = nil }, false},
		"a storage host with a path":   {func(c *Config) { c.StorageHosts = []string{"minio.example.com/x"} }, false},
	} {
		config := Config{
			Base: &url.URL{Scheme: "https", Host: "gitlab.example.com"}, Transport: http.DefaultTransport, StorageTransport: http.DefaultTransport,
		}
		test.change(&config)
		if client, err := NewClient(config); (err == nil) != test.works || (client != nil) != test.works {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNotSetHasItsDefaultAndWhatIsSetHolds(t *testing.T) {
	config := Config{
		Base: &url.URL{Scheme: "https", Host: "GitLab.example.com", Path: "/sub/"}, Transport: http.DefaultTransport, StorageTransport: http.DefaultTransport,
	}
	client, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	got := client.cfg
	if got.HeaderTimeout != DefaultHeaderTimeout || got.CheckTimeout != DefaultCheckTimeout || got.PublishTimeout != DefaultPublishTimeout ||
		got.StallTimeout != DefaultStallTimeout || got.RetryPause != DefaultRetryPause {
		t.Errorf("%+v", got)
	}
	if client.Upstream() != "https://gitlab.example.com/sub" || client.BasePath() != "/sub" {
		t.Errorf("%s below %s", client.Upstream(), client.BasePath())
	}
	config.HeaderTimeout, config.CheckTimeout, config.PublishTimeout, config.StallTimeout, config.RetryPause = 5, 4, 3, 2, 1
	if client, err = NewClient(config); err != nil {
		t.Fatal(err)
	}
	if got = client.cfg; got.HeaderTimeout != 5 || got.CheckTimeout != 4 || got.PublishTimeout != 3 || got.StallTimeout != 2 || got.RetryPause != 1 {
		t.Errorf("%+v", got)
	}
	config.CheckTimeout = time.Hour
	if client, err = NewClient(config); err != nil || client.cfg.CheckTimeout != 5 {
		t.Errorf("a check waits for %s where a fetch waits for 5 ns: %v", client.cfg.CheckTimeout, err)
	}
}

func TestThePathThatIsForwardedIsWellEscaped(t *testing.T) {
	client, err := NewClient(Config{
		Base: &url.URL{Scheme: "https", Host: "gitlab.example.com"}, Transport: http.DefaultTransport, StorageTransport: http.DefaultTransport,
	})
	if err != nil {
		t.Fatal(err)
	}
	if target, err := client.target("/a%zz-s3cr3t", ""); err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("%v, %v", target, err)
	}
}
