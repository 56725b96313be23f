package wechatpay

// This file makes keys, and WeChat Pay's certificates.

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // of RSA-OAEP, as WeChat Pay uses it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	"membercard/wechat/sandbox"
)

// publicKeyPrefix begins the ID of a public key, and no serial number of a
// certificate.
const publicKeyPrefix = "PUB_KEY_ID_"

// newSerial returns a certificate's serial number, also as WeChat Pay writes it: in
// 40 upper-case hexadecimal digits.
func newSerial() (*big.Int, string) {
	b := make([]byte, 20)
	rand.Read(b)
	b[0] = b[0]&0x3f | 0x40 // positive, without a leading zero
	return new(big.Int).SetBytes(b), fmt.Sprintf("%X", b)
}

func newRSAKey() *rsa.PrivateKey { return sandbox.Must(rsa.GenerateKey(rand.Reader, 2048)) }

// firstKeys returns the keys that all sandboxes of a process start with. They are made
// once, which takes up to a second.
var firstKeys = sync.OnceValue(func() (keys struct{ merchant, public, certificate, unknown *rsa.PrivateKey }) {
	var making sync.WaitGroup
	for _, key := range []**rsa.PrivateKey{&keys.merchant, &keys.public, &keys.certificate, &keys.unknown} {
		making.Go(func() { *key = newRSAKey() })
	}
	making.Wait()
	return keys
})

// signingKey is a key that WeChat Pay signs answers with.
type signingKey struct {
	id          string // a public key's ID or a certificate's serial number
	key         *rsa.PrivateKey
	certificate *x509.Certificate // nil for a public key
}

// newPublicKey gives a key an ID of the form of WeChat Pay's: digits that include the
// merchant and the day.
func newPublicKey(key *rsa.PrivateKey, now time.Time) signingKey {
	n := sandbox.Must(rand.Int(rand.Reader, big.NewInt(1e14)))
	id := fmt.Sprintf("%s01%s%s%014d", publicKeyPrefix, mchID, now.Format("20060102"), n)
	return signingKey{id: id, key: key}
}

// newCertificate makes a platform certificate for a key, valid for five years.
func newCertificate(key *rsa.PrivateKey, from time.Time) signingKey {
	serial, id := newSerial()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Tenpay.com sign", Organization: []string{"sandbox"}},
		NotBefore:    from,
		NotAfter:     from.AddDate(5, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der := sandbox.Must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	return signingKey{id, key, sandbox.Must(x509.ParseCertificate(der))}
}

func privateKeyPEM(key *rsa.PrivateKey) string {
	der := sandbox.Must(x509.MarshalPKCS8PrivateKey(key))
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func publicKeyPEM(key *rsa.PublicKey) string {
	der := sandbox.Must(x509.MarshalPKIXPublicKey(key))
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func certificatePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// encrypted is what is encrypted with the merchant's APIv3 key (AES-256-GCM).
type encrypted struct {
	Algorithm      string `json:"algorithm"`
	Nonce          string `json:"nonce"` // 12 characters
	AssociatedData string `json:"associated_data"`
	Ciphertext     []byte `json:"ciphertext"` // standard base64 in JSON
}

func encrypt(apiv3Key, plain, associatedData string) encrypted {
	e := encrypted{
		Algorithm:      "AEAD_AES_256_GCM",
		Nonce:          sandbox.RandomText(12),
		AssociatedData: associatedData,
	}
	gcm := sandbox.Must(cipher.NewGCM(sandbox.Must(aes.NewCipher([]byte(apiv3Key)))))
	e.Ciphertext = gcm.Seal(nil, []byte(e.Nonce), []byte(plain), []byte(e.AssociatedData))
	return e
}

// keyNamed returns WeChat Pay's key with an ID or a serial number, which may be in lower
// case, or nil.
func (s *Sandbox) keyNamed(id string) *rsa.PrivateKey {
	for _, k := range slices.Concat(s.publicKeys, s.certificates) {
		if k.id == id || k.certificate != nil && k.id == strings.ToUpper(id) {
			return k.key
		}
	}
	return nil
}

// decrypt decrypts a text of a request (RSA-OAEP), which the merchant has encrypted
// with the key that Wechatpay-Serial names. pointer is where it was sent.
func (s *Sandbox) decrypt(r *Request, pointer, ciphertext string) ([]byte, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(ciphertext)
	if err == nil {
		raw, err = rsa.DecryptOAEP(sha1.New(), nil, s.keyNamed(r.Header.Get("Wechatpay-Serial")), raw, nil)
	}
	if err != nil {
		return nil, &sandbox.Issue{Field: pointer, Text: "敏感信息解密失败，请使用Wechatpay-Serial对应的公钥加密", Location: "body"}
	}
	return raw, nil
}

// RotatePublicKey replaces WeChat Pay's public key. Answers are signed with the new
// key, also those to requests that ask for the old one.
func (s *Sandbox) RotatePublicKey() {
	key := newPublicKey(newRSAKey(), s.now())
	s.Do(func() { s.publicKeys = append(s.publicKeys, key) })
}

// RotateCertificate replaces the platform certificate in use. The old ones are
// still listed. Answers are signed with the new one, also those to requests that
// ask for an old one.
func (s *Sandbox) RotateCertificate() {
	key := newRSAKey()
	s.Do(func() {
		// For clients the newest certificate is the one that became valid last. Times
		// in certificates are whole seconds.
		previous := s.certificates[len(s.certificates)-1].certificate.NotBefore
		s.certificates = append(s.certificates, newCertificate(key, previous.Add(time.Hour)))
	})
}
