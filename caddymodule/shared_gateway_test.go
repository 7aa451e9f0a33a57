package caddymodule

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// gateway is a real storage with the S3 API, versitygw, which keeps objects as files and compares what it gets with the sum that was
// signed.
type gateway struct {
	address, data string
	// certificate and key are files; empty for plain HTTP.
	certificate, key string
	process          *exec.Cmd
}

// startGateway starts one with an empty bucket. It ends with the test.
func startGateway(t *testing.T, g *gateway) *gateway {
	t.Helper()
	if _, err := exec.LookPath("versitygw"); err != nil {
		t.Skip("versitygw is missing: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
	}
	t.Setenv("S3_SECRET_KEY", gatewaySecret)
	t.Setenv("EDGES_SECRET", edgesSecret)
	g.address, g.data = freeAddress(t), t.TempDir()
	if err := os.Mkdir(filepath.Join(g.data, "edges"), 0o700); err != nil {
		t.Fatal(err)
	}
	g.start(t, gatewaySecret)
	t.Cleanup(g.stop)
	return g
}

//nolint:gosec // a storage of a test
const gatewayKey, gatewaySecret = "edges-key", "the-secret-of-the-edges"

func (g *gateway) start(t *testing.T, secret string) {
	t.Helper()
	arguments := []string{"--port", g.address, "--quiet"}
	if g.certificate != "" {
		arguments = append(arguments, "--cert", g.certificate, "--key", g.key)
	}
	g.process = exec.Command("versitygw", append(arguments, "posix", g.data)...) //nolint:gosec // our own arguments
	g.process.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+gatewayKey, "ROOT_SECRET_KEY="+secret)
	g.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := g.process.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		connection, err := net.DialTimeout("tcp", g.address, time.Second)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	})
}

// stop ends the process at once.
func (g *gateway) stop() {
	_ = g.process.Process.Kill() // or it has ended
	_ = g.process.Wait()
}

func (g *gateway) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := g.process.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// options are those of an edge that shares by the gateway.
func (g *gateway) options(directory string) string {
	scheme, transport := "http", ""
	if g.certificate != "" {
		scheme, transport = "https", "transport http {\n tls_trust_pool file "+g.certificate+"\n}"
	}
	return fmt.Sprintf(`cache %s {
	min_free 0
	shared_store s3://edges/prefix {
		endpoint %s://%s
		access_key %s
		secret_key {env.S3_SECRET_KEY}
		secret {env.EDGES_SECRET}
		%s
	}
}`, directory, scheme, g.address, gatewayKey, transport)
}

// object is where an object's bytes lie.
func (g *gateway) object(body []byte) string {
	sum := hexSHA256(body)
	return filepath.Join(g.data, "edges", "prefix", "blobs", sum[:2], sum)
}

// TestARealStorageWarmsANewEdge shares a large file, over HTTP and over HTTPS, by both kinds of GitLab.
func TestARealStorageWarmsANewEdge(t *testing.T) {
	body := someBytes(64<<20, 31)
	for _, encrypted := range []bool{false, true} {
		for name, gitlab := range map[string]func(*testing.T) *gitlabtest.Server{
			"GitLab sends": naming, "GitLab redirects": func(t *testing.T) *gitlabtest.Server { return redirecting(t, nil) },
		} {
			t.Run(fmt.Sprintf("TLS %v, %s", encrypted, name), func(t *testing.T) {
				g := new(gateway)
				if encrypted {
					g.certificate, g.key = certificateFiles(t)
				}
				startGateway(t, g)
				gitlab := gitlab(t)
				publishOld(gitlab, "app.bin", body)
				e := startEdge(t, gitlab.URL, g.options(t.TempDir()))
				e.mustGet(t, "app.bin", developer, body)
				awaitNothingOwed(t)
				stored, err := os.ReadFile(g.object(body))
				if err != nil || !bytes.Equal(stored, body) {
					t.Fatalf("the object has %d bytes, %v", len(stored), err)
				}
				e.reload(t, g.options(t.TempDir()))
				gitlab.ResetRequests()
				e.mustGet(t, "app.bin", developer, body)
				awaitNoFlight(t)
				for _, request := range gitlab.Requests() {
					if most := int64(4 << 20); request.Sent > most && (request.Storage || name == "GitLab sends") {
						t.Logf("%d bytes were sent before the body was closed", request.Sent)
					}
					if !request.Storage && name == "GitLab redirects" && request.Sent > 1000 {
						t.Errorf("GitLab itself sent %d bytes", request.Sent)
					}
				}
				if sent := bytesSent(gitlab); sent > 24<<20 {
					t.Errorf("%d bytes were sent of %d", sent, len(body))
				}
			})
		}
	}
}

// TestWhateverARealStorageDoesNobodyGetsAWrongByte stops, hangs, empties and damages the storage while files come from there.
func TestWhateverARealStorageDoesNobodyGetsAWrongByte(t *testing.T) {
	body := someBytes(16<<20, 32)
	for what, harm := range map[string]func(*testing.T, *gateway) (mend func()){
		"killed": func(_ *testing.T, g *gateway) func() {
			g.stop()
			return func() {}
		},
		"hung": func(t *testing.T, g *gateway) func() {
			g.signal(t, syscall.SIGSTOP)
			return func() { g.signal(t, syscall.SIGCONT) }
		},
		"emptied": func(t *testing.T, g *gateway) func() {
			if err := os.RemoveAll(filepath.Join(g.data, "edges", "prefix")); err != nil {
				t.Fatal(err)
			}
			return func() {}
		},
		"its keys revoked": func(t *testing.T, g *gateway) func() {
			g.stop()
			g.start(t, "another-secret-key")
			return func() {}
		},
		"the object cut": func(t *testing.T, g *gateway) func() {
			if err := os.Truncate(g.object(body), int64(len(body)/2)); err != nil {
				t.Fatal(err)
			}
			return func() {}
		},
	} {
		for _, when := range []string{"before", "in the middle"} {
			t.Run(what+" "+when, func(t *testing.T) {
				g, gitlab := startGateway(t, new(gateway)), naming(t)
				publishOld(gitlab, "app.bin", body)
				e := startEdge(t, gitlab.URL, g.options(t.TempDir()))
				e.mustGet(t, "app.bin", developer, body)
				awaitNothingOwed(t)
				e.reload(t, g.options(t.TempDir()))
				var mend func()
				if when == "before" {
					mend = harm(t, g)
					e.mustGet(t, "app.bin", developer, body)
				} else {
					first, rest := e.beginDownload(t, "app.bin", developer, 1<<20)
					mend = harm(t, g)
					whole, err := io.ReadAll(io.MultiReader(bytes.NewReader(first), rest))
					// Of an object that is cut while it is read, nobody can say what comes; what is wrong breaks off.
					if err != nil && what != "the object cut" || err == nil && !bytes.Equal(whole, body) {
						t.Errorf("%d bytes, %v", len(whole), err)
					}
				}
				mend()
				e.mustGet(t, "app.bin", colleague, body)
			})
		}
	}
}

func TestAFlippedObjectOfARealStorageIsPutRight(t *testing.T) {
	g, gitlab, body := startGateway(t, new(gateway)), naming(t), someBytes(8<<20, 33)
	publishOld(gitlab, "app.bin", body)
	e := startEdge(t, gitlab.URL, g.options(t.TempDir()))
	e.mustGet(t, "app.bin", developer, body)
	awaitNothingOwed(t)
	file, err := os.OpenFile(g.object(body), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte{body[5000] + 1}, 5000); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	e.reload(t, g.options(t.TempDir()))
	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.err == nil && !bytes.Equal(got.body, body) {
		t.Errorf("a wrong body looked whole: %s", got.Status)
	}
	e.mustGet(t, "app.bin", developer, body)
	awaitNothingOwed(t)
	if stored, err := os.ReadFile(g.object(body)); err != nil || !bytes.Equal(stored, body) {
		t.Errorf("it wasn't put right: %v", err)
	}
}

// TestARealStorageKeepsNothingThatIsntItsSum sends what isn't the sum that is signed, past the edge's own comparison.
func TestARealStorageKeepsNothingThatIsntItsSum(t *testing.T) {
	g, gitlab, body := startGateway(t, new(gateway)), naming(t), someBytes(100_000, 34)
	publishOld(gitlab, "app.bin", body)
	// A front that changes a byte of each upload.
	front := changingFront(t, g.address)
	e := startEdge(t, gitlab.URL, strings.Replace(g.options(t.TempDir()), "http://"+g.address, front, 1))
	before := series(t)
	e.mustGet(t, "app.bin", developer, body)
	await(t, func() bool { return since(t, before)["shared_store_writes_total failed"] > 0 })
	if _, err := os.Stat(g.object(body)); err == nil {
		t.Error("it was kept")
	}
	if grown := since(t, before); grown["damaged_files_total"] != 0 || grown["shared_store_owed_files"] != 1 {
		t.Errorf("%g files are taken for damaged here, %g are owed", grown["damaged_files_total"], grown["shared_store_owed_files"])
	}
}

// changingFront is a proxy that changes a byte of each body that is put.
func changingFront(t *testing.T, address string) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if len(body) > 0 {
			body[len(body)/2]++
		}
		request := r.Clone(r.Context())
		request.URL.Scheme, request.URL.Host, request.RequestURI = "http", address, ""
		request.Host = r.Host
		request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer response.Body.Close()
		w.WriteHeader(response.StatusCode)
		_, _ = io.Copy(w, response.Body)
	})}
	go func() { _ = server.Serve(listener) }() // ends with the test
	t.Cleanup(func() { _ = server.Close() })
	return "http://" + listener.Addr().String()
}

// certificateFiles makes a certificate for 127.0.0.1 that signs itself, and returns the files that it and its key are in.
func certificateFiles(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	made, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	certificate, key = filepath.Join(directory, "certificate.pem"), filepath.Join(directory, "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: made}, key: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}
