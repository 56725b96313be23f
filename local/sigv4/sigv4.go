// Package sigv4 verifies AWS Signature Version 4 as AWS's services do: it signs
// what the client says it signed, and compares.
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

// A Verifier verifies signatures made with one key for one service in one
// region.
type Verifier struct {
	Service, Region              string
	AccessKeyID, SecretAccessKey string
	MaxSkew                      time.Duration // between a signature's time and now
}

// Reason is why a request is refused.
type Reason int

const (
	Missing    Reason = iota // the request is not signed
	Incomplete               // its Authorization cannot be understood, or has no date
	UnknownKey               // somebody else's key
	WrongScope               // made for another day, region or service
	Skewed                   // too old, or from the future
	Mismatch                 // not made with the key over this request
)

// A Refusal is what AWS would have against a request. Each service has its own
// name for a reason.
type Refusal struct {
	Reason  Reason
	Message string
}

// Verify returns why AWS would refuse r, which has the given body, at now. For
// S3 the signature is over the hash that the request names, which is for the
// caller to compare with the body's.
func (v Verifier) Verify(r *http.Request, body []byte, now time.Time) *Refusal {
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return &Refusal{Missing, "Missing Authentication Token"}
	}
	var credential, signedHeaders string
	fields, ok := strings.CutPrefix(authorization, algorithm+" ")
	for field := range strings.SplitSeq(fields, ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(field), "="); name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			signedHeaders = value
		}
	}
	signedAt, err := time.Parse(timeFormat, r.Header.Get("X-Amz-Date"))
	scope := strings.Split(credential, "/")
	names := strings.Split(signedHeaders, ";")
	if !ok || err != nil || len(scope) != 5 || !slices.Contains(names, "host") || !slices.Contains(names, "x-amz-date") {
		return &Refusal{Incomplete, "Authorization header requires a Credential, SignedHeaders with host and x-amz-date, and a Signature, and the request an X-Amz-Date."}
	}
	if scope[0] != v.AccessKeyID {
		return &Refusal{UnknownKey, "The security token included in the request is invalid."}
	}
	if want := []string{signedAt.Format("20060102"), v.Region, v.Service, "aws4_request"}; !slices.Equal(scope[1:], want) {
		return &Refusal{WrongScope, "Credential should be scoped to " + strings.Join(want, "/") + "."}
	}
	minutes := int(v.MaxSkew.Minutes())
	if skew := now.Sub(signedAt); skew > v.MaxSkew {
		return &Refusal{Skewed, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %d min.)",
			signedAt.Format(timeFormat), now.Add(-v.MaxSkew).UTC().Format(timeFormat), now.UTC().Format(timeFormat), minutes)}
	} else if skew < -v.MaxSkew {
		return &Refusal{Skewed, fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %d min.)",
			signedAt.Format(timeFormat), now.Add(v.MaxSkew).UTC().Format(timeFormat), now.UTC().Format(timeFormat), minutes)}
	}
	if v.sign(r, body, names, signedAt) != authorization {
		return &Refusal{Mismatch, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
	}
	return nil
}

// sign is the Authorization of r with the named headers signed.
func (v Verifier) sign(r *http.Request, body []byte, names []string, at time.Time) string {
	again := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: make(http.Header)}
	for _, name := range names {
		if name == "content-length" {
			again.ContentLength = int64(len(body))
		} else if values := r.Header.Values(name); len(values) > 0 {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	s3 := v.Service == "s3"
	if s3 {
		hash = cmp.Or(r.Header.Get("X-Amz-Content-Sha256"), hash)
	}
	credentials := aws.Credentials{AccessKeyID: v.AccessKeyID, SecretAccessKey: v.SecretAccessKey}
	err := v4.NewSigner().SignHTTP(context.Background(), credentials, again, hash, v.Service, v.Region, at,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s3 }) // S3 alone takes the path as it is sent
	if err != nil {
		return ""
	}
	return again.Header.Get("Authorization")
}
