package tlsdial

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func certificate(t *testing.T) *x509.Certificate {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	s.Close()
	return s.Certificate()
}

// Of a short bundle, all certificates are likely; they are the same as in crypto/x509.
func TestReadLikely(t *testing.T) {
	one := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate(t).Raw}))
	for _, row := range []struct{ name, bundle string }{
		{"one", one},
		{"none", ""},
		{"with comments", "# A comment\nissuer=x\n" + one + "\n# another\n"},
		{"twice", one + one},
		{"lines that end as on Windows", strings.ReplaceAll(one, "\n", "\r\n")},
		{"a comment that is longer than the buffer", strings.Repeat("# a comment\n", 10_000) + one},
		{"a broken one before", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + one},
		{"no base64 before", "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n" + one},
		{"something else before", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n" + one},
		{"cut short", one + one[:len(one)/2]},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := x509.NewCertPool()
			want.AppendCertsFromPEM([]byte(row.bundle))
			if got, err := readLikely(strings.NewReader(row.bundle)); err != nil || !got.Equal(want) {
				t.Errorf("other certificates than crypto/x509 finds, %v", err)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate(t).Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	only := x509.NewCertPool()
	only.AddCert(certificate(t))
	for _, row := range []struct {
		name, file, dir string
		want            *x509.CertPool
	}{
		{"a file of one's own", file, "", only},
		{"and a directory that is not there", file, filepath.Join(dir, "none"), only},
		{"a directory that is there is left to crypto/x509", file, dir, nil},
		{"so is a file that is not there", filepath.Join(dir, "none"), "", nil},
		{"and one that can't be read", dir, "", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv("SSL_CERT_FILE", row.file)
			t.Setenv("SSL_CERT_DIR", row.dir)
			if got := load(); (got == nil) != (row.want == nil) || got != nil && !got.all().Equal(row.want) {
				t.Errorf("%v", got)
			}
		})
	}
}

// A server that crypto/tls does not trust is not trusted here.
func TestDialContext(t *testing.T) {
	trusted := x509.NewCertPool()
	trusted.AddCert(certificate(t))
	for _, row := range []struct {
		name    string
		roots   *x509.CertPool
		host    string
		version uint16
		want    any // the kind of the error; nil is a success
	}{
		{"a known authority", trusted, "127.0.0.1", tls.VersionTLS12, nil},
		{"an unknown one", x509.NewCertPool(), "127.0.0.1", tls.VersionTLS13, new(*tls.CertificateVerificationError)},
		{"another name", trusted, "localhost", tls.VersionTLS13, new(*tls.CertificateVerificationError)},
		{"TLS 1.1", trusted, "127.0.0.1", tls.VersionTLS11, new(error)},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(nil)
			s.Config.ErrorLog = nil
			s.TLS = &tls.Config{MaxVersion: row.version, MinVersion: tls.VersionTLS10}
			s.StartTLS()
			defer s.Close()
			d := New()
			d.Config.RootCAs = row.roots
			address := strings.Replace(s.Listener.Addr().String(), "127.0.0.1", row.host, 1)
			conn, err := d.DialContext(t.Context(), "tcp4", address)
			if row.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				conn.Close()
				return
			}
			if err == nil || !errors.As(err, row.want) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// A server is verified with the likely roots first, and then with all of them. The
// result does not depend on which roots are the likely ones.
func TestLikelyRoots(t *testing.T) {
	others := make([][]byte, 3*added)
	for i := range others {
		others[i] = selfSigned(t, "An Authority")
	}
	ours := certificate(t).Raw
	bundle := func(ders ...[]byte) []byte {
		var text []byte
		for _, der := range ders {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		return text
	}
	for _, row := range []struct {
		name      string
		bundle    []byte
		handshake int // 0: the server is not trusted
	}{
		{"the only one", bundle(ours), 1},
		{"the first", bundle(append([][]byte{ours}, others...)...), 1},
		{"the last", bundle(append(slices.Clone(others), ours)...), 1},
		{"somewhere between", bundle(slices.Insert(slices.Clone(others), len(others)/2, ours)...), 2},
		{"somewhere between, with a likely name in a comment", slices.Concat(bundle(others...), []byte("# Amazon Root CA 1\n"), bundle(ours), bundle(others...)), 1},
		{"somewhere between, with another name in a comment", slices.Concat(bundle(others...), []byte("# GlobalSign Root R46\n"), bundle(ours), bundle(others...)), 2},
		{"not there", bundle(others...), 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "roots.pem")
			if err := os.WriteFile(file, row.bundle, 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("SSL_CERT_FILE", file)
			t.Setenv("SSL_CERT_DIR", "")
			before := system
			system = sync.OnceValue(load)
			defer func() { system = before }()

			var hellos atomic.Int32
			s := httptest.NewUnstartedServer(nil)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { hellos.Add(1); return nil, nil }}
			s.StartTLS()
			defer s.Close()
			conn, err := New().DialContext(t.Context(), "tcp", s.Listener.Addr().String())
			if (err == nil) != (row.handshake > 0) {
				t.Fatalf("the error is %v", err)
			}
			if err == nil {
				conn.Close()
			}
			if n := int(hellos.Load()); row.handshake > 0 && n != row.handshake {
				t.Errorf("%d handshakes, want %d", n, row.handshake)
			}
		})
	}
}

// Without comments, the name of a root is read from the certificate.
func TestLikelyNames(t *testing.T) {
	for name, want := range map[string]bool{"DigiCert Global Root G2": true, "Starfield Services Root Certificate Authority": true, "DigiCert Trusted Root G4": false, "An Authority": false} {
		text := base64.StdEncoding.EncodeToString(selfSigned(t, name))
		for _, line := range []int{64, 76, len(text)} {
			var lines []byte
			for part := range slices.Chunk([]byte(text), line) {
				lines = append(append(lines, part...), '\n')
			}
			if got := isLikely(nil, lines); got != want {
				t.Errorf("%s, with lines of %d: %v", name, line, got)
			}
		}
	}
}

// selfSigned returns the certificate of an authority.
func selfSigned(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{name}}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func BenchmarkParse(b *testing.B) {
	var bundle []byte
	for _, file := range bundles {
		if text, err := os.ReadFile(file); err == nil {
			bundle = text
		}
	}
	if bundle == nil {
		b.Skip("there is no bundle of root certificates here: apt-get install ca-certificates")
	}
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			readLikely(bytes.NewReader(bundle))
		}
	})
	b.Run("x509", func(b *testing.B) {
		for b.Loop() {
			x509.NewCertPool().AppendCertsFromPEM(bytes.Clone(bundle))
		}
	})
}
