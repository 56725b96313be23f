package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"membercard/wechat/wechatpay"
)

// What AWS refuses has a cause that says what it is, and a cure that is about it.
func TestRefusalsOfAWS(t *testing.T) {
	refusal := func(code string) error { return &smithy.GenericAPIError{Code: code, Message: "as AWS says it"} }
	place := &planPlace{uri: "s3://plans/plan.json", bucket: "plans", key: "plan.json", where: " --at s3://plans/plan.json"}
	service := func(err error) *fault { return apiFault(err, "SQS", "sqs:GetQueueAttributes") }
	secret := func(err error) *fault { return awsFault(err, "secretsmanager:GetSecretValue", "membercard/merchant") }
	plan := func(err error) *fault { return s3Fault(err, place) }
	for _, row := range []struct {
		name        string
		of          func(error) *fault
		err         error
		cause, cure string
	}{
		{"IAM", service, refusal("AccessDeniedException"), "SQS does not allow it: as AWS says it", "sqs:GetQueueAttributes"},
		{"IAM, of S3", plan, refusal("AccessDenied"), "S3 does not allow it: as AWS says it", "ListBucketVersions"},
		{"IAM, of S3 without a body", plan, refusal("Forbidden"), "S3 does not allow it", "PutObject"},
		{"a session that has ended", service, refusal("ExpiredTokenException"), "does not accept the credentials (ExpiredTokenException)", "log in anew"},
		{"a key that is gone", plan, refusal("InvalidAccessKeyId"), "does not accept the credentials", "log in anew"},
		{"a signature whose time is wrong", service, refusal("InvalidSignatureException"), "does not accept the credentials", "clock"},
		{"the clock, of S3", plan, refusal("RequestTimeTooSkewed"), "clock is wrong", "set-ntp"},
		{"the clock, of CloudFormation", service, refusal("RequestExpired"), "clock is wrong", "set-ntp"},
		{"too many requests", service, refusal("ThrottlingException"), "too many requests", "in a minute"},
		{"too many requests to S3", plan, refusal("SlowDown"), "too many requests", "in a minute"},
		{"what is not known", service, refusal("NeverSeen"), "SQS answered NeverSeen: as AWS says it", "the document of sqs:GetQueueAttributes"},
		{"no such secret", secret, refusal("ResourceNotFoundException"), "no secret membercard/merchant", "--put membercard/merchant"},
		{"no plan", plan, refusal("NoSuchKey"), "no plan at s3://plans/plan.json", "plan put FILE --at s3://plans/plan.json"},
		{"no bucket", plan, refusal("NoSuchBucket"), "no bucket plans", "CardPlan"},
		{"a bucket of another region", plan, refusal("PermanentRedirect"), "another region", "--region"},
		{"the same, by the signature", plan, refusal("AuthorizationHeaderMalformed"), "another region", "--region"},
		{"no such version", plan, refusal("NoSuchVersion"), "no such version", "plan history"},
		{"another plan meanwhile", plan, refusal("PreconditionFailed"), "somebody else", "plan diff"},
		{"no network", plan, &url.Error{Op: "Post", URL: "https://s3.example/", Err: &net.DNSError{Err: "no such host", Name: "s3.example"}}, "S3 could not be reached: lookup s3.example: no such host", "network"},
		{"Ctrl-C", service, fmt.Errorf("canceled, %w", context.Canceled), "interrupted", ""},
		{"no answer", service, errors.New("EOF"), "it did not answer", "network"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if f := row.of(row.err); !strings.Contains(f.cause, row.cause) || !strings.Contains(f.cure, row.cure) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestAQueueThatIsGone(t *testing.T) {
	useAWS(t, manager.discovery())
	(&cloudFormation{status: "UPDATE_COMPLETE", outputs: map[string]string{"ApiUrl": "http://127.0.0.1:1", "FunctionLogGroup": "logs",
		"ConfirmDeadLetterQueueUrl": manager.URL + "/123456789012/gone"}}).serve(t)
	steps := tool(t, "check", "deployment", "--json", "--stack", stackName).report(t).Steps
	i := slices.IndexFunc(steps, func(s step) bool { return s.Name == "dead letters of brand-confirm" })
	if i < 0 || steps[i].OK || !strings.Contains(steps[i].Cause, "is gone") || !strings.Contains(steps[i].Cure, "deploy") {
		t.Errorf("%+v", steps)
	}
}

// What WeChat Pay's support asks for is shown for a token, too, as a text and as JSON.
func TestATokenThatIsRefused(t *testing.T) {
	args := []string{"token", "merchant", "--card-id", "pNoAuth", "--file", write(t, "secret.json", pay.MerchantSecret(wechatpay.Both)), local}
	var answer struct {
		OK    bool
		Error struct {
			Cause, Cure string
			RequestID   string `json:"request_id"`
		}
	}
	o := tool(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(o.out), &answer); err != nil || o.code != exitFailed || answer.OK || answer.Error.RequestID == "" || !strings.Contains(answer.Error.Cause, "NO_AUTH") || answer.Error.Cure == "" {
		t.Errorf("%v %+v", err, o)
	}
	o = tool(t, args...)
	if o.code != exitFailed || o.out != "" || !strings.Contains(o.err, "\ncure: ") || !strings.Contains(o.err, "\nrequest_id: ") {
		t.Errorf("%+v", o)
	}
}
