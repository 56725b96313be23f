package wechatpay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"

	"membercard/wechat/sandbox"
)

// Files returns the files that a merchant gets from WeChat Pay, by name:
// apiclient_cert.pem and apiclient_key.pem from its certificate tool, pub_key.pem from the
// merchant platform, and the key's ID and the APIv3 key, which are shown there, as
// pub_key_id.txt and apiv3_key.txt.
func (s *Sandbox) Files() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	merchant, public := s.merchants[len(s.merchants)-1], s.publicKeys[len(s.publicKeys)-1]
	return map[string]string{
		"apiclient_cert.pem": merchant.certificatePEM(s.now()),
		"apiclient_key.pem":  privateKeyPEM(merchant.key),
		"pub_key.pem":        publicKeyPEM(&public.key.PublicKey),
		"pub_key_id.txt":     public.id + "\n",
		"apiv3_key.txt":      s.apiv3Key + "\n",
	}
}

// certificatePEM returns the merchant's certificate, valid for five years.
func (k merchantKey) certificatePEM(now time.Time) string {
	serial, _ := new(big.Int).SetString(k.serialNo, 16)
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: mchID, Organization: []string{"微信商户系统"}, Country: []string{"CN"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(5, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "Tenpay.com Root CA", Organization: []string{"Tenpay.com"}, Country: []string{"CN"}}}
	issuerKey := sandbox.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := sandbox.Must(x509.CreateCertificate(rand.Reader, template, issuer, &k.key.PublicKey, issuerKey))
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
