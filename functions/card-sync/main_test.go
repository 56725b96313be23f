package main

import (
	"context"
	"crypto/md5"
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

	"membercard/shared/cardplan"
	"membercard/shared/invocation"
	"membercard/shared/officialaccount"
	wechattest "membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/plansync"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

const (
	cardID = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	taken  = `{"errcode":0,"errmsg":"ok","send_check":false}` // the answer of /card/update

	pair         = `"custom_app_brand_user_name":"gh_86a091e50ad4@app","custom_app_brand_pass":"API/cardPage"`
	activatePair = `"activate_app_brand_user_name":"gh_86a091e50ad4@app","activate_app_brand_pass":"API/cardPage"`
)

// newFunction returns the function that main starts, and its log.
func newFunction(from officialaccount.Source, endpoint string, plan plansync.Object) (invocation.Actions, *telemetrytest.Records) {
	log, records := telemetrytest.New()
	s := &syncer{wechat: wechattest.Client(from, endpoint), place: plan.Beside(plansync.CardSync), log: log}
	sync := plansync.Sync{Log: log, Plan: plan, Lease: plansync.CardSyncLease, Has: (*cardplan.Card).HasFields, Apply: s.sync}
	return invocation.Actions{Log: log, ByName: map[string]invocation.Action{"sync": sync.Invoke}}, records
}

// bucket is an S3 with the bucket "plans". The plan is plans/plan.json.
type bucket struct {
	mu      sync.Mutex
	objects map[string]string // by path, such as /plans/card-sync.json
	status  int               // of the answers for the plan, if not 0; -1 breaks the connection
	header  http.Header       // of them
	puts    []string          // bodies, without those of leases
	deleted bool              // whether the other objects, where there are none, were deleted
	refuses bool              // whether all but the plan is AccessDenied
	changes bool              // whether somebody else always wrote a lease first
	get     string            // how the plan is read: "", "without conditions" or "without ETags"
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	refuse := func(status int, code string) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>`+code+`</Code><Message>m</Message></Error>`)
	}
	content, ok := b.objects[r.URL.Path]
	isPlan := r.URL.Path == "/plans/plan.json"
	switch {
	case isPlan && b.status == -1:
		panic(http.ErrAbortHandler)
	case isPlan && b.status != 0:
		for name, values := range b.header {
			w.Header()[name] = values
		}
		refuse(b.status, content)
	case b.refuses && !isPlan:
		refuse(http.StatusForbidden, "AccessDenied")
	case r.Method == http.MethodPut:
		match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
		if ok && none == "*" || match != "" && (!ok || match != etag(content)) || b.changes && strings.HasSuffix(r.URL.Path, ".lease.json") {
			refuse(http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
		body, _ := io.ReadAll(r.Body)
		b.objects[r.URL.Path] = string(body)
		w.Header().Set("Etag", etag(string(body)))
		if r.URL.Path != "/plans/card-sync.lease.json" {
			b.puts = append(b.puts, string(body))
		}
	case !ok:
		if !isPlan && b.deleted {
			w.Header().Set("X-Amz-Delete-Marker", "true")
		}
		refuse(http.StatusNotFound, "NoSuchKey")
	case isPlan && b.get == "without ETags":
		_, _ = io.WriteString(w, content)
	case isPlan && b.get == "without conditions":
		w.Header().Set("Etag", etag(content))
		_, _ = io.WriteString(w, content)
	default:
		w.Header().Set("Etag", etag(content))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
	}
}

func etag(content string) string { return fmt.Sprintf(`"%x"`, md5.Sum([]byte(content))) }

// start returns the plan's object in the bucket.
func (b *bucket) start(t *testing.T) plansync.Object {
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	return planAt(s.URL)
}

// written returns what was put into the bucket since the last call.
func (b *bucket) written() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	puts := b.puts
	b.puts = nil
	return puts
}

// newBucket returns a bucket with a plan, or with none if it is "".
func newBucket(plan string) *bucket {
	b := &bucket{objects: map[string]string{}}
	if plan != "" {
		b.objects["/plans/plan.json"] = plan
	}
	return b
}

// planAt returns the plan's object of the S3 at a URL, without retries.
func planAt(url string) plansync.Object {
	return plansync.Object{Bucket: "plans", Key: "plan.json", Client: s3.New(s3.Options{
		BaseEndpoint: &url, UsePathStyle: true, Region: "eu-central-1", Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "a-secret-access-key"}, nil
		}),
	})}
}
