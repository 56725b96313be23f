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
		url     string
		header  map[string]string
		body    string
	}
	vanilla := func() example { // from the test suite of Signature Version 4
		return example{
			"service", Key{"us-east-1", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"},
			"http://example.amazonaws.com/",
			map[string]string{
				"X-Amz-Date":    "20150830T123600Z",
				"Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
			}, "",
		}
	}
	listUsers := func() example { // from the guide to signing requests
		return example{
			"iam", Key{"us-east-1", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"},
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
			"s3", Key{"us-east-1", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
			"http://examplebucket.s3.amazonaws.com/test.txt",
			map[string]string{
				"Range":                "bytes=0-9",
				"X-Amz-Content-Sha256": emptyHash,
				"X-Amz-Date":           "20130524T000000Z",
				"Authorization":        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
			}, "",
		}
	}
	for _, tt := range []struct {
		name    string
		example func() example
		change  func(*example)
		age     time.Duration // of the signature
		good    bool
	}{
		{"vanilla", vanilla, func(*example) {}, 0, true},
		{"ListUsers", listUsers, func(*example) {}, 0, true},
		{"GetObject", getObject, func(*example) {}, 0, true},
		{"five minutes old", vanilla, func(*example) {}, 5 * time.Minute, true},
		{"five minutes ahead", vanilla, func(*example) {}, -5 * time.Minute, true},
		{"older", vanilla, func(*example) {}, 5*time.Minute + time.Second, false},
		{"ahead", vanilla, func(*example) {}, -5*time.Minute - time.Second, false},
		{"unsigned", vanilla, func(e *example) { delete(e.header, "Authorization") }, 0, false},
		{"another algorithm", vanilla, func(e *example) { e.header["Authorization"] = "Bearer x" }, 0, false},
		{"no date", vanilla, func(e *example) { delete(e.header, "X-Amz-Date") }, 0, false},
		{"another key", vanilla, func(e *example) { e.key.AccessKeyID = "AKIDOTHER" }, 0, false},
		{"another region", vanilla, func(e *example) { e.key.Region = "eu-west-1" }, 0, false},
		{"another service", vanilla, func(e *example) { e.service = "s3" }, 0, false},
		{"another secret", vanilla, func(e *example) { e.key.SecretAccessKey = "other" }, 0, false},
		{"another path", vanilla, func(e *example) { e.url += "x" }, 0, false},
		{"another query", listUsers, func(e *example) { e.url += "&x=y" }, 0, false},
		{"another host", vanilla, func(e *example) { e.url = "http://example.com/" }, 0, false},
		{"another header", listUsers, func(e *example) { e.header["Content-Type"] = "text/plain" }, 0, false},
		{"another body", vanilla, func(e *example) { e.body = "x" }, 0, false},
		{"another hash, S3", getObject, func(e *example) { e.header["X-Amz-Content-Sha256"] = "UNSIGNED-PAYLOAD" }, 0, false},
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
			err = e.key.Verify(r, []byte(e.body), e.service, signedAt.Add(tt.age))
			if (err == nil) != tt.good {
				t.Errorf("error %v", err)
			}
		})
	}
}
