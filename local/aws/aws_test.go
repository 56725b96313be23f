package aws

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"membercard/local/template"
	"membercard/wechat/network/networktest"
)

// The services may have real keys. Nobody reads them without a signature for what is asked;
// what is signed and not served is refused by name.
func TestRefusal(t *testing.T) {
	const region = "eu-west-1"
	key := aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	s, err := Start(region, key.AccessKeyID, key.SecretAccessKey)
	if err != nil {
		t.Fatal(err)
	}
	networktest.Close(t, s)
	s.Secrets.Put("a", "the secret")
	s.S3.Put("plans", "plan", []byte("the plan"))
	const forbidden = "InvalidSignatureException"
	for _, row := range []struct {
		name, service string
		signed, sent  string // operation of the service, or path of the object
		unsigned      bool
		status        int
		answer        string // part of it
	}{
		{"a secret", "secretsmanager", "GetSecretValue", "GetSecretValue", false, 200, "the secret"},
		{"without a signature", "secretsmanager", "GetSecretValue", "GetSecretValue", true, 403, forbidden},
		{"another operation than signed", "secretsmanager", "ListSecretVersionIds", "GetSecretValue", false, 403, forbidden},
		{"an object", "s3", "/plans/plan", "/plans/plan", false, 200, "the plan"},
		{"another object than signed", "s3", "/plans/another", "/plans/plan", false, 403, "<Error><Code>" + forbidden},
		{"what is not served", "secretsmanager", "DescribeSecret", "DescribeSecret", false, 400, `"message":"The local stack does not have secretsmanager DescribeSecret, only what the functions and membercard call."`},
		{"a service that is not served", "logs", "StartQuery", "StartQuery", false, 400, "The local stack does not have logs StartQuery, only"},
	} {
		t.Run(row.name, func(t *testing.T) {
			const body = `{"SecretId":"a"}`
			r, err := http.NewRequest(http.MethodPost, s.URL()+"/", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			ask := func(what string) {
				if r.Header.Set("X-Amz-Target", row.service+"."+what); row.service == "s3" {
					r.Header.Del("X-Amz-Target")
					r.Method, r.URL.Path = http.MethodGet, what
				}
			}
			ask(row.signed)
			sum := sha256.Sum256([]byte(body))
			if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hex.EncodeToString(sum[:]), row.service, region, time.Now()); err != nil {
				t.Fatal(err)
			}
			ask(row.sent)
			if row.unsigned {
				r.Header.Del("Authorization")
			}
			response, content := networktest.Do(t, http.DefaultClient.Do, r)
			if response.StatusCode != row.status || !strings.Contains(string(content), row.answer) {
				t.Errorf("%d %s, want %d %s", response.StatusCode, content, row.status, row.answer)
			}
		})
	}
}

// Of the template's rules, the one that has cards confirmed takes only our own events of
// opened brand cards, and the ones that start a sync only a new plan.
func TestRules(t *testing.T) {
	deployed, err := template.Read("../../template.yaml", map[string]string{"MerchantSecretArn": "any", "OfficialAccountSecretArn": "any"})
	if err != nil {
		t.Fatal(err)
	}
	e := newEvents("eu-west-1")
	var taken []string
	for _, rule := range deployed.Rules {
		e.PutRule(rule, func([]byte) { taken = append(taken, cmp.Or(rule.Function, "queue")) })
	}
	plan := func(key string) string {
		return `{"bucket":{"name":"` + deployed.Resources["CardPlanBucket"] + `"},"object":{"key":"` + key + `"}}`
	}
	for _, row := range []struct{ bus, source, kind, detail, taken string }{
		{"local", "membercard", "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", "{}", "queue"},
		{"local", "membercard", "BRAND_MEMBER_CARD_SP.USER_CARD.DELETE", "{}", ""},
		{"local", "membercard", "MEMBERCARD.ACCEPT_CARD", "{}", ""},
		{"local", "another", "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", "{}", ""},
		{"default", "membercard", "BRAND_MEMBER_CARD_SP.USER_CARD.CREATE", "{}", ""},
		{"default", "aws.s3", "Object Created", plan(deployed.Parameters["CardPlanKey"]), "CardSyncFunction ServiceModuleSyncFunction"},
		{"default", "aws.s3", "Object Created", plan("card-sync.json"), ""},
		{"default", "aws.s3", "Object Deleted", plan(deployed.Parameters["CardPlanKey"]), ""},
	} {
		taken = nil
		e.putEvents(struct{ Entries []eventEntry }{[]eventEntry{{EventBusName: row.bus, Source: row.source, DetailType: row.kind, Detail: row.detail}}})
		if strings.Join(slices.Sorted(slices.Values(taken)), " ") != row.taken {
			t.Errorf("%+v is taken by %q", row, taken)
		}
	}
}

// The plan's file counts as soon as it is edited, also after another plan was put, which does
// not change the file.
func TestPutFile(t *testing.T) {
	s := newS3()
	file := filepath.Join(t.TempDir(), "plan.json")
	s.PutFile("plans", "plan.json", file)
	seen := map[string]bool{}
	for i, content := range []string{"one", "two", "put", "three"} {
		if content == "put" {
			s.Put("plans", "plan.json", []byte(content))
		} else {
			at := time.Now().Add(time.Duration(i-2) * time.Second) // the one put is in between
			if err := errors.Join(os.WriteFile(file, []byte(content), 0o600), os.Chtimes(file, at, at)); err != nil {
				t.Fatal(err)
			}
		}
		v := s.buckets["plans"]["plan.json"].current()
		if string(v.body) != content || seen[v.id] || seen[v.etag()] {
			t.Errorf("%q, version %s, ETag %s", v.body, v.id, v.etag())
		}
		seen[v.id], seen[v.etag()] = true, true
	}
}
