// Package tlsdial opens TLS connections soon after a process has started. Parsing all
// root certificates is what takes longest in a cold start, and one of them is
// needed. So those are parsed first that are likely; where a server can't be
// verified with them, it is called again and held against all, as crypto/x509
// would have done at once. Every verification is crypto/tls's, and none is
// against anything but the system's root certificates.
package tlsdial

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
)

// Dialer opens TLS connections of version 1.2 or later to verified servers.
type Dialer struct {
	Config *tls.Config // nil RootCAs are the system's
}

// New returns a Dialer that resumes sessions. Root certificates begin to be read.
func New() *Dialer {
	go system()
	return &Dialer{&tls.Config{
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(4),
		// Without the post-quantum hybrid, a hello fits into one packet and costs
		// less; what is sent here is of no use to who reads it in ten years.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384},
	}}
}

// DialContext opens a connection to host:port and shakes hands.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.Config.RootCAs != nil {
		return d.dial(ctx, network, address, d.Config.RootCAs)
	}
	roots := system()
	if roots == nil {
		return d.dial(ctx, network, address, nil)
	}
	if !roots.unlikely.Load() {
		conn, err := d.dial(ctx, network, address, roots.likely)
		if _, unverified := errors.AsType[*tls.CertificateVerificationError](err); !unverified {
			return conn, err
		}
		roots.unlikely.Store(true)
	}
	return d.dial(ctx, network, address, roots.all())
}

// dial opens a connection that is verified against the given roots, or if they
// are nil, the system's as crypto/x509 reads them.
func (d *Dialer) dial(ctx context.Context, network, address string, roots *x509.CertPool) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var plain net.Dialer
	conn, err := plain.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := d.Config.Clone()
	config.ServerName, config.RootCAs = host, roots
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// rootStore is the system's root certificates.
type rootStore struct {
	likely   *x509.CertPool
	all      func() *x509.CertPool
	unlikely atomic.Bool // a server was not verified with the likely ones
}

// system is the system's root certificates, read once.
var system = sync.OnceValue(load)

// load reads the root certificates from where crypto/x509 would, or returns nil to
// leave it to that.
func load() *rootStore {
	if dir := os.Getenv("SSL_CERT_DIR"); dir != "" {
		if _, err := os.Stat(dir); err == nil {
			return nil // there may be more than the bundle
		}
	}
	files := bundles
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		files = []string{file}
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			return read(text)
		}
	}
	return nil
}

// bundles are where the systems that Lambda runs on have theirs: Amazon Linux and
// Debian. Elsewhere crypto/x509 knows better.
var bundles = []string{"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"}

// read makes a store of a bundle in PEM.
func read(bundle []byte) *rootStore {
	certificates := decode(bundle)
	var likely [][]byte
	for i, der := range certificates {
		if isLikely(der) || i < added || i >= len(certificates)-added {
			likely = append(likely, der)
		}
	}
	return &rootStore{likely: parse(likely), all: sync.OnceValue(func() *x509.CertPool { return parse(certificates) })}
}

// added is how many certificates at either end of a bundle are likely: what an
// administrator adds stands there.
const added = 4

// isLikely says whether a root is of the authorities that WeChat's and AWS's
// endpoints have had their certificates from for years.
func isLikely(der []byte) bool {
	return bytes.Contains(der, []byte("DigiCert")) || bytes.Contains(der, []byte("Amazon")) || bytes.Contains(der, []byte("Starfield"))
}

// decode takes the certificates out of a bundle in PEM. Like crypto/x509 it passes
// over what is no certificate.
func decode(bundle []byte) (certificates [][]byte) {
	const begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
	for {
		_, rest, found := bytes.Cut(bundle, []byte(begin))
		block, after, closed := bytes.Cut(rest, []byte(end))
		if !found || !closed {
			return certificates
		}
		der := make([]byte, base64.StdEncoding.DecodedLen(len(block)))
		if n, err := base64.StdEncoding.Decode(der, block); err == nil {
			certificates = append(certificates, der[:n])
		}
		bundle = after
	}
}

// parse makes a pool of certificates. Like crypto/x509 it passes over those that it
// can't read.
func parse(certificates [][]byte) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, der := range certificates {
		if certificate, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(certificate)
		}
	}
	return pool
}
