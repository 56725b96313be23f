package wechatpay

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // of RSA-OAEP, as WeChat Pay uses it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
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
	return encodePEM("PRIVATE KEY", sandbox.Must(x509.MarshalPKCS8PrivateKey(key)))
}

func publicKeyPEM(key *rsa.PublicKey) string {
	return encodePEM("PUBLIC KEY", sandbox.Must(x509.MarshalPKIXPublicKey(key)))
}

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// encrypted is what is encrypted with the merchant's APIv3 key (AES-256-GCM).
type encrypted struct {
	Algorithm      string `json:"algorithm"`
	Nonce          string `json:"nonce"` // 12 characters
	AssociatedData string `json:"associated_data"`
	Ciphertext     []byte `json:"ciphertext"` // standard base64 in JSON
}

func encrypt(apiv3Key, plain, associatedData string) encrypted {
	e := encrypted{Algorithm: "AEAD_AES_256_GCM", Nonce: sandbox.RandomText(12), AssociatedData: associatedData}
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

// RotateCertificate replaces the platform certificate in use. The old ones are still
// listed. Answers are signed with the new one, also where a request asks for an old one.
func (s *Sandbox) RotateCertificate() {
	key := newRSAKey()
	s.Do(func() {
		// For clients the newest certificate is the one that became valid last. Times
		// in certificates are whole seconds.
		previous := s.certificates[len(s.certificates)-1].certificate.NotBefore
		s.certificates = append(s.certificates, newCertificate(key, previous.Add(time.Hour)))
	})
}

// merchant is a merchant with one of its certificates.
type merchant struct {
	mchID    string
	serialNo string
	key      *rsa.PublicKey
	private  *rsa.PrivateKey // of the sandbox's own merchant, otherwise nil
	notAfter time.Time
	apiv3Key string
	pem      string // the certificate
}

// newMerchant makes a certificate for the sandbox's own merchant, valid for five years.
func newMerchant(key *rsa.PrivateKey, apiv3Key string, now time.Time) *merchant {
	serial, serialNo := newSerial()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: mchID, Organization: []string{"微信商户系统"}, Country: []string{"CN"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(5, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "Tenpay.com Root CA", Organization: []string{"Tenpay.com"}, Country: []string{"CN"}}}
	issuerKey := sandbox.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := sandbox.Must(x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey))
	return &merchant{mchID, serialNo, &key.PublicKey, key, template.NotAfter, apiv3Key, encodePEM("CERTIFICATE", der)}
}

// own returns the sandbox's own merchant with its newest certificate.
func (s *Sandbox) own() (newest *merchant) {
	for _, m := range s.merchants {
		if m.private != nil {
			newest = m
		}
	}
	return newest
}

// MerchantSecret returns the own merchant's current secret as a JSON object. It has mchid,
// certificate_serial_no and private_key; unless mode is Certificates,
// wechatpay_public_key_id and wechatpay_public_key; unless it is PublicKeyOnly, apiv3_key.
func (s *Sandbox) MerchantSecret(mode Mode) string {
	files := s.Files()
	secret := map[string]string{"mchid": mchID, "private_key": files["apiclient_key.pem"]}
	s.Do(func() { secret["certificate_serial_no"] = s.own().serialNo })
	if mode != Certificates {
		secret["wechatpay_public_key_id"] = strings.TrimSpace(files["pub_key_id.txt"])
		secret["wechatpay_public_key"] = files["pub_key.pem"]
	}
	if mode != PublicKeyOnly {
		secret["apiv3_key"] = strings.TrimSpace(files["apiv3_key.txt"])
	}
	return string(sandbox.JSON(secret))
}

// Files returns the files that a merchant gets from WeChat Pay, by name, and two with what
// the merchant platform shows: the public key's ID and the APIv3 key.
func (s *Sandbox) Files() (files map[string]string) {
	s.Do(func() {
		own, public := s.own(), s.publicKeys[len(s.publicKeys)-1]
		files = map[string]string{
			"apiclient_cert.pem": own.pem,
			"apiclient_key.pem":  privateKeyPEM(own.private),
			"pub_key.pem":        publicKeyPEM(&public.key.PublicKey),
			"pub_key_id.txt":     public.id + "\n",
			"apiv3_key.txt":      own.apiv3Key + "\n",
		}
	})
	return files
}

// RotateMerchantKey gives the merchant a new certificate and key. Requests signed
// with an old key are refused with 401 SIGN_ERROR.
func (s *Sandbox) RotateMerchantKey() {
	s.IssueMerchantKey()
	s.RevokeOldMerchantKeys()
}

// IssueMerchantKey gives the merchant a new certificate and key beside the ones it
// has, which stay in force.
func (s *Sandbox) IssueMerchantKey() {
	key := newRSAKey()
	s.Do(func() { s.merchants = append(s.merchants, newMerchant(key, s.own().apiv3Key, s.now())) })
}

// RevokeOldMerchantKeys revokes all of the merchant's certificates but the newest.
func (s *Sandbox) RevokeOldMerchantKeys() {
	s.Do(func() {
		newest := s.own()
		s.merchants = slices.DeleteFunc(s.merchants, func(m *merchant) bool { return m.private != nil && m != newest })
	})
}

// Enrol registers another merchant with its certificate (apiclient_cert.pem) and its APIv3
// key. It returns what the merchant gets from the merchant platform: the sandbox's public
// key (PKIX in PEM) and its ID. A merchant may have several certificates, but has only one
// APIv3 key, which is the latest. Enrol fails if WeChat Pay would not have issued the
// certificate: if its CN is not a merchant number, or it is not valid now.
func (s *Sandbox) Enrol(certificate []byte, apiv3Key string) (publicKey, id string, err error) {
	enrolled, err := enrolment(certificate, apiv3Key, s.now())
	if err != nil {
		return "", "", err
	}
	s.Do(func() {
		if enrolled.mchID == mchID && apiv3Key != s.own().apiv3Key {
			err = errors.New("this is the certificate of the sandbox's own merchant, who has another APIv3 key")
			return
		}
		for _, m := range s.merchants {
			if m.mchID == enrolled.mchID {
				m.apiv3Key = apiv3Key
			}
		}
		switch known, _ := s.find(enrolled.mchID, enrolled.serialNo, s.now()); {
		case known == nil:
			s.merchants = append(s.merchants, enrolled)
		case known.private == nil:
			*known = *enrolled
		}
	})
	files := s.Files()
	return files["pub_key.pem"], strings.TrimSpace(files["pub_key_id.txt"]), err
}

func enrolment(certificate []byte, apiv3Key string, now time.Time) (*merchant, error) {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return nil, errors.New("the certificate is not a certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, _ := c.PublicKey.(*rsa.PublicKey)
	mchid := c.Subject.CommonName
	if key == nil || mchid == "" || strings.Trim(mchid, "0123456789") != "" || now.Before(c.NotBefore) || !now.Before(c.NotAfter) || len(apiv3Key) != 32 {
		return nil, errors.New("this is not a merchant's certificate in force, or the APIv3 key does not have 32 characters")
	}
	return &merchant{mchID: mchid, serialNo: fmt.Sprintf("%X", c.SerialNumber.Bytes()), key: key, notAfter: c.NotAfter, apiv3Key: apiv3Key}, nil
}

// find returns the merchant with the given number and certificate, or nil. known reports
// whether there is a merchant with the number.
func (s *Sandbox) find(mchid, serialNo string, now time.Time) (found *merchant, known bool) {
	for _, m := range s.merchants {
		if m.mchID != mchid {
			continue
		}
		if known = true; m.serialNo == serialNo && now.Before(m.notAfter) {
			found = m
		}
	}
	return found, known
}

// signer returns the merchant that signed an authorized request.
func (s *Sandbox) signer(r *Request) *merchant {
	m, _ := s.find(r.Authorization.MchID, r.Authorization.SerialNo, r.Time)
	return m
}
