package wechatpay

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// account is what WeChat Pay knows about a merchant and its certificate.
type account struct {
	mchID    string
	serialNo string
	key      *rsa.PublicKey
	notAfter time.Time
	apiv3Key string
}

// Enrol registers another merchant with its certificate (apiclient_cert.pem) and its APIv3
// key. It returns what the merchant gets from the merchant platform: the sandbox's public
// key (PKIX in PEM) and its ID. A merchant may have several certificates, but has only one
// APIv3 key, which is the latest.
//
// Enrol fails if WeChat Pay would not have issued the certificate: if its CN is not a
// merchant number, its key is not RSA with at least 2048 bits, or it is not valid now.
func (s *Sandbox) Enrol(certificate []byte, apiv3Key string) (publicKey, id string, err error) {
	enrolled, err := newAccount(certificate, apiv3Key, s.now())
	if err != nil {
		return "", "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	own := slices.ContainsFunc(s.merchants, func(k merchantKey) bool { return k.key.PublicKey.Equal(enrolled.key) })
	if own && apiv3Key != s.apiv3Key {
		return "", "", errors.New("this is the certificate of the sandbox's own merchant, who has another APIv3 key")
	}
	if !own {
		s.enrolled = slices.DeleteFunc(s.enrolled, func(a account) bool {
			return a.mchID == enrolled.mchID && a.serialNo == enrolled.serialNo
		})
		for i := range s.enrolled {
			if s.enrolled[i].mchID == enrolled.mchID {
				s.enrolled[i].apiv3Key = apiv3Key
			}
		}
		s.enrolled = append(s.enrolled, enrolled)
	}
	newest := s.publicKeys[len(s.publicKeys)-1]
	return publicKeyPEM(&newest.key.PublicKey), newest.id, nil
}

func newAccount(certificate []byte, apiv3Key string, now time.Time) (account, error) {
	block, _ := pem.Decode(certificate)
	if block == nil || block.Type != "CERTIFICATE" {
		return account{}, errors.New("the certificate is not a certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return account{}, errors.New("the certificate is damaged")
	}
	mchid := c.Subject.CommonName
	key, isRSA := c.PublicKey.(*rsa.PublicKey)
	switch {
	case mchid == "" || len(mchid) > 32 || strings.Trim(mchid, "0123456789") != "":
		return account{}, errors.New("the certificate's CN is not a merchant number")
	case !isRSA || key.N.BitLen() < 2048 || key.N.BitLen() > 8192:
		return account{}, errors.New("the certificate has no RSA key of 2048 bits")
	case now.Before(c.NotBefore) || !now.Before(c.NotAfter):
		return account{}, errors.New("the certificate is not in force")
	case len(apiv3Key) != 32:
		return account{}, errors.New("the APIv3 key does not have 32 characters")
	}
	return account{mchid, fmt.Sprintf("%X", c.SerialNumber.Bytes()), key, c.NotAfter, apiv3Key}, nil
}

// account returns the account with the given merchant number and certificate, or nil.
// known reports whether there is such a merchant.
func (s *Sandbox) account(mchid, serialNo string, now time.Time) (found *account, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.merchants {
		if mchid == mchID && k.serialNo == serialNo {
			return &account{mchID: mchid, serialNo: serialNo, key: &k.key.PublicKey, apiv3Key: s.apiv3Key}, true
		}
	}
	known = mchid == mchID
	for _, a := range s.enrolled {
		if a.mchID != mchid {
			continue
		}
		if known = true; a.serialNo == serialNo && now.Before(a.notAfter) {
			return &a, true
		}
	}
	return nil, known
}
