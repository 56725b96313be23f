package sandbox

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// JSON encodes v without escapes for HTML. It panics if v can't be encoded.
func JSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Beijing returns a time in the time zone of WeChat's answers.
func Beijing(t time.Time) time.Time { return t.In(time.FixedZone("", 8*60*60)) }

// RandomText returns n random characters of base32.
func RandomText(n int) string {
	var text string
	for len(text) < n {
		text += rand.Text()
	}
	return text[:n]
}

// RandomDigits returns n random digits.
func RandomDigits(n int) string {
	most := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	return fmt.Sprintf("%0*d", n, Must(rand.Int(rand.Reader, most)))
}

// RandomBase64 returns n random bytes in base64 that contains both + and /.
func RandomBase64(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	copy(b, []byte{0xfb, 0xff})
	return base64.StdEncoding.EncodeToString(b)
}

// MustUnmarshal decodes JSON that is known to be valid.
func MustUnmarshal(text []byte, into any) {
	if err := json.Unmarshal(text, into); err != nil {
		panic(err)
	}
}

// Must returns the result of a call that cannot fail.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

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
