package wechatpay

// This file has the merchants: the sandbox's own, and those that are enrolled.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"membercard/wechat/sandbox"
)

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
	return &merchant{mchID, serialNo, &key.PublicKey, key, template.NotAfter, apiv3Key, certificatePEM(der)}
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
// certificate_serial_no and private_key (PKCS #8 in PEM); unless mode is Certificates,
// wechatpay_public_key_id and wechatpay_public_key (PKIX in PEM); and unless mode is
// PublicKeyOnly, apiv3_key (32 bytes).
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

// Files returns the files that a merchant gets from WeChat Pay, by name:
// apiclient_cert.pem and apiclient_key.pem from its certificate tool, pub_key.pem from the
// merchant platform, and the key's ID and the APIv3 key, which are shown there, as
// pub_key_id.txt and apiv3_key.txt.
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
// APIv3 key, which is the latest.
//
// Enrol fails if WeChat Pay would not have issued the certificate: if its CN is not a
// merchant number, its key is not RSA with at least 2048 bits, or it is not valid now.
func (s *Sandbox) Enrol(certificate []byte, apiv3Key string) (publicKey, id string, err error) {
	enrolled, err := enrolment(certificate, apiv3Key, s.now())
	if err != nil {
		return "", "", err
	}
	s.Do(func() {
		own := slices.ContainsFunc(s.merchants, func(m *merchant) bool { return m.private != nil && m.key.Equal(enrolled.key) })
		if own && apiv3Key != s.own().apiv3Key {
			err = errors.New("this is the certificate of the sandbox's own merchant, who has another APIv3 key")
		}
		if own {
			return
		}
		s.merchants = slices.DeleteFunc(s.merchants, func(m *merchant) bool {
			return m.private == nil && m.mchID == enrolled.mchID && m.serialNo == enrolled.serialNo
		})
		for _, m := range s.merchants {
			if m.private == nil && m.mchID == enrolled.mchID {
				m.apiv3Key = apiv3Key
			}
		}
		s.merchants = append(s.merchants, enrolled)
	})
	if err != nil {
		return "", "", err
	}
	files := s.Files()
	return files["pub_key.pem"], strings.TrimSpace(files["pub_key_id.txt"]), nil
}

func enrolment(certificate []byte, apiv3Key string, now time.Time) (*merchant, error) {
	block, _ := pem.Decode(certificate)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("the certificate is not a certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("the certificate is damaged")
	}
	mchid := c.Subject.CommonName
	key, isRSA := c.PublicKey.(*rsa.PublicKey)
	switch {
	case mchid == "" || len(mchid) > 32 || strings.Trim(mchid, "0123456789") != "":
		return nil, errors.New("the certificate's CN is not a merchant number")
	case !isRSA || key.N.BitLen() < 2048 || key.N.BitLen() > 8192:
		return nil, errors.New("the certificate has no RSA key of 2048 bits")
	case now.Before(c.NotBefore) || !now.Before(c.NotAfter):
		return nil, errors.New("the certificate is not in force")
	case len(apiv3Key) != 32:
		return nil, errors.New("the APIv3 key does not have 32 characters")
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
