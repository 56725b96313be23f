// Package sigv4 verifies AWS Signature Version 4. It signs the request with the SDK's
// signer and compares the signatures.
package sigv4

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
)

// A Key is an access key for requests in one region.
type Key struct {
	Region, AccessKeyID, SecretAccessKey string
}

// Reason is why a request is refused.
type Reason int

const (
	Missing    Reason = iota // the request is not signed
	Incomplete               // its Authorization can't be parsed, or it has no date
	UnknownKey               // signed with another key
	WrongScope               // signed for another day, region or service
	Skewed                   // too old, or from the future
	Mismatch                 // the signature is wrong
)

// A Refusal is why AWS would refuse a request. The error code for a reason depends on the
// service.
type Refusal struct {
	Reason  Reason
	Message string
}

// Verify returns why AWS would refuse r, or nil. body is r's body. r must be signed for
// service at a time that differs from now by at most maxSkew. For S3 the signature covers
// the hash in X-Amz-Content-Sha256, and the caller must compare that with the body's.
func (k Key) Verify(r *http.Request, body []byte, service string, maxSkew time.Duration, now time.Time) *Refusal {
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return &Refusal{Missing, "Missing Authentication Token"}
	}
	signedAt, err := time.Parse(timeFormat, r.Header.Get("X-Amz-Date"))
	scope := strings.Split(field(r, "Credential"), "/")
	names := SignedHeaders(r)
	if !strings.HasPrefix(authorization, algorithm+" ") || err != nil || len(scope) != 5 ||
		!slices.Contains(names, "host") || !slices.Contains(names, "x-amz-date") {
		return &Refusal{Incomplete, "Authorization header requires a Credential, SignedHeaders with host and x-amz-date, and a Signature, and the request an X-Amz-Date."}
	}
	if scope[0] != k.AccessKeyID {
		return &Refusal{UnknownKey, "The security token included in the request is invalid."}
	}
	if want := []string{signedAt.Format("20060102"), k.Region, service, "aws4_request"}; !slices.Equal(scope[1:], want) {
		return &Refusal{WrongScope, "Credential should be scoped to " + strings.Join(want, "/") + "."}
	}
	if now.Sub(signedAt).Abs() > maxSkew {
		return &Refusal{Skewed, fmt.Sprintf("Signature expired or not yet current: %s differs from %s by more than %s.",
			signedAt.Format(timeFormat), now.UTC().Format(timeFormat), maxSkew)}
	}
	if k.sign(r, body, service, names, signedAt) != authorization {
		return &Refusal{Mismatch, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
	}
	return nil
}

// SignedHeaders returns the names of the headers that r's signature covers, in
// lower case.
func SignedHeaders(r *http.Request) []string {
	return strings.Split(field(r, "SignedHeaders"), ";")
}

// Service returns the service in the scope of r's signature, or "" if r is not signed.
func Service(r *http.Request) string {
	scope := strings.Split(field(r, "Credential"), "/")
	if len(scope) != 5 {
		return ""
	}
	return scope[3]
}

// field returns a part of r's Authorization.
func field(r *http.Request, name string) string {
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), name+"=")
	value, _, _ := strings.Cut(rest, ",")
	return value
}

// sign returns the Authorization that r must have if the named headers are signed.
func (k Key) sign(r *http.Request, body []byte, service string, names []string, at time.Time) string {
	signed := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: make(http.Header)}
	for _, name := range names {
		if name == "content-length" {
			signed.ContentLength = int64(len(body))
		} else if values := r.Header.Values(name); len(values) > 0 {
			signed.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	s3 := service == "s3"
	if s3 {
		hash = cmp.Or(r.Header.Get("X-Amz-Content-Sha256"), hash)
	}
	credentials := aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey}
	err := v4.NewSigner().SignHTTP(context.Background(), credentials, signed, hash, service, k.Region, at,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s3 }) // other services escape the path twice
	if err != nil {
		return ""
	}
	return signed.Header.Get("Authorization")
}
