package main

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"membercard/local/discovery"
	"membercard/local/stack"
	"membercard/local/tools"
	"membercard/wechat/wechatpay"
)

// stackName is the stack in the CloudFormation of the tests.
const stackName = "membercard-test"

// cloudFormation is a stack as CloudFormation tells of it. Moto has every stack in the
// state CREATE_COMPLETE, or UPDATE_COMPLETE.
type cloudFormation struct {
	status                         string
	outputs, parameters, resources map[string]string
	refuses                        string // an error code for all requests
}

// serve serves the stack under the name [stackName].
func (c *cloudFormation) serve(t *testing.T) {
	serveStacks(t, map[string]*cloudFormation{stackName: c})
}

// serveStacks serves DescribeStacks and ListStackResources of stacks by name in
// CloudFormation's query protocol, two resources a page, and points the SDK to it.
func serveStacks(t *testing.T, stacks map[string]*cloudFormation) {
	type pair struct{ key, value string }
	sorted := func(of map[string]string) (pairs []pair) {
		for key, value := range of {
			pairs = append(pairs, pair{key, value})
		}
		slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
		return pairs
	}
	text := func(s string) string {
		var b strings.Builder
		_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
		return b.String()
	}
	members := func(of []pair, key, value string) (members string) {
		for _, p := range of {
			members += fmt.Sprintf("<member><%s>%s</%s><%s>%s</%s></member>", key, text(p.key), key, value, text(p.value), value)
		}
		return members
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail := func(status int, code, message string) {
			w.WriteHeader(status)
			fmt.Fprintf(w, `<ErrorResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code, text(message))
		}
		form := url.Values{}
		if err := r.ParseForm(); err == nil {
			form = r.PostForm
		}
		action, name := form.Get("Action"), form.Get("StackName")
		c := stacks[name]
		w.Header().Set("Content-Type", "text/xml")
		switch {
		case r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || form.Get("Version") != "2010-05-15" || !strings.Contains(r.Header.Get("Authorization"), "/cloudformation/aws4_request"):
			fail(http.StatusBadRequest, "MalformedQueryString", "it is no request to CloudFormation")
		case c == nil:
			fail(http.StatusBadRequest, "ValidationError", "Stack with id "+name+" does not exist")
		case c.refuses != "":
			fail(http.StatusForbidden, c.refuses, "User: arn:aws:iam::123456789012:user/op is not authorized to perform: cloudformation:"+action)
		case action == "DescribeStacks":
			fmt.Fprintf(w, `<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member><StackName>%s</StackName><StackId>arn:aws:cloudformation:%s:123456789012:stack/%s/1</StackId><CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>%s</StackStatus><Outputs>%s</Outputs><Parameters>%s</Parameters></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`,
				name, region, name, text(c.status), members(sorted(c.outputs), "OutputKey", "OutputValue"), members(sorted(c.parameters), "ParameterKey", "ParameterValue"))
		case action == "ListStackResources":
			all, from, next := sorted(c.resources), 0, ""
			_, _ = fmt.Sscan(form.Get("NextToken"), &from) // without one from the first
			page := all[min(from, len(all)):min(from+2, len(all))]
			if from+2 < len(all) {
				next = fmt.Sprintf("<NextToken>%d</NextToken>", from+2)
			}
			fmt.Fprintf(w, `<ListStackResourcesResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><ListStackResourcesResult><StackResourceSummaries>%s</StackResourceSummaries>%s</ListStackResourcesResult></ListStackResourcesResponse>`,
				members(page, "LogicalResourceId", "PhysicalResourceId"), next)
		default:
			fail(http.StatusBadRequest, "InvalidAction", action)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", server.URL)
}

// useAWS points the SDK to an AWS.
func useAWS(t *testing.T, at discovery.AWS) {
	for variable, value := range map[string]string{
		"AWS_ENDPOINT_URL": at.Endpoint, "AWS_REGION": at.Region, "AWS_ACCESS_KEY_ID": at.AccessKeyID, "AWS_SECRET_ACCESS_KEY": at.SecretAccessKey, "AWS_SESSION_TOKEN": at.SessionToken,
	} {
		t.Setenv(variable, value)
	}
}

// What CloudFormation says of a stack is told with its cure. What is there is checked
// all the same.
func TestStackStates(t *testing.T) {
	useAWS(t, manager.discovery())
	const secret = "membercard/of-a-stack"
	manager.aws.Secrets.Put(secret, "{}")
	whole := map[string]string{"ApiUrl": "http://127.0.0.1:1", "FunctionLogGroup": "logs", "CardPlan": "s3://plans/plan.json"}
	for _, row := range []struct {
		name, stack, status string
		outputs             map[string]string
		refuses             string
		is                  string // "ok", "warning" or "failed"
		cause, cure         string
	}{
		{"deployed", stackName, "CREATE_COMPLETE", whole, "", "ok", "", ""},
		{"deployed again", stackName, "UPDATE_COMPLETE", whole, "", "ok", "", ""},
		{"imported", stackName, "IMPORT_COMPLETE", whole, "", "ok", "", ""},
		{"a deployment that was undone", stackName, "UPDATE_ROLLBACK_COMPLETE", whole, "", "warning", "failed and was undone", "describe-stack-events --stack-name " + stackName},
		{"a deployment now", stackName, "UPDATE_IN_PROGRESS", whole, "", "warning", "being changed now", "when it is over"},
		{"cleaning up after one", stackName, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", whole, "", "warning", "being changed now", "when it is over"},
		{"undoing one", stackName, "UPDATE_ROLLBACK_IN_PROGRESS", whole, "", "warning", "being changed now", "when it is over"},
		{"a deployment that could not be undone", stackName, "UPDATE_ROLLBACK_FAILED", whole, "", "failed", "so did undoing it", "continue-update-rollback --stack-name " + stackName},
		{"a failed deployment that was kept", stackName, "UPDATE_FAILED", whole, "", "failed", "UPDATE_FAILED", "describe-stack-events"},
		{"one that could not be deleted", stackName, "DELETE_FAILED", whole, "", "failed", "DELETE_FAILED", "describe-stack-events"},
		{"one that is being deleted", stackName, "DELETE_IN_PROGRESS", whole, "", "failed", "being deleted", "sam deploy"},
		{"the first deployment failed", stackName, "ROLLBACK_COMPLETE", nil, "", "failed", "the first deployment failed", "sam delete --stack-name " + stackName},
		{"and could not be undone", stackName, "ROLLBACK_FAILED", nil, "", "failed", "ROLLBACK_FAILED", "describe-stack-events"},
		{"the first deployment now", stackName, "CREATE_IN_PROGRESS", nil, "", "failed", "first deployment is not over", "when it is over"},
		{"undoing it", stackName, "ROLLBACK_IN_PROGRESS", nil, "", "failed", "first deployment is not over", "when it is over"},
		{"a change set only", stackName, "REVIEW_IN_PROGRESS", nil, "", "failed", "never deployed", "sam deploy"},
		{"another project's", stackName, "CREATE_COMPLETE", map[string]string{"Url": "x"}, "", "failed", "no stack of membercard", "template.yaml"},
		{"no such stack", "membercard-tset", "CREATE_COMPLETE", whole, "", "failed", "no stack membercard-tset in region " + region, "describe-stacks"},
		{"not allowed", stackName, "CREATE_COMPLETE", whole, "AccessDenied", "failed", "does not allow it", "cloudformation:DescribeStacks"},
		{"credentials that have ended", stackName, "CREATE_COMPLETE", whole, "ExpiredToken", "failed", "does not accept the credentials", "log in anew"},
	} {
		t.Run(row.name, func(t *testing.T) {
			(&cloudFormation{status: row.status, outputs: row.outputs, parameters: map[string]string{"MerchantSecretArn": secret},
				resources: map[string]string{"A": "1", "B": "2", "C": "3"}, refuses: row.refuses}).serve(t)
			o := tool(t, "check", "deployment", "--json", "--stack", row.stack)
			s := o.report(t).Steps[0]
			is := map[bool]string{true: "ok", false: "failed"}[s.OK]
			if s.Warning != "" {
				is = "warning"
			}
			if s.Name != "stack" || is != row.is || !strings.Contains(s.Warning+s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) || (s.Cure == "") != (is == "ok") {
				t.Errorf("%+v", s)
			}
			if checked := strings.Contains(o.out, "mchid is missing"); checked != (row.outputs["ApiUrl"] != "" && row.stack == stackName && row.refuses == "") {
				t.Errorf("the rest was checked: %t\n%s", checked, o.out)
			}
			// A plan is not put through a stack that is broken, but its place is named.
			o = tool(t, "plan", "history", "--json", "--stack", row.stack)
			named := strings.Contains(o.out, "--at s3://plans/plan.json")
			if s := o.report(t).Steps[0]; s.OK != (row.is != "failed") || !s.OK && named != (row.outputs["CardPlan"] != "" && row.stack == stackName && row.refuses == "") {
				t.Errorf("%s", o.out)
			}
		})
	}
}

// Secrets that whoever runs the check can't read. The functions' own checks tell whether
// they can.
func TestSecretsThatCanNotBeRead(t *testing.T) {
	useAWS(t, manager.discovery())
	const secret = "membercard/of-a-stack"
	manager.aws.Secrets.Put(secret, pay.MerchantSecret(wechatpay.Both))
	for _, row := range []struct {
		name, id, exception string
		skipped             bool
		cause, cure         string
	}{
		{"it can", secret, "", false, "", ""},
		{"IAM does not allow it", secret, "AccessDeniedException", true, "", ""},
		{"it is gone", "membercard/gone", "", false, "has no secret membercard/gone", "list-secrets"},
		{"it is to be deleted", secret, "InvalidRequestException", false, "to be deleted", "aws secretsmanager restore-secret --secret-id " + secret},
		{"its KMS key does not decrypt it", secret, "DecryptionFailure", false, "KMS key", "kms:Decrypt"},
		{"Secrets Manager is at fault", secret, "InternalServiceError", false, "InternalServiceError", "secretsmanager:GetSecretValue"},
	} {
		t.Run(row.name, func(t *testing.T) {
			manager.refuse("GetSecretValue", row.exception)
			defer manager.refuse("GetSecretValue", "")
			(&cloudFormation{status: "CREATE_COMPLETE", outputs: map[string]string{"ApiUrl": "http://127.0.0.1:1", "FunctionLogGroup": "logs"},
				parameters: map[string]string{"MerchantSecretArn": row.id}}).serve(t)
			o := tool(t, "check", "deployment", "--json", "--stack", stackName)
			steps := o.report(t).Steps
			i := slices.IndexFunc(steps, func(s step) bool { return s.Name == "merchant's secret" })
			if i < 0 || (steps[i].Skipped != "") != row.skipped || steps[i].OK != (row.cause == "") || !strings.Contains(steps[i].Cause, row.cause) || !strings.Contains(steps[i].Cure, row.cure) {
				t.Errorf("%s", o.out)
			}
		})
	}
}

// The commands on the plan and on a deployment find what they need through
// CloudFormation, and the deployed card-sync compares.
func TestAStackThroughCloudFormation(t *testing.T) {
	s := ownStack(t, stack.Config{Auth: stack.AuthIAM, Plan: "../../local/plan.json", Unthrottled: true})
	said := tools.Describe(s)
	useAWS(t, said.AWS)
	said.Outputs["FunctionLogGroup"] = "logs" // which the local stack does not have
	(&cloudFormation{status: "UPDATE_COMPLETE", outputs: said.Outputs, parameters: said.Parameters, resources: said.Resources}).serve(t)
	plan := func(args ...string) outcome {
		t.Helper()
		return tool(t, append(append([]string{"plan"}, args...), "--json", "--stack", stackName)...)
	}
	inForce := func() string {
		t.Helper()
		client := s3.NewFromConfig(must(config.LoadDefaultConfig(t.Context())), func(o *s3.Options) { o.UsePathStyle = true })
		bucket, key, _ := strings.Cut(strings.TrimPrefix(said.Outputs["CardPlan"], "s3://"), "/")
		text, _, bad := (&app{console: &console{}}).planText(t.Context(), &planPlace{uri: said.Outputs["CardPlan"], bucket: bucket, key: key, client: client}, "")
		if bad != nil {
			t.Fatal(bad)
		}
		return string(text)
	}
	first := string(must(os.ReadFile("../../local/plan.json")))
	second := strings.Replace(first, "pages/offers", "pages/sale", 1)
	plan("put", write(t, "plan.json", first)).requirePassed(t) // a version of its own
	if r := plan("diff", write(t, "plan.json", second)).requirePassed(t); len(r.Changes) != 1 || len(r.Cards) != 2 {
		t.Errorf("%+v", r)
	}
	plan("put", write(t, "plan.json", second)).requirePassed(t)
	if r := plan("history").requirePassed(t); len(r.Versions) < 2 || !r.Versions[0].Current || inForce() != second {
		t.Errorf("%+v", r.Versions)
	}
	plan("rollback").requirePassed(t)
	if inForce() != first {
		t.Errorf("%s", inForce())
	}
	// CloudWatch is not in the local AWS.
	serveAlarms(t, 0, nil)
	if err := s.RenewTicket(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := tool(t, "check", "deployment", "--json", "--stack", stackName).requirePassed(t); r.Steps[0].Detail != stackName+", UPDATE_COMPLETE" || r.Outputs["ApiUrl"] != s.URL {
		t.Errorf("%+v", r)
	}
	// A stack of an older template may have no plan.
	without := map[string]string{"ApiUrl": s.URL, "FunctionLogGroup": "logs"}
	(&cloudFormation{status: "UPDATE_COMPLETE", outputs: without}).serve(t)
	if s := plan("history").requireFailed(t, "card plan"); !strings.Contains(s.Cure, "template") {
		t.Errorf("%+v", s)
	}
}
