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
	"encoding/json"
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

// PublicKeyID is the ID of WeChat Pay's public key in [Secret].
const PublicKeyID = "PUB_KEY_ID_0119000000012025062400291234567890"

// Secret returns a merchant's secret with [Keys]. more are further names and values.
func Secret(more ...string) string {
	merchant, wechatpay := Keys()
	members := map[string]string{
		"mchid": "1900000001", "certificate_serial_no": "1DDE55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2", "private_key": PrivatePEM(merchant),
		"wechatpay_public_key_id": PublicKeyID, "wechatpay_public_key": PublicPEM(&wechatpay.PublicKey),
	}
	for i := 0; i < len(more); i += 2 {
		members[more[i]] = more[i+1]
	}
	text, _ := json.Marshal(members) // strings can always be encoded
	return string(text)
}

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
