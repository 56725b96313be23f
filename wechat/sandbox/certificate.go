package sandbox

// This file makes the TLS certificate.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// newCertificate returns a certificate for the loopback interface, and the certificate of
// its issuer in PEM. The issuer has the given name.
func newCertificate(ca string, now time.Time) (leaf tls.Certificate, issuerPEM []byte) {
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: Must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))),
			Subject:      pkix.Name{CommonName: name},
			NotBefore:    now.Add(-time.Hour),
			NotAfter:     now.AddDate(1, 0, 0),
		}
	}
	authority := template(ca)
	authority.KeyUsage = x509.KeyUsageCertSign
	authority.BasicConstraintsValid, authority.IsCA = true, true
	authorityKey := Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	issuer := Must(x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey))

	local := template("localhost")
	local.KeyUsage = x509.KeyUsageDigitalSignature
	local.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	local.DNSNames = []string{"localhost"}
	local.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	key := Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := Must(x509.CreateCertificate(rand.Reader, local, Must(x509.ParseCertificate(issuer)), &key.PublicKey, authorityKey))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer})
}
