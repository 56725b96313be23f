// Package plansynctest is for the tests of functions that carry out the card plan. It has an
// S3 with the plan's bucket.
package plansynctest

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"membercard/shared/invocation"
	"membercard/shared/plansync"
)

// Plan is the name of the object with the plan in a [Bucket].
const Plan = "plan.json"

// Bucket is an S3 with one bucket.
type Bucket struct {
	// Refuse returns the status and the code of the answer to a request, if it is not nil.
	// The status 0 lets the request through, and -1 breaks the connection.
	Refuse  func(method, name string) (status int, code string)
	Deleted bool   // whether the objects that are not there were deleted
	Get     string // how the plan is read: "", "without conditions" or "without ETags"

	mu      sync.Mutex
	objects map[string]string // by name
	puts    []string          // bodies, without those of leases
}

// NewBucket returns a bucket with a plan, or with none if it is "".
func NewBucket(plan string) *Bucket {
	b := &Bucket{objects: map[string]string{}}
	b.Put(Plan, plan)
	return b
}

// Start starts the S3, and returns the plan's object.
func (b *Bucket) Start(t testing.TB) plansync.Object {
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	return At(s.URL)
}

// At returns the plan's object of the S3 at a URL, without retries.
func At(url string) plansync.Object {
	return plansync.Object{Bucket: "plans", Key: Plan, Client: s3.New(s3.Options{
		BaseEndpoint: &url, UsePathStyle: true, Region: "eu-central-1", Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "a-secret-access-key"}, nil
		}),
	})}
}

// Put puts an object, or deletes it if content is "".
func (b *Bucket) Put(name, content string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects[name] = content; content == "" {
		delete(b.objects, name)
	}
}

// Content returns the content of an object, or "" if there is none.
func (b *Bucket) Content(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects[name]
}

// Written returns what the function wrote since the last call, without leases.
func (b *Bucket) Written() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	puts := b.puts
	b.puts = nil
	return puts
}

// ServeHTTP implements [http.Handler].
func (b *Bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/plans/")
	refuse := func(status int, code string) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>`+code+`</Code><Message>m</Message></Error>`)
	}
	if b.Refuse != nil {
		switch status, code := b.Refuse(r.Method, name); status {
		case 0:
		case -1:
			panic(http.ErrAbortHandler)
		default:
			refuse(status, code)
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	content, ok := b.objects[name]
	match := r.Header.Get("If-Match")
	switch {
	case !ok && (r.Method != http.MethodPut || match != ""):
		if b.Deleted {
			w.Header().Set("X-Amz-Delete-Marker", "true")
		}
		refuse(http.StatusNotFound, "NoSuchKey")
	case r.Method == http.MethodPut:
		if ok && r.Header.Get("If-None-Match") == "*" || match != "" && match != etag(content) {
			refuse(http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
		body, _ := io.ReadAll(r.Body)
		b.objects[name] = string(body)
		w.Header().Set("Etag", etag(string(body)))
		if !strings.HasSuffix(name, ".lease.json") {
			b.puts = append(b.puts, string(body))
		}
	case name == Plan && b.Get == "without ETags":
		_, _ = io.WriteString(w, content)
	case name == Plan && b.Get == "without conditions":
		w.Header().Set("Etag", etag(content))
		_, _ = io.WriteString(w, content)
	default:
		w.Header().Set("Etag", etag(content))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
	}
}

func etag(content string) string { return fmt.Sprintf(`"%x"`, md5.Sum([]byte(content))) }

// Answer is what an invocation answers: a report, or an error.
type Answer struct {
	plansync.Report
	Error *struct {
		Code, Message string
		Faults        []struct{ Path, Issue string }
	}
}

// Invoke has a function handle an event.
func Invoke(ctx context.Context, t testing.TB, f invocation.Action, event string) (a Answer) {
	t.Helper()
	raw, err := f.Invoke(ctx, []byte(event))
	if err != nil {
		t.Fatalf("%s: the runtime got an error: %v", event, err)
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return a
}
