package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"membercard/wechat/wechatpay"
)

// Whatever is in a file, it is recognized or refused with a cause and a cure.
func FuzzFile(f *testing.F) {
	secret, _ := merchantNow(wechatpay.Both)
	for _, text := range []string{
		merchantCertificate().pem(), secret.PrivateKey, secret.PublicKey, string(merchantCertificate().der()), pay.MerchantSecret(wechatpay.Both),
		"\xff\xfe-\x00", "\ufeff", "0", "0\x03\x02\x01\x03", "-----BEGIN CERTIFICATE-----", "{", "\r", `-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----`,
	} {
		f.Add([]byte(text))
	}
	dir := f.TempDir()
	path := filepath.Join(dir, "file.pem")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		r := &report{}
		certificate, key := r.pair(&merchantFiles{cert: path, key: path}, time.Now())
		_, _ = r.publicKey(&merchantFiles{publicKey: path, publicKeyID: "PUB_KEY_ID_1"}, certificate, key)
		for _, s := range r.Steps {
			if !s.OK && (s.Cause == "" || s.Cure == "") {
				t.Errorf("%+v", s)
			}
		}
	})
}
