package aws

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

func s3Client(s *Server, region, accessKey, secretKey string) *s3.Client {
	return s3.NewFromConfig(config(s, region, accessKey, secretKey), func(o *s3.Options) { o.UsePathStyle = true })
}

// getObject fetches an object and its body.
func getObject(t *testing.T, c *s3.Client, bucket, key, version string) (*s3.GetObjectOutput, string, error) {
	t.Helper()
	input := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
	if version != "" {
		input.VersionId = &version
	}
	out, err := c.GetObject(t.Context(), input)
	if err != nil {
		return nil, "", err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	return out, string(body), err
}

func TestGetObject(t *testing.T) {
	s := start(t)
	c := s3Client(s, region, accessKey, secretKey)
	s.S3.Put("plans", "card-plan.json", []byte(`{"cards":[]}`))
	oldest, _, err := getObject(t, c, "plans", "card-plan.json", "")
	if err != nil {
		t.Fatal(err)
	}
	s.S3.Put("plans", "card-plan.json", []byte(`{}`))
	s.S3.Put("plans", "a/b c+d/会员卡~(1)", []byte("odd"))
	s.S3.Put("plans", "empty", nil)
	file := filepath.Join(t.TempDir(), "plan")
	s.S3.PutFile("files", "plan.json", file)
	s.S3.PutFile("plans", "replaced", file)
	s.S3.Put("plans", "replaced", []byte("by an object"))

	tests := []struct {
		name                 string
		bucket, key, version string
		body, contentType    string
		code                 string // of the error
	}{
		{name: "current", bucket: "plans", key: "card-plan.json", body: `{}`, contentType: "application/json"},
		{name: "by version", bucket: "plans", key: "card-plan.json", version: *oldest.VersionId, body: `{"cards":[]}`, contentType: "application/json"},
		{name: "odd characters", bucket: "plans", key: "a/b c+d/会员卡~(1)", body: "odd", contentType: "binary/octet-stream"},
		{name: "empty", bucket: "plans", key: "empty", contentType: "binary/octet-stream"},
		{name: "was a file", bucket: "plans", key: "replaced", body: "by an object", contentType: "binary/octet-stream"},
		{name: "unknown version", bucket: "plans", key: "card-plan.json", version: "x", code: "NoSuchVersion"},
		{name: "unknown key", bucket: "plans", key: "card-plan", code: "NoSuchKey"},
		{name: "unknown bucket", bucket: "plan", key: "card-plan.json", code: "NoSuchBucket"},
		{name: "missing file", bucket: "files", key: "plan.json", code: "NoSuchKey"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, body, err := getObject(t, c, tt.bucket, tt.key, tt.version)
			if errorCode(err) != tt.code || (err != nil) != (tt.code != "") {
				t.Fatalf("error %v, want %q", err, tt.code)
			}
			if err != nil {
				return
			}
			if body != tt.body || *out.ContentLength != int64(len(body)) || *out.ContentType != tt.contentType ||
				len(*out.ETag) != 34 || *out.VersionId == "" || time.Since(*out.LastModified).Abs() > time.Hour {
				t.Errorf("%q %d %s %s %s %v", body, *out.ContentLength, *out.ContentType, *out.ETag, *out.VersionId, out.LastModified)
			}
			_, _, err = getObject(t, c, tt.bucket, tt.key, *out.VersionId)
			if err != nil {
				t.Errorf("by its version: %v", err)
			}
		})
	}
	if got, least := s.S3.Calls("GetObject"), len(tests)+1; got < least {
		t.Errorf("%d calls of GetObject, want at least %d", got, least)
	}
}

// TestPutFile changes a file between two requests.
func TestPutObject(t *testing.T) {
	s := start(t)
	c := s3Client(s, region, accessKey, secretKey)
	file := filepath.Join(t.TempDir(), "plan")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.S3.PutFile("plans", "plan.json", file)
	s.S3.Put("plans", "plan.json.old", []byte("another object"))
	first, _, err := getObject(t, c, "plans", "plan.json", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		bucket, key, body string
		match, noneMatch  *string
		code              string
	}{
		{"plans", "plan.json", "second", first.ETag, nil, ""},
		{"plans", "plan.json", "third", first.ETag, nil, "PreconditionFailed"},
		{"plans", "plan.json", "third", nil, aws.String("*"), "PreconditionFailed"},
		{"plans", "plan.json", "third", nil, nil, ""},
		{"plans", "new.json", "first", first.ETag, nil, "NoSuchKey"},
		{"plans", "new.json", "first", nil, aws.String("*"), ""},
		{"nowhere", "new.json", "first", nil, nil, "NoSuchBucket"},
	} {
		out, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &row.bucket, Key: &row.key, Body: strings.NewReader(row.body), IfMatch: row.match, IfNoneMatch: row.noneMatch})
		if errorCode(err) != row.code {
			t.Errorf("%s %s: %v, want %q", row.key, row.body, err, row.code)
		}
		if row.code != "" {
			continue
		}
		got, body, err := getObject(t, c, row.bucket, row.key, "")
		if err != nil || body != row.body || *got.VersionId != *out.VersionId || *got.ETag != *out.ETag {
			t.Errorf("%q, %v", body, err)
		}
	}
	if left, err := os.ReadFile(file); err != nil || string(left) != "from a file" {
		t.Errorf("the file has %q, %v", left, err)
	}
	prefix, bucket := "plan.json", "plans"
	list, err := c.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range list.Versions {
		_, body, err := getObject(t, c, bucket, *v.Key, *v.VersionId)
		if err != nil || int64(len(body)) != *v.Size || v.LastModified == nil {
			t.Errorf("%+v, %v", v, err)
		}
		got = append(got, fmt.Sprint(*v.Key, " ", body, " ", *v.IsLatest))
	}
	want := []string{"plan.json third true", "plan.json second false", "plan.json from a file false", "plan.json.old another object true"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
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
		t.Errorf("S3: %v", err)
	}
	text := strings.Repeat("x", maxBodySize)
	_, err = secretsClient(s, region, accessKey, secretKey).PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &key, SecretString: &text})
	if code := errorCode(err); code != "RequestEntityTooLarge" {
		t.Errorf("Secrets Manager: %v", err)
	}
}

func TestPutFile(t *testing.T) {
	s := start(t)
	c := s3Client(s, region, accessKey, secretKey)
	file := filepath.Join(t.TempDir(), "plan.json")
	s.S3.PutFile("plans", "card-plan.json", file)
	seen := make(map[string]bool)
	for _, content := range []string{"one", "two"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			out, body, err := getObject(t, c, "plans", "card-plan.json", "")
			if err != nil {
				t.Fatal(err)
			}
			if known := i > 0; body != content || seen[*out.VersionId] != known || seen[*out.ETag] != known {
				t.Errorf("%q, version %s, ETag %s", body, *out.VersionId, *out.ETag)
			}
			seen[*out.VersionId], seen[*out.ETag] = true, true
		}
	}
}

func TestWrongS3Credentials(t *testing.T) {
	s := start(t)
	s.S3.Put("plans", "plan", nil)
	for _, tt := range []struct {
		name, region, accessKey, secretKey, code string
	}{
		{"access key", region, "AKIDOTHER", secretKey, "InvalidAccessKeyId"},
		{"secret key", region, accessKey, "other", "SignatureDoesNotMatch"},
		{"region", "us-east-1", accessKey, secretKey, "AuthorizationHeaderMalformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := getObject(t, s3Client(s, tt.region, tt.accessKey, tt.secretKey), "plans", "plan", ""); errorCode(err) != tt.code {
				t.Errorf("error %v, want %s", err, tt.code)
			}
		})
	}
}

// TestS3Refusal sends requests that the SDK does not make: each row changes a valid
// request before or after it is signed.
func TestS3Refusal(t *testing.T) {
	s := start(t)
	s.S3.Put("plans", "plan", []byte("content"))
	target := func(method, path string) func(*http.Request) {
		return func(r *http.Request) {
			r.Method = method
			r.URL.Path, r.URL.RawQuery, _ = strings.Cut(path, "?")
		}
	}
	emptySum := sha256.Sum256(nil)
	emptyHash := hex.EncodeToString(emptySum[:])
	for _, tt := range []struct {
		name          string
		hash          string        // UNSIGNED-PAYLOAD, if empty
		age           time.Duration // of the signature
		before, after func(*http.Request)
		status        int
		code          string
	}{
		{name: "good", status: 200},
		{name: "good with a hash", hash: emptyHash, status: 200},
		{name: "range", before: header("Range", "bytes=0-1"), status: 206},
		{name: "not modified", before: header("If-None-Match", `"9a0364b9e99bb480dd25e1f0284c8555"`), status: 304},
		{name: "14 minutes old", age: 14 * time.Minute, status: 200},
		{name: "16 minutes old", age: 16 * time.Minute, status: 403, code: "RequestTimeTooSkewed"},
		{name: "16 minutes ahead", age: -16 * time.Minute, status: 403, code: "RequestTimeTooSkewed"},
		{name: "unsigned", after: func(r *http.Request) { r.Header.Del("Authorization") }, status: 403, code: "AccessDenied"},
		{name: "other algorithm", after: header("Authorization", "Bearer x"), status: 400, code: "AuthorizationHeaderMalformed"},
		{name: "no hash", before: func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") }, status: 400, code: "InvalidRequest"},
		{name: "other hash", hash: strings.Repeat("0", 64), status: 400, code: "XAmzContentSHA256Mismatch"},
		{name: "hash not signed", hash: emptyHash, after: header("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "unsigned header of AWS's", after: header("X-Amz-Request-Payer", "requester"), status: 403, code: "AccessDenied"},
		{name: "other key", after: target("GET", "/plans/plan2"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "DELETE", before: target("DELETE", "/plans/plan"), status: 405, code: "MethodNotAllowed"},
		{name: "PUT of tags", before: target("PUT", "/plans/plan?tagging="), status: 501, code: "NotImplemented"},
		{name: "PUT of a bucket", before: target("PUT", "/plans"), status: 501, code: "NotImplemented"},
		{name: "PUT in chunks", before: func(r *http.Request) {
			target("PUT", "/plans/plan")(r)
			r.Header.Set("Content-Encoding", "aws-chunked")
		}, status: 501, code: "NotImplemented"},
		{name: "list of buckets", before: target("GET", "/"), status: 501, code: "NotImplemented"},
		{name: "list of objects", before: target("GET", "/plans"), status: 501, code: "NotImplemented"},
		{name: "tags", before: target("GET", "/plans/plan?tagging="), status: 501, code: "NotImplemented"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodGet, s.URL()+"/plans/plan", nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.hash == "" {
				tt.hash = "UNSIGNED-PAYLOAD"
			}
			r.Header.Set("X-Amz-Content-Sha256", tt.hash)
			resp, body := sendSigned(t, r, tt.hash, "s3", tt.age, tt.before, tt.after)
			var got struct {
				XMLName                          xml.Name `xml:"Error"`
				Code, Message, RequestId, HostId string
			}
			if tt.code != "" {
				if err := xml.Unmarshal(body, &got); err != nil {
					t.Error(err)
				}
				if got.Message == "" || got.RequestId != resp.Header.Get("X-Amz-Request-Id") || got.HostId == "" ||
					resp.Header.Get("Content-Type") != "application/xml" {
					t.Errorf("%v %s", resp.Header, body)
				}
			}
			if resp.StatusCode != tt.status || got.Code != tt.code {
				t.Errorf("%d %s, want %d %s", resp.StatusCode, body, tt.status, tt.code)
			}
		})
	}
}

func TestS3Fail(t *testing.T) {
	s := start(t)
	c := s3Client(s, region, accessKey, secretKey)
	s.S3.Put("plans", "plan", nil)
	for i, tt := range []struct {
		fault *Fault
		code  string
	}{
		{&Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}, "SlowDown"},
		{&Fault{Status: http.StatusForbidden, Code: "AccessDenied"}, "AccessDenied"},
		{nil, ""},
	} {
		s.S3.Fail(tt.fault)
		if _, _, err := getObject(t, c, "plans", "plan", ""); errorCode(err) != tt.code || (err != nil) != (tt.code != "") {
			t.Errorf("error %v, want %q", err, tt.code)
		}
		if got := s.S3.Calls("GetObject"); got != i+1 {
			t.Errorf("%d calls of GetObject, want %d", got, i+1)
		}
	}
}
