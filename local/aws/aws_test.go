package aws

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
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

// TestRefusal sends requests that the SDK does not make: each row changes a valid request
// before or after it is signed.
func TestRefusal(t *testing.T) {
	s := start(t)
	s.Secrets.Put("a", "b")
	s.S3.Put("plans", "plan", []byte("content"))
	const forbidden = "InvalidSignatureException"
	target := func(method, path string) func(*http.Request) {
		return func(r *http.Request) {
			r.Method = method
			r.URL.Path, r.URL.RawQuery, _ = strings.Cut(path, "?")
		}
	}
	for _, row := range []struct {
		name          string
		service       string
		age           time.Duration // of the signature
		before, after func(*http.Request)
		status        int
		answer        string // part of it
	}{
		{name: "good", service: "secretsmanager", status: 200},
		{name: "four minutes ahead", service: "secretsmanager", age: -4 * time.Minute, status: 200},
		{name: "six minutes old", service: "secretsmanager", age: 6 * time.Minute, status: 403, answer: forbidden},
		{name: "unsigned", service: "secretsmanager", after: header("Authorization", ""), status: 403, answer: forbidden},
		{name: "another body", service: "secretsmanager", after: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"SecretId":"b"}`)) }, status: 403, answer: forbidden},
		{name: "another operation than signed", service: "secretsmanager", after: header("X-Amz-Target", "secretsmanager.DescribeSecret"), status: 403, answer: forbidden},
		{name: "another operation", service: "secretsmanager", before: header("X-Amz-Target", "secretsmanager.DescribeSecret"), status: 400, answer: `"message":"The local stack does not have secretsmanager DescribeSecret, only what the functions and membercard call."`},
		{name: "another service", service: "logs", before: header("X-Amz-Target", "Logs.StartQuery"), status: 400, answer: "The local stack does not have logs StartQuery, only"},
		{name: "an object", service: "s3", before: target("GET", "/plans/plan"), status: 200, answer: "content"},
		{name: "a range", service: "s3", before: func(r *http.Request) { target("GET", "/plans/plan")(r); r.Header.Set("Range", "bytes=0-1") }, status: 206, answer: "co"},
		{name: "another object than signed", service: "s3", before: target("GET", "/plans/plan"), after: target("GET", "/plans/plan2"), status: 403, answer: "<Error><Code>" + forbidden},
		{name: "tags", service: "s3", before: target("GET", "/plans/plan?tagging="), status: 501, answer: "does not have the parameter tagging"},
		{name: "DELETE", service: "s3", before: target("DELETE", "/plans/plan"), status: 400, answer: "does not have s3 DELETE"},
		{name: "in chunks", service: "s3", before: func(r *http.Request) {
			target("PUT", "/plans/plan")(r)
			r.Header.Set("Content-Encoding", "aws-chunked")
		}, status: 501, answer: "in chunks"},
	} {
		t.Run(row.name, func(t *testing.T) {
			const body = `{"SecretId":"a"}`
			r, err := http.NewRequest("POST", s.URL()+"/", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256([]byte(body))
			hash := hex.EncodeToString(sum[:])
			r.Header.Set("Content-Type", "application/x-amz-json-1.1")
			if row.service == "secretsmanager" {
				r.Header.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
			}
			r.Header.Set("X-Amz-Content-Sha256", hash)
			if row.before != nil {
				row.before(r)
			}
			key := aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}
			if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hash, row.service, region, time.Now().Add(-row.age)); err != nil {
				t.Fatal(err)
			}
			if row.after != nil {
				row.after(r)
			}
			response, content := networktest.Do(t, http.DefaultClient.Do, r)
			if response.StatusCode != row.status || !strings.Contains(string(content), row.answer) {
				t.Errorf("%d %s, want %d %s", response.StatusCode, content, row.status, row.answer)
			}
		})
	}
}

// A body that is too large must not look stored.
func TestTooLargeBody(t *testing.T) {
	s := start(t)
	s.S3.Put("plans", "plan.json", []byte("first"))
	c := s3Client(s, region, accessKey, secretKey)
	bucket, key := "plans", "plan.json"
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(make([]byte, maxBodySize+1))})
	if code := errorCode(err); code != "RequestEntityTooLarge" {
		t.Error(err)
	}
}
