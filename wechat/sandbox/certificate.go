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
	"sync"
	"time"
)

// The hosts of WeChat that a sandbox can stand for: of WeChat Pay, and of the official
// account. The first two of each are its endpoints.
var (
	PayHosts     = []string{"api.mch.weixin.qq.com", "api2.mch.weixin.qq.com", "api.wechatpay.cn"}
	AccountHosts = []string{"api.weixin.qq.com", "api2.weixin.qq.com"}
)

// authority returns a CA's certificate in PEM, and the TLS certificate that it issued for
// the loopback interface and for WeChat's hosts.
var authority = sync.OnceValue(func() (made struct {
	pem  []byte
	leaf tls.Certificate
}) {
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: Must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))),
			Subject:      pkix.Name{CommonName: name},
			NotBefore:    time.Now().Add(-time.Hour), // clients use the real clock
			NotAfter:     time.Now().AddDate(1, 0, 0),
		}
	}
	ca := template("WeChat sandbox CA")
	ca.KeyUsage = x509.KeyUsageCertSign
	ca.BasicConstraintsValid, ca.IsCA = true, true
	caKey := Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	issuer := Must(x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey))

	leaf := template("localhost")
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.DNSNames = append(append([]string{"localhost"}, PayHosts...), AccountHosts...)
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	key := Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := Must(x509.CreateCertificate(rand.Reader, leaf, Must(x509.ParseCertificate(issuer)), &key.PublicKey, caKey))
	made.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer})
	made.leaf = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return made
})
