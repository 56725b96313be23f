package main

import (
	"context"
	"crypto/rand"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cloudformationtypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"membercard/shared/awsconfig"
	"membercard/shared/awsconfig/mototest"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/wechat/wechatpay"
)

// TestASecretInMoto stores a secret in an implementation of Secrets Manager that is
// not this project's.
func TestASecretInMoto(t *testing.T) {
	mototest.Use(t, "AWS_ENDPOINT_URL_SECRETS_MANAGER")
	name := "membercard/" + rand.Text()
	client := secretsmanager.NewFromConfig(awsconfig.Load())
	t.Cleanup(func() {
		_, _ = client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: &name, ForceDeleteWithoutRecovery: aws.Bool(true)})
	})
	read := func(stage string) string {
		t.Helper()
		out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &name, VersionStage: &stage})
		if err != nil {
			t.Fatal(err)
		}
		return *out.SecretString
	}
	put := func(f files) *stored {
		t.Helper()
		return tool(t, f.args(t, "--json", "--put", name)...).requirePassed(t).Stored
	}
	first := tool(t, given().args(t)...).out
	if s := put(given()); !s.Created || s.Unchanged || read("AWSCURRENT")+"\n" != first {
		t.Errorf("%+v", s)
	}
	if s := put(given()); s.Created || !s.Unchanged {
		t.Errorf("%+v", s)
	}
	if s := put(given().but("apiv3-key-file", "-")); s.Created || s.Unchanged || read("AWSPREVIOUS")+"\n" != first || read("AWSCURRENT")+"\n" == first {
		t.Errorf("%+v", s)
	}
	if s := put(given()); s.Created || s.Unchanged || read("AWSCURRENT")+"\n" != first {
		t.Errorf("back to the first version: %+v", s)
	}
}

// TestRotateUndoInMoto undoes a rotation in an implementation of Secrets Manager that is
// not this project's.
func TestRotateUndoInMoto(t *testing.T) {
	mototest.Use(t, "AWS_ENDPOINT_URL_SECRETS_MANAGER")
	client := secretsmanager.NewFromConfig(awsconfig.Load())
	for _, row := range undoRows() {
		t.Run(row.name, func(t *testing.T) {
			id, there := "membercard/"+rand.Text(), false
			put := func(value string) {
				t.Helper()
				var err error
				if there {
					_, err = client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &id, SecretString: &value})
				} else {
					_, err = client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &id, SecretString: &value})
				}
				if there = true; err != nil {
					t.Fatal(err)
				}
			}
			current := func() string {
				t.Helper()
				// Without a label, moto answers with the version that was put last.
				out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &id, VersionStage: aws.String("AWSCURRENT")})
				if err != nil {
					t.Fatal(err)
				}
				return *out.SecretString
			}
			testUndo(t, row, id, put, current, "--endpoint", strings.Join(pay.Endpoints(), ","))
		})
	}
}

// deployedInMoto is as much of template.yaml as moto can deploy, run and list: no
// functions, no API and no alarms.
const deployedInMoto = `{"Parameters": {"MerchantSecretArn": {"Type": "String"}, "AlarmTopicArn": {"Type": "String", "Default": ""}},
"Resources": {
  "CardTicket": {"Type": "AWS::SecretsManager::Secret", "Properties": {"SecretString": "{\"ticket\":\"t\",\"expires_at\":\"2999-01-01T00:00:00Z\"}"}},
  "EventBus": {"Type": "AWS::Events::EventBus", "Properties": {"Name": {"Ref": "AWS::StackName"}}},
  "ConfirmDeadLetters": {"Type": "AWS::SQS::Queue"},
  "FailedInvocations": {"Type": "AWS::SQS::Queue"},
  "FunctionLogs": {"Type": "AWS::Logs::LogGroup"}},
"Outputs": {
  "ApiUrl": {"Value": "https://api.invalid"},
  "FunctionLogGroup": {"Value": {"Ref": "FunctionLogs"}},
  "EventBusName": {"Value": {"Ref": "AWS::StackName"}},
  "ConfirmDeadLetterQueueUrl": {"Value": {"Ref": "ConfirmDeadLetters"}},
  "FailedInvocationsQueueUrl": {"Value": {"Ref": "FailedInvocations"}}}}`

// motoConfig is the configuration for all services of moto.
func motoConfig(t *testing.T) aws.Config {
	t.Helper()
	mototest.Use(t, "AWS_ENDPOINT_URL")
	return awsConfig(t, &app{console: &console{}})
}

func awsConfig(t *testing.T, a *app) aws.Config {
	t.Helper()
	c, bad := a.aws(t.Context())
	if bad != nil {
		t.Fatal(bad)
	}
	return c
}

// deploy deploys deployedInMoto and returns the stack's name and outputs.
func deploy(t *testing.T, secret string) (name string, outputs map[string]string) {
	t.Helper()
	c := motoConfig(t)
	name = "membercard-" + rand.Text()
	secrets, stacks := secretsmanager.NewFromConfig(c), cloudformation.NewFromConfig(c)
	made, err := secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &secret})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stacks.CreateStack(t.Context(), &cloudformation.CreateStackInput{StackName: &name, TemplateBody: aws.String(deployedInMoto), Parameters: []cloudformationtypes.Parameter{
		{ParameterKey: aws.String("MerchantSecretArn"), ParameterValue: made.ARN},
	}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = stacks.DeleteStack(context.Background(), &cloudformation.DeleteStackInput{StackName: &name})
	})
	d := &deployment{c, map[string]string{}, map[string]string{}, map[string]string{}}
	if status, err := d.describe(t.Context(), name); err != nil || status != "CREATE_COMPLETE" {
		t.Fatal(status, err)
	}
	return name, d.outputs
}

// TestCheckDeploymentInMoto checks stacks in implementations of CloudFormation, Secrets
// Manager and SQS that are not this project's. Moto has no functions, so the local
// stack's tests have those.
func TestCheckDeploymentInMoto(t *testing.T) {
	whole := pay.MerchantSecret(wechatpay.Both)
	for _, row := range []struct {
		name, secret string
		fault        func(t *testing.T, outputs map[string]string)
		fails        []string
		cause, cure  string // of the last
	}{
		{"in order", whole, nil, nil, "", ""},
		{"a malformed secret", "{}", nil, []string{"merchant's secret"}, "mchid", "membercard secret merchant"},
		{"a dead letter", whole, func(t *testing.T, outputs map[string]string) {
			if _, err := sqs.NewFromConfig(motoConfig(t)).SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(outputs["ConfirmDeadLetterQueueUrl"]), MessageBody: aws.String("{}")}); err != nil {
				t.Fatal(err)
			}
		}, []string{"dead letters of brand-confirm"}, "1", "section DeadLettersAlarm"},
	} {
		t.Run(row.name, func(t *testing.T) {
			stack, outputs := deploy(t, row.secret)
			if row.fault != nil {
				row.fault(t, outputs)
			}
			o := tool(t, "check", "deployment", "--json", "--stack", stack)
			if row.fails == nil {
				o.requirePassed(t)
			} else if s := o.requireFailed(t, row.fails...); !strings.Contains(s.Cause, row.cause) || !strings.Contains(s.Cure, row.cure) {
				t.Errorf("%+v", s)
			}
			o.requireNo(t, private(nil)...)
		})
	}
	t.Run("no such stack", func(t *testing.T) {
		mototest.Use(t, "AWS_ENDPOINT_URL")
		if s := tool(t, "check", "deployment", "--json", "--stack", "nothing").requireFailed(t, "stack"); !strings.Contains(s.Cause, "no stack nothing in region us-east-1") || !strings.Contains(s.Cure, "describe-stacks") {
			t.Errorf("%+v", s)
		}
	})
	t.Run("another project's stack", func(t *testing.T) {
		c := motoConfig(t)
		name := "other-" + rand.Text()
		if _, err := cloudformation.NewFromConfig(c).CreateStack(t.Context(), &cloudformation.CreateStackInput{StackName: &name, TemplateBody: aws.String(`{"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}`)}); err != nil {
			t.Fatal(err)
		}
		if s := tool(t, "check", "deployment", "--json", "--stack", name).requireFailed(t, "stack"); !strings.Contains(s.Cause, "no stack of membercard") {
			t.Errorf("%+v", s)
		}
	})
}

// closing is standard output that fails after the first line, if err is set.
type closing struct {
	io.Writer
	err error
}

func (c *closing) Write(text []byte) (int, error) {
	n, _ := c.Writer.Write(text)
	return n, c.err
}

// TestEventsTailInMoto follows a bus of an EventBridge that is not this project's, and
// leaves nothing behind, also if it ends by Ctrl-C or its reader goes away.
func TestEventsTailInMoto(t *testing.T) {
	stack, outputs := deploy(t, pay.MerchantSecret(wechatpay.Both))
	c := motoConfig(t)
	events, queues := eventbridge.NewFromConfig(c), sqs.NewFromConfig(c)
	bus := outputs["EventBusName"]
	left := func() (n int) {
		t.Helper()
		rules, err := events.ListRules(t.Context(), &eventbridge.ListRulesInput{EventBusName: &bus, NamePrefix: aws.String("membercard-tail-")})
		if err != nil {
			t.Fatal(err)
		}
		list, err := queues.ListQueues(t.Context(), &sqs.ListQueuesInput{QueueNamePrefix: aws.String("membercard-tail-")})
		if err != nil {
			t.Fatal(err)
		}
		return len(rules.Rules) + len(list.QueueUrls)
	}
	put := func(detailType, id string) {
		t.Helper()
		out, err := events.PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: []eventtypes.PutEventsRequestEntry{{
			EventBusName: &bus, Source: aws.String("membercard"), DetailType: &detailType, Detail: aws.String(`{"id":"` + id + `","resource":{"card_id":"c","openid":"an-openid"}}`),
		}}})
		if err != nil || out.FailedEntryCount > 0 {
			t.Fatal(err, out)
		}
	}
	for _, row := range []struct {
		name string
		args []string
		ends bool // by itself
		out  error
		code int
	}{
		{"ends by itself", []string{"--count", "1"}, true, nil, exitOK},
		{"ends by Ctrl-C", nil, false, nil, exitOK},
		{"ends with its reader", nil, true, syscall.EPIPE, exitFailed},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var out, errs telemetrytest.Records
			ended := make(chan int, 1)
			go func() {
				args := append([]string{"events", "tail", "--json", "--stack", stack, "--type", "MEMBERCARD.ACCEPT_CARD"}, row.args...)
				ended <- run(ctx, args, &console{in: strings.NewReader(""), out: &closing{&out, row.out}, err: &errs})
			}()
			deadline := time.After(20 * time.Second)
			for !strings.Contains(out.String(), "EV-1") {
				if left() > 0 { // the rule is there
					put("MEMBERCARD.USERCARD_MANAGE", "EV-0")
					put("MEMBERCARD.ACCEPT_CARD", "EV-1")
				}
				select {
				case <-deadline:
					t.Fatalf("no event was shown: %s", errs.String())
				case <-time.After(100 * time.Millisecond):
				}
			}
			if !row.ends {
				interrupt()
			}
			select {
			case code := <-ended:
				if code != row.code {
					t.Errorf("exit code %d: %s", code, errs.String())
				}
			case <-deadline:
				t.Fatal("it does not end")
			}
			if text := out.String(); strings.Contains(text, "EV-0") || strings.Contains(text, "an-openid") || !strings.Contains(text, `"card_id":"c"`) {
				t.Errorf("%s", text)
			}
			if n := left(); n > 0 {
				t.Errorf("rules and queues that are left: %d", n)
			}
		})
	}
}
