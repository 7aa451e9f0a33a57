package gitlabtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// door is a listener that can be shut: who is inside is thrown out, who knocks is turned away.
type door struct {
	net.Listener

	mu     sync.Mutex
	shut   bool
	inside map[*connection]struct{}
}

func newDoor(listener net.Listener) *door {
	return &door{Listener: listener, inside: make(map[*connection]struct{})}
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	for {
		accepted, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &connection{Conn: accepted, door: d}
		d.mu.Lock()
		shut := d.shut
		if !shut {
			d.inside[c] = struct{}{}
		}
		d.mu.Unlock()
		if !shut {
			return c, nil
		}
		c.reset()
	}
}

func (d *door) setShut(shut bool) {
	d.mu.Lock()
	d.shut = shut
	var thrownOut []*connection
	if shut {
		for c := range d.inside {
			thrownOut = append(thrownOut, c)
		}
	}
	d.mu.Unlock()
	for _, c := range thrownOut {
		c.reset()
	}
}

// connection is one that went through a door.
type connection struct {
	net.Conn
	door *door
	// pace is that of the bodies sent over it (Server.SetConnectionRate).
	pace pacer
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.door.mu.Lock()
	delete(c.door.inside, c)
	c.door.mu.Unlock()
	return c.Conn.Close()
}

// reset closes the connection so that the peer sees a reset rather than an end.
func (c *connection) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

type connectionKey struct{}

// withConnection lets handlers find the connection they answer on, which HTTP/2 offers no other way.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	if encrypted, ok := c.(*tls.Conn); ok {
		c = encrypted.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, c)
}

// abort breaks a request's connection off without a further byte.
func abort(r *http.Request) {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		c.reset()
	}
	panic(http.ErrAbortHandler)
}

// newCertificate makes a certificate for loopback and the authority that issued it, in PEM.
func newCertificate() (*tls.Certificate, []byte) {
	authorityKey, serverKey := newKey(), newKey()
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gitlabtest authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authority := issue(&template, &template, authorityKey, authorityKey)
	leaf := x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "gitlabtest"},
		NotBefore: template.NotBefore, NotAfter: template.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	certificate := &tls.Certificate{Certificate: [][]byte{issue(&leaf, &template, serverKey, authorityKey)}, PrivateKey: serverKey}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority})
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(fmt.Sprintf("gitlabtest: making a key: %v", err))
	}
	return key
}

func issue(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
	issued, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		panic(fmt.Sprintf("gitlabtest: making a certificate: %v", err))
	}
	return issued
}

func newClient(authority []byte) *http.Client {
	transport := &http.Transport{DisableCompression: true}
	if authority != nil {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(authority)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		transport.ForceAttemptHTTP2 = true
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
