package bucket

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
)

// podToken is what a container shows to who gives it its identity.
const podToken = "the pod's token" //nolint:gosec // G101: of a test

// withoutKeys is a config without keys, on a machine that has none either, but for what environment says.
func withoutKeys(t *testing.T, environment map[string]string) func(*Config) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
	} {
		t.Setenv(name, environment[name])
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	return func(c *Config) { c.AccessKey, c.SecretKey = "", "" }
}

// identities is who gives a container its identity, as ECS does.
type identities struct {
	*httptest.Server

	asked atomic.Int64
	// key is what it gives; empty for an error. life is how long that counts.
	key  atomic.Pointer[string]
	life time.Duration
	// hanging says that it answers nothing until it is closed.
	hanging atomic.Bool
}

func newIdentities(t *testing.T, key string, life time.Duration) *identities {
	t.Helper()
	i, closing := &identities{life: life}, make(chan struct{})
	i.key.Store(&key)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		key := *i.key.Load()
		switch {
		case i.hanging.Load():
			select {
			case <-closing:
			case <-r.Context().Done():
			}
		case key == "":
			w.WriteHeader(http.StatusInternalServerError)
		case r.Header.Get("Authorization") != podToken:
			w.WriteHeader(http.StatusForbidden)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{
				"AccessKeyId": key, "SecretAccessKey": "secret", "Token": "session of " + key, "Expiration": time.Now().Add(i.life).UTC(),
			})
		}
	}))
	t.Cleanup(func() {
		close(closing)
		i.Close()
	})
	return i
}

// TestAnIdentityGivesTheKeysAndRenewsThem has a container's, and a pod's, whose token is in a file.
func TestAnIdentityGivesTheKeysAndRenewsThem(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(podToken), 0o600); err != nil {
		t.Fatal(err)
	}
	for whose, further := range map[string]map[string]string{
		"a container": {"AWS_CONTAINER_AUTHORIZATION_TOKEN": podToken},
		"a pod":       {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token},
	} {
		t.Run(whose, func(t *testing.T) {
			gives := newIdentities(t, "first", time.Hour)
			further["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = gives.URL
			b, storage := newBucket(t, withoutKeys(t, further))
			usedKey := func() string {
				requests := storage.Requests(http.MethodPut, "")
				last := requests[len(requests)-1].Header
				if !strings.Contains(last.Get("Authorization"), "Credential=") {
					return ""
				}
				return strings.TrimPrefix(last.Get("X-Amz-Security-Token"), "session of ")
			}
			b.put1(t, []byte("a"))
			b.put1(t, []byte("b"))
			if key, asked := usedKey(), gives.asked.Load(); key != "first" || asked != 1 {
				t.Errorf("signed by %q after %d questions", key, asked)
			}
			// The storage says that they have expired early.
			second := "second"
			gives.key.Store(&second)
			storage.Inject(buckettest.Fault{Status: http.StatusBadRequest, Code: "ExpiredToken", Times: 2})
			if _, _, err := b.Put(t.Context(), contentOf([]byte("c")), nil); err == nil || !strings.Contains(err.Error(), "expired") {
				t.Errorf("%v", err)
			}
			await(t, func() bool {
				b.put1(t, []byte(time.Now().String()))
				return usedKey() == "second"
			})
		})
	}
}

func await(t *testing.T, happened func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !happened() {
		select {
		case <-deadline:
			t.Fatal("what was awaited did not happen")
		case <-time.After(time.Millisecond):
		}
	}
}

// TestWithoutKeysTheStorageIsntAskedAndThatIsSaid where whoever gives identities gives none.
func TestWithoutKeysTheStorageIsntAskedAndThatIsSaid(t *testing.T) {
	gives := newIdentities(t, "", 0)
	b, storage := newBucket(t, withoutKeys(t, map[string]string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": gives.URL, "AWS_CONTAINER_AUTHORIZATION_TOKEN": podToken,
	}))
	_, _, err := b.Put(t.Context(), contentOf([]byte("a")), nil)
	if err == nil || !strings.Contains(err.Error(), "there are no keys to the bucket") || !strings.Contains(err.Error(), "500") {
		t.Errorf("%v", err)
	}
	if requests := storage.Requests("", ""); len(requests) != 0 {
		t.Errorf("the storage got %d requests without a signature", len(requests))
	}
	key := "found at last"
	gives.key.Store(&key)
	b.put1(t, []byte("a"))
}

// TestNobodyWaitsForWhoGivesIdentities longer than for the storage, whether they hang before the first request or when keys are renewed.
func TestNobodyWaitsForWhoGivesIdentities(t *testing.T) {
	gives := newIdentities(t, "first", time.Hour)
	b, storage := newBucket(t, withoutKeys(t, map[string]string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": gives.URL, "AWS_CONTAINER_AUTHORIZATION_TOKEN": podToken,
	}))
	b.put1(t, []byte("a"))
	gives.hanging.Store(true)
	b.keys.Expire()
	storage.Inject(buckettest.Fault{Status: http.StatusBadRequest, Code: "ExpiredToken"})
	begun := time.Now()
	if _, err := b.Open(t.Context(), contentOf([]byte("a")), 0, b.FirstByte()); !errors.Is(err, errStandsStill) {
		t.Errorf("%v", err)
	}
	// One whose request was signed before hears only now that its keys have expired.
	told := make(chan struct{})
	go func() { // ends when it is told
		defer close(told)
		_ = b.classifiedAnswer("reading", minio.ErrorResponse{StatusCode: http.StatusBadRequest, Code: "ExpiredToken"})
	}()
	select {
	case <-told:
	case <-time.After(identityTimeout / 2):
		t.Error("who hears that keys have expired waits for their renewal by others")
		<-told
	}
	if took := time.Since(begun); took > identityTimeout {
		t.Errorf("it took %s", took)
	}
}

// TestKeysAreTakenFromTheFirstPlaceThatHasSome: the config, the environment, the shared credentials file, and only then an identity.
func TestKeysAreTakenFromTheFirstPlaceThatHasSome(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	text := "[default]\naws_access_key_id = of-the-file\naws_secret_access_key = s\n[edge]\naws_access_key_id = of-the-profile\naws_secret_access_key = s\naws_session_token = t\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := map[string]string{"AWS_ACCESS_KEY_ID": "of-the-environment", "AWS_SECRET_ACCESS_KEY": "s"}
	for _, test := range []struct {
		what        string
		environment map[string]string
		file        bool
		config      string
		key, token  string
	}{
		{"config, environment and file", environment, true, "of-the-config", "of-the-config", ""},
		{"environment and file", environment, true, "", "of-the-environment", ""},
		{"environment with a session", map[string]string{"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}, false, "", "k", "t"},
		{"half of the environment, and file", map[string]string{"AWS_ACCESS_KEY_ID": "k"}, true, "", "of-the-file", ""},
		{"file", nil, true, "", "of-the-file", ""},
		{"a profile of the file", map[string]string{"AWS_PROFILE": "edge"}, true, "", "of-the-profile", "t"},
		{"an identity", nil, false, "", "of-the-identity", "session of of-the-identity"},
	} {
		t.Run(test.what, func(t *testing.T) {
			gives := newIdentities(t, "of-the-identity", time.Hour)
			all := map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": gives.URL, "AWS_CONTAINER_AUTHORIZATION_TOKEN": podToken}
			maps.Copy(all, test.environment)
			without := withoutKeys(t, all)
			if test.file {
				t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
			}
			b, storage := newBucket(t, without, func(c *Config) {
				if test.config != "" {
					c.AccessKey, c.SecretKey = test.config, "s"
				}
			})
			b.put1(t, []byte("a"))
			put := storage.Requests(http.MethodPut, "")[0].Header
			if !strings.Contains(put.Get("Authorization"), "Credential="+test.key+"/") || put.Get("X-Amz-Security-Token") != test.token {
				t.Errorf("signed by %q, session %q", put.Get("Authorization"), put.Get("X-Amz-Security-Token"))
			}
			if asked := gives.asked.Load(); (asked > 0) != (test.key == "of-the-identity") {
				t.Errorf("whoever gives identities was asked %d times", asked)
			}
		})
	}
}
