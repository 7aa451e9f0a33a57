package bucket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// newBucket is one of a storage that runs until the test ends.
func newBucket(t *testing.T, change ...func(*Config)) (*Bucket, *buckettest.Server) {
	t.Helper()
	server := buckettest.New()
	t.Cleanup(server.Close)
	return bucketOf(t, server, change...), server
}

func bucketOf(t *testing.T, server *buckettest.Server, change ...func(*Config)) *Bucket {
	t.Helper()
	endpoint, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	config := Config{
		Endpoint: endpoint, Name: buckettest.Name, Prefix: "some/prefix", AccessKey: "key", SecretKey: "secret key", Secret: testSecret,
		Transport: transport,
	}
	for _, by := range change {
		by(&config)
	}
	b, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func contentOf(data []byte) Content { return Content{sumOf(data), int64(len(data))} }

// put writes bytes, and reports whether they were written.
func (b *Bucket) put1(t *testing.T, data []byte) (wrote bool) {
	t.Helper()
	wrote, written, err := b.Put(t.Context(), contentOf(data), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(written); age > time.Hour {
		t.Errorf("written %s ago", age)
	}
	return wrote
}

// read reads an object from a byte on.
func (b *Bucket) read(t *testing.T, content Content, offset int64) ([]byte, error) {
	t.Helper()
	object, err := b.Open(t.Context(), content, offset, b.FirstByte())
	if err != nil {
		return nil, err
	}
	defer object.Close()
	return io.ReadAll(object)
}

func TestWhatIsPutIsReadFromAnyByteOn(t *testing.T) {
	for name, data := range map[string][]byte{"small": []byte("hello"), "large": bytes.Repeat([]byte("0123456789abcdef"), 1<<16)} {
		t.Run(name, func(t *testing.T) {
			b, server := newBucket(t)
			if !b.put1(t, data) {
				t.Error("nothing was written")
			}
			content := contentOf(data)
			for _, offset := range []int64{0, 1, content.Size - 1} {
				if got, err := b.read(t, content, offset); err != nil || !bytes.Equal(got, data[offset:]) {
					t.Errorf("from byte %d on: %d bytes, %v", offset, len(got), err)
				}
			}
			sum := content.SHA256.String()
			if names := server.Objects(""); !slices.Equal(names, []string{"some/prefix/blobs/" + sum[:2] + "/" + sum}) {
				t.Errorf("objects: %v", names)
			}
			for _, request := range server.Requests(http.MethodPut, "") {
				for header := range request.Header {
					if strings.HasPrefix(header, "X-Amz-Checksum") || header == "X-Amz-Sdk-Checksum-Algorithm" || header == "If-None-Match" {
						t.Errorf("a header that not every storage knows: %s", header)
					}
				}
				if signed := request.Header.Get("X-Amz-Content-Sha256"); signed != sum {
					t.Errorf("the sum that the storage compares is %s", signed)
				}
			}
		})
	}
}

func TestLargeFilesGoInPartsAndAreThereOnlyOnceTheirSumWasRight(t *testing.T) {
	b, server := newBucket(t)
	b.singlePut, b.least = 10<<20, 6<<20
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	damaged := slices.Clone(data)
	damaged[len(damaged)-1]++
	_, _, err := b.Put(t.Context(), contentOf(data), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(damaged)), nil })
	if !errors.Is(err, ErrDamagedFile) || len(server.Objects("")) != 0 {
		t.Errorf("damaged: %v; %v", err, server.Objects(""))
	}
	if !b.put1(t, data) {
		t.Error("nothing was written")
	}
	if got, err := b.read(t, contentOf(data), 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := len(server.Requests(http.MethodDelete, "")); n != 1 {
		t.Errorf("%d uploads were aborted", n)
	}
}

func TestPartsAreNoMoreThanAStorageTakes(t *testing.T) {
	for _, size := range []int64{maxSinglePut + 1, 100 << 30, 5 << 40} {
		length := partSize(size, leastPart)
		if parts := (size + length - 1) / length; length < leastPart || parts > maxParts {
			t.Errorf("%d bytes: %d parts of %d", size, parts, length)
		}
	}
}

func TestBytesThatAreThereAndYoungAreNotWrittenAgain(t *testing.T) {
	data := []byte("some bytes")
	b, server := newBucket(t)
	name := b.BlobName(contentOf(data).SHA256)
	for _, test := range []struct {
		what    string
		present []byte
		age     time.Duration
		wrote   bool
	}{
		{"absent", nil, 0, true},
		{"young", data, DefaultRefresh - time.Hour, false},
		{"old", data, DefaultRefresh + time.Hour, true},
		{"of another length", []byte("other"), 0, true},
	} {
		server.Delete(name)
		if test.present != nil {
			server.Set(name, test.present, time.Now().Add(-test.age))
		}
		wrote, _, err := b.Put(t.Context(), contentOf(data), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil || wrote != test.wrote || !bytes.Equal(server.Get(name), data) {
			t.Errorf("%s: written %v, %v; there is %q", test.what, wrote, err, server.Get(name))
		}
	}
}

// TestNothingIsWrittenOfAFileThatIsntWhatItsSumSays reads files that are damaged, short, longer, or can't be read.
func TestNothingIsWrittenOfAFileThatIsntWhatItsSumSays(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 200_000)
	other := slices.Clone(data)
	other[100]++
	for _, test := range []struct {
		what   string
		source io.Reader
		want   error
	}{
		{"damaged", bytes.NewReader(other), ErrDamagedFile},
		{"short", bytes.NewReader(data[:1000]), ErrDamagedFile},
		{"unreadable", io.MultiReader(bytes.NewReader(data[:1000]), iotest.ErrReader(errors.New("no disk"))), errSource},
	} {
		b, server := newBucket(t)
		wrote, _, err := b.Put(t.Context(), contentOf(data), func() (io.ReadCloser, error) { return io.NopCloser(test.source), nil })
		if wrote || !errors.Is(err, test.want) {
			t.Errorf("%s: %v, %v", test.what, wrote, err)
		}
		if names := server.Objects(""); len(names) != 0 {
			t.Errorf("%s: there are %v", test.what, names)
		}
		if condition := b.State().Condition; condition == Down {
			t.Errorf("%s: the bucket is down", test.what)
		}
	}
}

func TestAnAbsentObjectIsntAskedForAgainForAWhile(t *testing.T) {
	data := []byte("some bytes")
	b, server := newBucket(t)
	for range 3 {
		if _, err := b.read(t, contentOf(data), 0); !errors.Is(err, ErrAbsent) {
			t.Fatal(err)
		}
	}
	if n := len(server.Requests(http.MethodGet, "")); n != 1 {
		t.Errorf("%d requests", n)
	}
	b.put1(t, data)
	if got, err := b.read(t, contentOf(data), 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("after it was written: %q, %v", got, err)
	}
}

func TestAWrongObjectIsntReadAgainUntilItIsWrittenAnew(t *testing.T) {
	data := []byte("some bytes")
	content := contentOf(data)
	for _, distrust := range []func(*testing.T, *Bucket, *buckettest.Server){
		func(t *testing.T, b *Bucket, server *buckettest.Server) { // another length shows at once
			server.Set(b.BlobName(content.SHA256), data[1:], time.Now())
			if _, err := b.read(t, content, 0); !errors.Is(err, ErrWrong) {
				t.Error(err)
			}
		},
		func(_ *testing.T, b *Bucket, server *buckettest.Server) {
			server.Set(b.BlobName(content.SHA256), bytes.ToUpper(data), time.Now())
			b.Distrust(content.SHA256)
		},
	} {
		b, server := newBucket(t)
		distrust(t, b, server)
		server.ResetRequests()
		if _, err := b.read(t, content, 0); !errors.Is(err, ErrDistrusted) || len(server.Requests(http.MethodGet, "")) != 0 {
			t.Errorf("read again: %v", err)
		}
		if !b.put1(t, data) {
			t.Error("it wasn't written over")
		}
		if got, err := b.read(t, content, 0); err != nil || !bytes.Equal(got, data) {
			t.Errorf("written anew: %q, %v", got, err)
		}
	}
}

// TestNobodyWaitsLongerThanFirstByte has a storage that doesn't answer, and one whose body stands still.
func TestNobodyWaitsLongerThanFirstByte(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 1<<20)
	for what, fault := range map[string]buckettest.Fault{"no head": {Hang: true}, "a body that stands still": {HangAt: 1000}, "a body that is cut": {CutAt: 1000}} {
		t.Run(what, func(t *testing.T) {
			b, server := newBucket(t, func(c *Config) { c.FirstByte = 100 * time.Millisecond })
			b.put1(t, data)
			fault.Method = http.MethodGet
			server.Inject(fault)
			got, err := b.read(t, contentOf(data), 0)
			var trouble *TroubleError
			if !errors.As(err, &trouble) || len(got) > 1000 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func TestACallerWhoLeavesSaysNothingOfTheBucket(t *testing.T) {
	b, server := newBucket(t)
	server.Inject(buckettest.Fault{Hang: true})
	for range 2 * failuresToRest {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Open(ctx, contentOf([]byte("x")), 0, time.Minute); !errors.Is(err, errNotTheBuckets) {
			t.Fatal(err)
		}
	}
	if state := b.State(); state.Condition == Down {
		t.Errorf("%+v", state)
	}
}

func TestWhatIsWrongWithSettingsIsSaid(t *testing.T) {
	for _, test := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Endpoint = &url.URL{Scheme: "ftp", Host: "x"} }, "https://minio.example.com"},
		{func(c *Config) { c.Endpoint = &url.URL{Scheme: "https", Host: "x", Path: "/y"} }, "without a path"},
		{func(c *Config) { c.Name = "A" }, "name"},
		{func(c *Config) { c.Prefix = "a/../b" }, "empty parts"},
		{func(c *Config) { c.Prefix = "a{b}" }, "characters"},
		{func(c *Config) { c.SecretKey = "" }, "belong together"},
		{func(c *Config) { c.Secret = "short" }, "at least 16"},
		{func(c *Config) { c.Refresh = -1 }, "negative"},
	} {
		config := Config{Name: "edges", AccessKey: "a", SecretKey: "b", Transport: http.DefaultTransport}
		test.change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q isn't said: %v", test.want, err)
		}
	}
}
