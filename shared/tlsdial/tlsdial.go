// Package tlsdial opens TLS connections quickly after a cold start. Parsing all root
// certificates of the system takes longer than anything else in a cold start, and a
// connection needs only one of them. So the package first parses the roots that WeChat
// and AWS are likely to use. If these don't verify a server, it dials again with all
// roots. crypto/tls does every verification, and always with roots of the system, so the
// result is the same as with crypto/x509 alone.
package tlsdial

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"membercard/shared/goroutine"
)

// Dialer opens connections with TLS 1.2 or later.
type Dialer struct {
	Config *tls.Config // if RootCAs is nil, the system's roots are used
}

// New returns a Dialer that resumes TLS sessions. It starts reading the system's
// root certificates in the background.
func New() *Dialer {
	read := system
	go func() {
		goroutine.GrowStack()
		read()
	}()
	return &Dialer{&tls.Config{
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(4),
		// Without the post-quantum hybrid the ClientHello fits into one packet and
		// costs less CPU. Nothing sent here stays secret for years.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384},
	}}
}

// DialContext opens a connection to host:port and performs the TLS handshake.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.Config.RootCAs != nil {
		return d.dial(ctx, network, address, func() *x509.CertPool { return d.Config.RootCAs })
	}
	onlyLikely := false
	conn, err := d.dial(ctx, network, address, func() *x509.CertPool {
		roots := system()
		switch {
		case roots == nil:
			return nil
		case roots.needAll.Load():
			return roots.all()
		}
		onlyLikely = true
		return roots.likely
	})
	if _, unverified := errors.AsType[*tls.CertificateVerificationError](err); unverified && onlyLikely {
		system().needAll.Store(true)
		return d.dial(ctx, network, address, system().all)
	}
	return conn, err
}

// dial verifies the server against the given roots, or if they are nil, against the system's
// as crypto/x509 reads them. It connects first, while the roots are still being read: the
// connection is ready after the longer of the two and the handshake, not after all three.
func (d *Dialer) dial(ctx context.Context, network, address string, roots func() *x509.CertPool) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := d.Config.Clone()
	config.RootCAs, config.ServerName = roots(), host
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// Transport returns a transport for HTTP/1.1 over the dialer's connections, or through the
// proxy that the environment names.
func (d *Dialer) Transport() *http.Transport {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: ProxyAnswer,
		DialTLSContext:         d.DialContext,
		TLSClientConfig:        d.Config, // through a proxy
		// An answer has a dozen headers.
		MaxResponseHeaderBytes: 64 << 10,
		// An instance has one request at a time: HTTP/2 would only cost its start.
		Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t
}

// ProxyAnswer is an [http.Transport.OnProxyConnectResponse]. If a proxy refuses the
// connection, its error names the proxy and the status, such as 407. The error of net/http
// alone has only the status's text.
func ProxyAnswer(_ context.Context, proxy *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return &net.OpError{Op: "proxyconnect", Net: "tcp", Err: fmt.Errorf("the proxy %s answered %d %s", proxy.Host, answer.StatusCode, http.StatusText(answer.StatusCode))}
}

// rootStore holds the system's root certificates.
type rootStore struct {
	likely  *x509.CertPool
	all     func() *x509.CertPool
	needAll atomic.Bool // the likely roots did not verify a server
}

// system returns the system's root certificates, which are read once.
var system = sync.OnceValue(load)

// load reads the root certificates from the same place as crypto/x509, or returns
// nil if only crypto/x509 can read them all.
func load() *rootStore {
	if dir := os.Getenv("SSL_CERT_DIR"); dir != "" {
		if _, err := os.Stat(dir); err == nil {
			return nil // the directory may have roots that are not in the bundle
		}
	}
	files := bundles
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		files = []string{file}
	}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			continue
		}
		defer file.Close()
		if likely, err := readLikely(file); err == nil {
			return &rootStore{likely: likely, all: sync.OnceValue(func() *x509.CertPool {
				pool := x509.NewCertPool()
				if bundle, err := os.ReadFile(name); err == nil {
					pool.AppendCertsFromPEM(bundle)
				}
				return pool
			})}
		}
	}
	return nil
}

// bundles are the root certificate files of Amazon Linux and Debian. On other
// systems crypto/x509 reads the roots.
var bundles = []string{"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"}

// added is the number of certificates at each end of a bundle that count as likely,
// because administrators add their own there.
const added = 4

// readLikely returns the likely roots of a PEM bundle. It reads the bundle through a small
// buffer: to touch 54 fresh pages of memory for 220 KB takes longer than to copy them.
func readLikely(bundle io.Reader) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	blocks := bufio.NewScanner(bundle)
	blocks.Buffer(make([]byte, 16<<10), 1<<20)
	blocks.Split(untilEnd)
	var last [added][]byte // of the others
	for i := 0; blocks.Scan(); i++ {
		comment, text, found := bytes.Cut(blocks.Bytes(), []byte("-----BEGIN CERTIFICATE-----"))
		switch {
		case !found:
		case i < added || isLikely(comment, text):
			parse(pool, text)
		default:
			last[i%added] = append(last[i%added][:0], text...)
		}
	}
	for _, text := range last {
		parse(pool, text)
	}
	return pool, blocks.Err()
}

// untilEnd is a [bufio.SplitFunc]: the text up to the end of a certificate.
func untilEnd(data []byte, _ bool) (advance int, token []byte, err error) {
	const end = "-----END CERTIFICATE-----"
	if i := bytes.Index(data, []byte(end)); i >= 0 {
		return i + len(end), data[:i], nil
	}
	return 0, nil, nil
}

// likely are parts of the names of the roots that WeChat and AWS have used for years.
var likely = [][]byte{[]byte("DigiCert Global Root"), []byte("Amazon Root CA 1"), []byte("Starfield Services")}

// isLikely reports whether WeChat or AWS is likely to need a root. The bundles of Amazon
// Linux and Fedora name each root in a comment before it. In others, the name is that of the
// issuer, which is within the first 384 bytes.
func isLikely(comment, text []byte) bool {
	const length = 520 // 384 bytes in base64, with line breaks
	name := comment
	if !bytes.Contains(name, []byte("#")) {
		var start [length]byte
		n, _ := base64.StdEncoding.Decode(start[:], text[:min(len(text), length)])
		name = start[:n]
	}
	return slices.ContainsFunc(likely, func(part []byte) bool { return bytes.Contains(name, part) })
}

// parse adds a certificate to a pool. Like crypto/x509 it skips one that it can't parse.
func parse(pool *x509.CertPool, text []byte) {
	der := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	if n, err := base64.StdEncoding.Decode(der, text); err == nil {
		if parsed, err := x509.ParseCertificate(der[:n]); err == nil {
			pool.AddCert(parsed)
		}
	}
}
