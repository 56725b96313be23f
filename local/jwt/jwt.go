// Package jwt issues and verifies JSON Web Tokens signed with RS256.
package jwt

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Keys are an issuer's public keys by their ID, as its JWKS has them.
type Keys map[string]*rsa.PublicKey

// An Issuer signs tokens with a key of its own.
type Issuer struct {
	url   string
	keyID string
	key   *rsa.PrivateKey
}

// NewIssuer returns an issuer with a new key. The URL only names it: nothing is
// served there.
func NewIssuer(url string) *Issuer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // never: the size is a usual one
	}
	return &Issuer{url, rand.Text(), key}
}

// URL returns the issuer's name.
func (i *Issuer) URL() string { return i.url }

// Keys returns the keys that the issuer publishes.
func (i *Issuer) Keys() Keys { return Keys{i.keyID: &i.key.PublicKey} }

// Token returns a token for subject that is good for audience, from now and for
// life.
func (i *Issuer) Token(audience, subject string, life time.Duration) string {
	now := time.Now()
	return i.Sign(map[string]any{
		"iss": i.url,
		"aud": audience,
		"sub": subject,
		"iat": now.Unix(),
		"exp": now.Add(life).Unix(),
	})
}

// Sign returns a token with the given claims and no others. It panics if they
// cannot be written as JSON.
func (i *Issuer) Sign(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	header, _ := json.Marshal(header{"RS256", i.keyID, "JWT"}) // strings always marshal
	signed := encode(header) + "." + encode(payload)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, i.key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err) // never: the key is long enough
	}
	return signed + "." + encode(signature)
}

type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ,omitempty"`
}

// Verify returns the claims of a token, with numbers as [json.Number], if one of
// keys signed it. What they say is for the caller to judge.
func Verify(token string, keys Keys) (claims map[string]any, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("the token does not have three parts")
	}
	var decoded [3][]byte
	for i, part := range parts {
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return nil, errors.New("the token is not base64url")
		}
	}
	var head header
	if err := json.Unmarshal(decoded[0], &head); err != nil {
		return nil, errors.New("the token's header is not JSON of the expected form")
	}
	if head.Algorithm != "RS256" {
		return nil, fmt.Errorf("signing method %s is invalid", head.Algorithm)
	}
	key := keys[head.KeyID]
	if key == nil {
		return nil, errors.New("the token is signed with an unknown key")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], decoded[2]); err != nil {
		return nil, errors.New("the token's signature is invalid")
	}
	decoder := json.NewDecoder(bytes.NewReader(decoded[1]))
	decoder.UseNumber()
	if err := decoder.Decode(&claims); err != nil || claims == nil || decoder.More() {
		return nil, errors.New("the token's claims are not a JSON object")
	}
	return claims, nil
}

func encode(part []byte) string { return base64.RawURLEncoding.EncodeToString(part) }
