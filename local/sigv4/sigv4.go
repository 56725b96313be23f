// Package sigv4 verifies AWS Signature Version 4. It signs the request with the SDK's
// signer and compares the signatures.
package sigv4

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	timeFormat = "20060102T150405Z"
	maxSkew    = 5 * time.Minute // between a signature's time and now
)

// A Key is an access key for requests in one region.
type Key struct {
	Region, AccessKeyID, SecretAccessKey string
}

// Verify returns why AWS would refuse r, or nil. body is r's body. r must be signed for
// service. The value of a session token is not checked.
func (k Key) Verify(r *http.Request, body []byte, service string, now time.Time) error {
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return errors.New("the request is not signed")
	}
	signedAt, err := time.Parse(timeFormat, r.Header.Get("X-Amz-Date"))
	scope := strings.Split(field(r, "Credential"), "/")
	names := strings.Split(field(r, "SignedHeaders"), ";")
	if err != nil || len(scope) != 5 || !slices.Contains(names, "host") || !slices.Contains(names, "x-amz-date") {
		return errors.New("the header Authorization needs a Credential, SignedHeaders with host and x-amz-date, and a Signature, and the request an X-Amz-Date")
	}
	if want := []string{k.AccessKeyID, signedAt.Format("20060102"), k.Region, service, "aws4_request"}; !slices.Equal(scope, want) {
		return fmt.Errorf("the Credential must be %s", strings.Join(want, "/"))
	}
	if now.Sub(signedAt).Abs() > maxSkew {
		return fmt.Errorf("the signature has expired or is not yet current: %s differs from %s by more than %s",
			signedAt.Format(timeFormat), now.UTC().Format(timeFormat), maxSkew)
	}
	if k.sign(r, body, service, names, signedAt) != authorization {
		return errors.New("the signature is not the one of this request and this key")
	}
	return nil
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
	credentials := aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey}
	err := v4.NewSigner().SignHTTP(context.Background(), credentials, signed, hex.EncodeToString(sum[:]), service, k.Region, at,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" }) // other services escape the path twice
	if err != nil {
		return ""
	}
	return signed.Header.Get("Authorization")
}
