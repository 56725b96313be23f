package aws

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"

	"membercard/wechat/network/networktest"
)

const (
	region    = "eu-west-1"
	accessKey = "AKIDEXAMPLE"
	secretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

func start(t *testing.T) *Server {
	t.Helper()
	s, err := Start(region, accessKey, secretKey)
	if err != nil {
		t.Fatal(err)
	}
	networktest.Close(t, s)
	return s
}

func credentials(accessKey, secretKey string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey, SessionToken: "token"}, nil
	})
}

// config is that of a client that calls the server in one attempt.
func config(s *Server, region, accessKey, secretKey string) aws.Config {
	return aws.Config{
		BaseEndpoint: aws.String(s.URL()),
		Region:       region,
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
		Credentials:  credentials(accessKey, secretKey),
	}
}

func errorCode(err error) string {
	if apiErr, ok := errors.AsType[smithy.APIError](err); ok {
		return apiErr.ErrorCode()
	}
	return ""
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// sendSigned sends a request with a signature of the given age. It is changed
// before it is signed, and after.
func sendSigned(t *testing.T, r *http.Request, hash, service string, age time.Duration, before, after func(*http.Request)) (*http.Response, []byte) {
	t.Helper()
	if before != nil {
		before(r)
	}
	key := aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hash, service, region, time.Now().Add(-age)); err != nil {
		t.Fatal(err)
	}
	if after != nil {
		after(r)
	}
	return networktest.Do(t, http.DefaultClient.Do, r)
}
