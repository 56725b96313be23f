// Package wechatpaytest does WeChat Pay's part of signed calls in tests: it has the keys,
// signs answers and encrypts notifications. It does not import package signing, whose
// tests use it.
package wechatpaytest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Keys returns the merchant's key and WeChat Pay's key. They are generated once, because
// that takes a while.
var Keys = sync.OnceValues(func() (merchant, wechatpay *rsa.PrivateKey) {
	var both sync.WaitGroup
	for _, key := range []**rsa.PrivateKey{&merchant, &wechatpay} {
		both.Go(func() {
			made, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				panic(err)
			}
			*key = made
		})
	}
	both.Wait()
	return merchant, wechatpay
})

// Armour returns the PEM block of this kind. It panics if err is not nil, so that it can
// take the results of a function that marshals.
func Armour(kind string, der []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// PrivatePEM returns a private key as it is in apiclient_key.pem.
func PrivatePEM(key any) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return Armour("PRIVATE KEY", der, err)
}

// PublicPEM returns a public key as it is in pub_key.pem.
func PublicPEM(key any) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	return Armour("PUBLIC KEY", der, err)
}

// Sign sets the headers of an answer or a notification with this body, signed at the given
// time with the key that serial names.
func Sign(h http.Header, body, serial string, key *rsa.PrivateKey, at time.Time) {
	stamp, nonce := strconv.FormatInt(at.Unix(), 10), rand.Text()
	digest := sha256.Sum256([]byte(stamp + "\n" + nonce + "\n" + body + "\n"))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	h.Set("Wechatpay-Timestamp", stamp)
	h.Set("Wechatpay-Nonce", nonce)
	h.Set("Wechatpay-Serial", serial)
	h.Set("Wechatpay-Signature", base64.StdEncoding.EncodeToString(signature))
}
