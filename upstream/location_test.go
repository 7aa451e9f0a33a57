package upstream

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// locationClient is a client that knows these storage hosts.
func locationClient(t *testing.T, hosts ...string) *Client {
	t.Helper()
	client, err := NewClient(Config{
		Base: &url.URL{Scheme: "https", Host: "gitlab.example.com"}, Transport: http.DefaultTransport, StorageTransport: http.DefaultTransport,
		StorageHosts: hosts,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestTwoObjectsOfAStorageAreNeverTheSame compares where two redirects lead.
func TestTwoObjectsOfAStorageAreNeverTheSame(t *testing.T) {
	const mac = "9JQB8vP1z0yc5DEBnH6JGWM3mBmvIeMrnnxFi3WtJLE"
	for name, test := range map[string]struct {
		host, a, b string
		same       bool
	}{
		"another signature of AWS":        {"", "https://s3/b/k?X-Amz-Date=1&X-Amz-Signature=a&response-content-type=x", "https://s3/b/k?X-Amz-Date=2&X-Amz-Signature=b", true},
		"another signature of Google":     {"", "https://s3/b/k?X-Goog-Date=1&X-Goog-Signature=a", "https://s3/b/k?X-Goog-Date=2&X-Goog-Signature=b", true},
		"another signature of Azure":      {"", "https://s3/b/k?sv=1&se=1&sp=r&sig=a&rscd=x", "https://s3/b/k?sv=1&se=2&sp=r&sig=b", true},
		"another signature of CloudFront": {"", "https://s3/b/k?Expires=1&Signature=a&Key-Pair-Id=k", "https://s3/b/k?Policy=1&Signature=b&Key-Pair-Id=l", true},
		"another token of Cloudflare":     {"", "https://s3/b/k?verify=1484063787-" + mac, "https://s3/b/k?verify=1484063788-" + strings.ToLower(mac), true},
		"another path":                    {"", "https://s3/b/k?X-Amz-Signature=a", "https://s3/b/l?X-Amz-Signature=a", false},
		"another version":                 {"", "https://s3/b/k?X-Amz-Signature=a&versionId=1", "https://s3/b/k?X-Amz-Signature=a&versionId=2", false},
		"an object, signed":               {"", "https://s3/get?object=a&X-Amz-Signature=a", "https://s3/get?object=b&X-Amz-Signature=a", false},
		"an object by a token":            {"", "https://s3/get?object=a&verify=1484063787-" + mac, "https://s3/get?object=b&verify=1484063787-" + mac, false},
		"a named host":                    {"store:9000", "https://store:9000/b/k", "https://STORE:9000/b/k", false},
		"an object of a named host":       {"store", "https://store/get?object=a", "https://store/get?object=b", false},
		"the same object of it":           {"store", "https://store/get?object=a", "https://store/get?object=a", true},
		"an unknown signature":            {"store", "https://store/get?object=a&expires=1&md5=x", "https://store/get?object=a&expires=2&md5=y", false},
		"a parameter of Azure's name":     {"store", "https://store/get?si=a", "https://store/get?si=b", false},
		"with the object named":           {"store?object", "https://store/get?object=a&expires=1&md5=x", "https://store/get?md5=y&object=a", true},
		"another object named":            {"store?object", "https://store/get?object=a&md5=x", "https://store/get?object=b&md5=x", false},
		"two names":                       {"store?object&version", "https://store/get?object=a&version=1&md5=x", "https://store/get?object=a&version=2&md5=x", false},
		"a name in disguise":              {"store?object", "https://store/get?%6Fbject=a", "https://store/get?%6Fbject=b", false},
		"a name twice":                    {"store?object", "https://store/get?object=a&object=b", "https://store/get?object=b&object=a", false},
		"a semicolon":                     {"store", "https://store/get?x;object=a", "https://store/get?x;object=b", false},
		"bad encoding":                    {"store", "https://store/get?%zz=a", "https://store/get?%zz=b", false},
		"no name at all":                  {"store?", "https://store/a?md5=x", "https://store/a?md5=y", true},
		"one without a query":             {"store", "https://store/get", "https://store/get?object=b", false},
	} {
		var hosts []string
		if test.host != "" {
			hosts = append(hosts, test.host)
		}
		client := locationClient(t, hosts...)
		identityOf := func(text string) Identity {
			response := &http.Response{
				StatusCode: http.StatusFound, Header: http.Header{"Location": {text}}, Request: &http.Request{URL: client.cfg.Base},
			}
			location, ok := client.storageLocation(response)
			if !ok {
				t.Fatalf("%s: %s is no location of the storage", name, text)
			}
			return Identity{Location: client.locationIdentity(location), Length: -1}
		}
		a, b := identityOf(test.a), identityOf(test.b)
		if got := Compare(a, b); (got == Same) != test.same {
			t.Errorf("%s: %s and %s are %v", name, a.Location, b.Location, got)
		}
		if strings.Contains(a.Location, "=") {
			t.Errorf("%s: the identity shows the query: %s", name, a.Location)
		}
	}
}

func TestACloudflareTokenIsToldFromAWordOfThatName(t *testing.T) {
	for value, signed := range map[string]bool{
		"1484063787-9JQB8vP1z0yc5DEBnH6JGWM3mBmvIeMrnnxFi3WtJLE%3D": true, "1484063787-9JQB8vP1z0yc5DEBnH6JGWM3mBmvIeMrnnxFi3WtJLE": true,
		"1": false, "true": false, "1484063787-short": false, "x-9JQB8vP1z0yc5DEBnH6JGWM3mBmvIeMrnnxFi3WtJLE": false, "": false,
	} {
		location, err := url.Parse("https://packages.example.com/x?verify=" + value)
		if err != nil {
			t.Fatal(err)
		}
		if isSigned(location) != signed {
			t.Errorf("%q: signed is %v", value, !signed)
		}
	}
}

func TestStorageHostsAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]string{
		"minio:9000": "minio:9000 [] false", "store?": "store [] true", "store?a&b": "store [a b] true",
		"": "", "?a": "", "https://store": "", "store/path": "", "u@store": "", "store?a=b": "", "store?a&": "", "store?a?b": "", "store#x": "", "store ": "",
	} {
		host, err := ParseStorageHost(text)
		got := ""
		if err == nil {
			got = strings.TrimSpace(strings.Join([]string{host.Host, "[" + strings.Join(host.Parameters, " ") + "]", map[bool]string{true: "true", false: "false"}[host.ParametersNamed]}, " "))
		}
		if got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// TestALocationIsNamedAsInIndexesThatAreWritten: with another name for the same object, all that is stored would be fetched anew.
func TestALocationIsNamedAsInIndexesThatAreWritten(t *testing.T) {
	client := locationClient(t, "store")
	for location, want := range map[string]string{
		"https://s3/b/k?X-Amz-Signature=a":               "s3/b/k",
		"https://s3/b/a%20b?X-Amz-Signature=a":           "s3/b/a%20b",
		"https://s3/b/k?X-Amz-Signature=a&versionId=7":   "s3/b/k?49d0f66ab7d692177e0ea4f999cc74c7",
		"https://s3/b/k?&X-Amz-Signature=a&&versionId=7": "s3/b/k?49d0f66ab7d692177e0ea4f999cc74c7",
		"https://store/b/k?%zz=a&b":                      "store/b/k?19ab28d6434d8318c485561ed456b01e",
	} {
		parsed, err := url.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		if got := client.locationIdentity(&redirectTarget{parsed}); got != want {
			t.Errorf("%s: %q, want %q", location, got, want)
		}
	}
}
