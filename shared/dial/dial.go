// Package dial opens TLS connections soon after a process has started. Reading the
// root certificates is what takes longest in a cold start: crypto/x509 reads the
// bundle one certificate after the other, when the first handshake asks for it.
// Here the same bundle is read by all processors, before it is asked for. What is
// done with it, the verification of every connection, is crypto/tls's alone.
package dial

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"os"
	"runtime"
	"sync"
)

// Dialer opens TLS connections of version 1.2 or later to verified servers.
type Dialer struct {
	Config *tls.Config // nil RootCAs are the system's
}

// New returns a Dialer that resumes sessions. Root certificates begin to be read.
func New() *Dialer {
	go roots()
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
	var plain net.Dialer
	conn, err := plain.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := d.Config.Clone()
	if config.RootCAs == nil {
		config.RootCAs = roots()
	}
	if config.ServerName, _, err = net.SplitHostPort(address); err == nil {
		secure := tls.Client(conn, config)
		if err = secure.HandshakeContext(ctx); err == nil {
			return secure, nil
		}
	}
	conn.Close()
	return nil, err
}

// roots are the system's root certificates, read once.
var roots = sync.OnceValue(load)

// load reads the root certificates, from where crypto/x509 would, or returns nil to
// leave it to that.
func load() *x509.CertPool {
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
			return parse(text)
		}
	}
	return nil
}

// bundles are where the systems that Lambda runs on have theirs: Amazon Linux and
// Debian. Elsewhere crypto/x509 knows better.
var bundles = []string{"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"}

// parse makes a pool of a bundle in PEM. Like crypto/x509 it passes over what is
// no certificate, or none that it can read.
func parse(bundle []byte) *x509.CertPool {
	const begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
	var blocks [][]byte
	for {
		_, rest, found := bytes.Cut(bundle, []byte(begin))
		block, after, closed := bytes.Cut(rest, []byte(end))
		if !found || !closed {
			break
		}
		blocks = append(blocks, block)
		bundle = after
	}
	certificates := make([]*x509.Certificate, len(blocks))
	var workers sync.WaitGroup
	for first := range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := first; i < len(blocks); i += runtime.GOMAXPROCS(0) {
				der := make([]byte, base64.StdEncoding.DecodedLen(len(blocks[i])))
				if n, err := base64.StdEncoding.Decode(der, blocks[i]); err == nil {
					certificates[i], _ = x509.ParseCertificate(der[:n])
				}
			}
		})
	}
	workers.Wait()
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		if certificate != nil {
			pool.AddCert(certificate)
		}
	}
	return pool
}
