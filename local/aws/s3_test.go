package aws

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
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
		body                 string
		code                 string // of the error
	}{
		{name: "current", bucket: "plans", key: "card-plan.json", body: `{}`},
		{name: "by version", bucket: "plans", key: "card-plan.json", version: *oldest.VersionId, body: `{"cards":[]}`},
		{name: "odd characters", bucket: "plans", key: "a/b c+d/会员卡~(1)", body: "odd"},
		{name: "empty", bucket: "plans", key: "empty"},
		{name: "was a file", bucket: "plans", key: "replaced", body: "by an object"},
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
			if body != tt.body || *out.ContentLength != int64(len(body)) ||
				len(*out.ETag) != 34 || *out.VersionId == "" || time.Since(*out.LastModified).Abs() > time.Hour {
				t.Errorf("%q %d %s %s %v", body, *out.ContentLength, *out.ETag, *out.VersionId, out.LastModified)
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

// A deleted object is not found, and its versions stay.
func TestDelete(t *testing.T) {
	s := start(t)
	c := s3Client(s, region, accessKey, secretKey)
	bucket, key := "plans", "plan.json"
	s.S3.Put(bucket, key, []byte("one"))
	s.S3.Delete(bucket, key)
	_, _, err := getObject(t, c, bucket, key, "")
	var failed *awshttp.ResponseError
	if errorCode(err) != "NoSuchKey" || !errors.As(err, &failed) || failed.Response.Header.Get("X-Amz-Delete-Marker") != "true" {
		t.Errorf("a deleted object: %v", err)
	}
	list, err := c.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &key})
	if err != nil || len(list.Versions) != 1 || *list.Versions[0].IsLatest || len(list.DeleteMarkers) != 1 || !*list.DeleteMarkers[0].IsLatest {
		t.Fatalf("%+v, %v", list, err)
	}
	if _, body, err := getObject(t, c, bucket, key, *list.Versions[0].VersionId); err != nil || body != "one" {
		t.Errorf("%q, %v", body, err)
	}
	if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("two"), IfNoneMatch: aws.String("*")}); err != nil {
		t.Errorf("there is an object: %v", err)
	}
}

// TestPutFile changes a file between two requests.
func TestPutFile(t *testing.T) {
	s := start(t)
	c := s3Client(s, region, accessKey, secretKey)
	file := filepath.Join(t.TempDir(), "plan.json")
	s.S3.PutFile("plans", "card-plan.json", file)
	seen := make(map[string]bool)
	for _, content := range []string{"one", "two", "put", "three"} {
		if content == "put" { // a version over the file, which stays as it is; the next edit is newer
			s.S3.Put("plans", "card-plan.json", []byte(content))
			time.Sleep(20 * time.Millisecond) // a file's time is coarser
		} else if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
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
