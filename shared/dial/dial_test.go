package dial

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func certificate(t *testing.T) *x509.Certificate {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	s.Close()
	return s.Certificate()
}

// A bundle has the same certificates for us as for crypto/x509.
func TestParse(t *testing.T) {
	one := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate(t).Raw}))
	for _, row := range []struct{ name, bundle string }{
		{"one", one},
		{"none", ""},
		{"with comments", "# A comment\nissuer=x\n" + one + "\n# another\n"},
		{"twice", one + one},
		{"lines that end as on Windows", strings.ReplaceAll(one, "\n", "\r\n")},
		{"a broken one before", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + one},
		{"no base64 before", "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n" + one},
		{"something else before", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n" + one},
		{"cut short", one + one[:len(one)/2]},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := x509.NewCertPool()
			want.AppendCertsFromPEM([]byte(row.bundle))
			if !parse([]byte(row.bundle)).Equal(want) {
				t.Error("other certificates than crypto/x509 finds")
			}
		})
	}
	for _, file := range bundles {
		if bundle, err := os.ReadFile(file); err == nil {
			want := x509.NewCertPool()
			want.AppendCertsFromPEM(bundle)
			if !parse(bundle).Equal(want) {
				t.Errorf("%s has other certificates than crypto/x509 finds", file)
			}
		}
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
		{"so is a file that can't be read", filepath.Join(dir, "none"), "", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv("SSL_CERT_FILE", row.file)
			t.Setenv("SSL_CERT_DIR", row.dir)
			if got := load(); (got == nil) != (row.want == nil) || got != nil && !got.Equal(row.want) {
				t.Errorf("%v", got)
			}
		})
	}
}

// Whom crypto/tls does not trust is not trusted here.
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
			parse(bundle)
		}
	})
	b.Run("x509", func(b *testing.B) {
		for b.Loop() {
			x509.NewCertPool().AppendCertsFromPEM(bytes.Clone(bundle))
		}
	})
}
