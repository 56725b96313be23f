package sigv4

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestVerify verifies the examples that AWS publishes, and changed ones.
func TestVerify(t *testing.T) {
	const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	type example struct {
		service string
		key     Key
		maxSkew time.Duration
		url     string
		header  map[string]string
		body    string
	}
	vanilla := func() example { // from the test suite of Signature Version 4
		return example{
			"service", Key{"us-east-1", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}, 5 * time.Minute,
			"http://example.amazonaws.com/",
			map[string]string{
				"X-Amz-Date":    "20150830T123600Z",
				"Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
			}, "",
		}
	}
	listUsers := func() example { // from the guide to signing requests
		return example{
			"iam", Key{"us-east-1", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}, 5 * time.Minute,
			"http://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
			map[string]string{
				"Content-Type":  "application/x-www-form-urlencoded; charset=utf-8",
				"X-Amz-Date":    "20150830T123600Z",
				"Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
			}, "",
		}
	}
	getObject := func() example { // from the reference of S3
		return example{
			"s3", Key{"us-east-1", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, 15 * time.Minute,
			"http://examplebucket.s3.amazonaws.com/test.txt",
			map[string]string{
				"Range":                "bytes=0-9",
				"X-Amz-Content-Sha256": emptyHash,
				"X-Amz-Date":           "20130524T000000Z",
				"Authorization":        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
			}, "",
		}
	}
	const good Reason = -1
	for _, tt := range []struct {
		name    string
		example func() example
		change  func(*example)
		age     time.Duration // of the signature
		want    Reason
	}{
		{"vanilla", vanilla, func(*example) {}, 0, good},
		{"ListUsers", listUsers, func(*example) {}, 0, good},
		{"GetObject", getObject, func(*example) {}, 0, good},
		{"five minutes old", vanilla, func(*example) {}, 5 * time.Minute, good},
		{"five minutes ahead", vanilla, func(*example) {}, -5 * time.Minute, good},
		{"older", vanilla, func(*example) {}, 5*time.Minute + time.Second, Skewed},
		{"ahead", vanilla, func(*example) {}, -5*time.Minute - time.Second, Skewed},
		{"older, S3", getObject, func(*example) {}, 15 * time.Minute, good},
		{"unsigned", vanilla, func(e *example) { delete(e.header, "Authorization") }, 0, Missing},
		{"another algorithm", vanilla, func(e *example) { e.header["Authorization"] = "Bearer x" }, 0, Incomplete},
		{"no date", vanilla, func(e *example) { delete(e.header, "X-Amz-Date") }, 0, Incomplete},
		{"another key", vanilla, func(e *example) { e.key.AccessKeyID = "AKIDOTHER" }, 0, UnknownKey},
		{"another region", vanilla, func(e *example) { e.key.Region = "eu-west-1" }, 0, WrongScope},
		{"another service", vanilla, func(e *example) { e.service = "s3" }, 0, WrongScope},
		{"another secret", vanilla, func(e *example) { e.key.SecretAccessKey = "other" }, 0, Mismatch},
		{"another path", vanilla, func(e *example) { e.url += "x" }, 0, Mismatch},
		{"another query", listUsers, func(e *example) { e.url += "&x=y" }, 0, Mismatch},
		{"another host", vanilla, func(e *example) { e.url = "http://example.com/" }, 0, Mismatch},
		{"another header", listUsers, func(e *example) { e.header["Content-Type"] = "text/plain" }, 0, Mismatch},
		{"another body", vanilla, func(e *example) { e.body = "x" }, 0, Mismatch},
		{"another hash, S3", getObject, func(e *example) { e.header["X-Amz-Content-Sha256"] = "UNSIGNED-PAYLOAD" }, 0, Mismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := tt.example()
			signedAt, err := time.Parse(timeFormat, e.header["X-Amz-Date"])
			if err != nil {
				t.Fatal(err)
			}
			tt.change(&e)
			r := httptest.NewRequest(http.MethodGet, e.url, nil)
			for name, value := range e.header {
				r.Header.Set(name, value)
			}
			got := good
			refusal := e.key.Verify(r, []byte(e.body), e.service, e.maxSkew, signedAt.Add(tt.age))
			if refusal != nil {
				got = refusal.Reason
			}
			if got != tt.want || refusal != nil && refusal.Message == "" {
				t.Errorf("%+v, want reason %d", refusal, tt.want)
			}
		})
	}
}
