package secretsmanager

// This file verifies a request's signature, AWS Signature Version 4, by signing
// what the client says it signed and comparing.

import (
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
	service    = "secretsmanager"
	timeFormat = "20060102T150405Z"
	maxSkew    = 5 * time.Minute
)

// A verifier verifies signatures made with one key for one region.
type verifier struct {
	region, accessKeyID, secretAccessKey string
}

// verify returns why AWS would refuse r, which has the given body, at now.
func (v verifier) verify(r *http.Request, body []byte, now time.Time) *exception {
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return &exception{"MissingAuthenticationTokenException", "Missing Authentication Token"}
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
		return &exception{"IncompleteSignatureException", "Authorization header requires a Credential, SignedHeaders with host and x-amz-date, and a Signature, and the request an X-Amz-Date."}
	}
	if scope[0] != v.accessKeyID {
		return &exception{"UnrecognizedClientException", "The security token included in the request is invalid."}
	}
	if want := []string{signedAt.Format("20060102"), v.region, service, "aws4_request"}; !slices.Equal(scope[1:], want) {
		return &exception{"InvalidSignatureException", "Credential should be scoped to " + strings.Join(want, "/") + "."}
	}
	if skew := now.Sub(signedAt); skew > maxSkew {
		return &exception{"InvalidSignatureException", fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 5 min.)",
			signedAt.Format(timeFormat), now.Add(-maxSkew).UTC().Format(timeFormat), now.UTC().Format(timeFormat))}
	} else if skew < -maxSkew {
		return &exception{"InvalidSignatureException", fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 5 min.)",
			signedAt.Format(timeFormat), now.Add(maxSkew).UTC().Format(timeFormat), now.UTC().Format(timeFormat))}
	}

	again := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: make(http.Header)}
	for _, name := range names {
		if name == "content-length" {
			again.ContentLength = int64(len(body))
		} else if values := r.Header.Values(name); len(values) > 0 {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	credentials := aws.Credentials{AccessKeyID: v.accessKeyID, SecretAccessKey: v.secretAccessKey}
	hash := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(context.Background(), credentials, again, hex.EncodeToString(hash[:]), service, v.region, signedAt)
	if err != nil || again.Header.Get("Authorization") != authorization {
		return &exception{"InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
	}
	return nil
}
