package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"membercard/local/template"
)

// This file has what an operator calls, and functions don't.

// stages returns the staging labels of the versions of a secret, the newest first.
func stages(t *testing.T, c *secretsmanager.Client, all bool) (ids []string, found string) {
	t.Helper()
	out, err := c.ListSecretVersionIds(t.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: aws.String("key"), IncludeDeprecated: &all})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range out.Versions {
		ids = append(ids, *v.VersionId)
		found += strings.Join(v.VersionStages, "+") + " "
	}
	return ids, found
}

func TestVersionsOfASecret(t *testing.T) {
	s := start(t)
	c := secretsClient(s, region, accessKey, secretKey)
	for _, value := range []string{"one", "two", "three"} {
		s.Secrets.Put("key", value)
	}
	ids, found := stages(t, c, true)
	if found != "AWSCURRENT AWSPREVIOUS  " {
		t.Fatal(found)
	}
	if _, found := stages(t, c, false); found != "AWSCURRENT AWSPREVIOUS " {
		t.Error(found)
	}
	three, two, one := ids[0], ids[1], ids[2]
	for _, row := range []struct{ name, stage, to, from, code, after string }{
		{"without the version that has it", "AWSCURRENT", two, "", "InvalidParameterException", ""},
		{"from a version that does not have it", "AWSCURRENT", two, one, "InvalidParameterException", ""},
		{"to no version", "AWSCURRENT", "", three, "InvalidParameterException", ""},
		{"to an unknown version", "AWSCURRENT", strings.Repeat("x", 32), three, "ResourceNotFoundException", ""},
		{"back", "AWSCURRENT", two, three, "", "AWSPREVIOUS AWSCURRENT  "},
		{"and forth", "AWSCURRENT", three, two, "", "AWSCURRENT AWSPREVIOUS  "},
		{"to an old one", "AWSCURRENT", one, three, "", "AWSPREVIOUS  AWSCURRENT "},
		{"another label", "mine", two, "", "", "AWSPREVIOUS mine AWSCURRENT "},
		{"is removed", "mine", "", two, "", "AWSPREVIOUS  AWSCURRENT "},
	} {
		in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: aws.String("key"), VersionStage: &row.stage}
		if row.to != "" {
			in.MoveToVersionId = &row.to
		}
		if row.from != "" {
			in.RemoveFromVersionId = &row.from
		}
		if _, err := c.UpdateSecretVersionStage(t.Context(), in); errorCode(err) != row.code || (err != nil) != (row.code != "") {
			t.Errorf("%s: %v", row.name, err)
		}
		if _, found := stages(t, c, true); row.code == "" && found != row.after {
			t.Errorf("%s: %q, want %q", row.name, found, row.after)
		}
	}
	if got, err := getSecret(t.Context(), s, region, accessKey, secretKey, input("key", "", "")); err != nil || *got.SecretString != "one" {
		t.Errorf("%v %v", got, err)
	}
}

func TestDeletedSecret(t *testing.T) {
	s := start(t)
	s.Secrets.Put("key", "one")
	c := secretsClient(s, region, accessKey, secretKey)
	id := aws.String("key")
	if _, err := c.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id, RecoveryWindowInDays: aws.Int64(6)}); errorCode(err) != "InvalidParameterException" {
		t.Error(err)
	}
	if out, err := c.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id}); err != nil || time.Until(*out.DeletionDate) < 29*24*time.Hour {
		t.Fatal(out, err)
	}
	if _, err := getSecret(t.Context(), s, region, accessKey, secretKey, input("key", "", "")); errorCode(err) != "InvalidRequestException" {
		t.Errorf("a deleted secret: %v", err)
	}
	if out, err := c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: id}); err != nil || out.DeletedDate == nil || len(out.VersionIdsToStages) != 1 {
		t.Errorf("%+v %v", out, err)
	}
	if _, err := c.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: id}); err != nil {
		t.Error(err)
	}
	if out, err := c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: id}); err != nil || out.DeletedDate != nil || out.CreatedDate == nil {
		t.Errorf("%+v %v", out, err)
	}
	if _, err := getSecret(t.Context(), s, region, accessKey, secretKey, input("key", "", "")); err != nil {
		t.Error(err)
	}
}

func TestReceiveMessage(t *testing.T) {
	s, c := startQueues(t) // a minute takes 60 ms
	get := func(in sqs.ReceiveMessageInput) (*sqs.ReceiveMessageOutput, error) {
		in.QueueUrl = aws.String(queueURL)
		return c.ReceiveMessage(t.Context(), &in)
	}
	for _, in := range []sqs.ReceiveMessageInput{
		{MaxNumberOfMessages: 11}, {MaxNumberOfMessages: -1}, {WaitTimeSeconds: 21}, {VisibilityTimeout: 43201},
	} {
		if _, err := get(in); errorCode(err) != "InvalidParameterValue" {
			t.Errorf("%+v: %v", in, err)
		}
	}
	if _, err := get(sqs.ReceiveMessageInput{MessageSystemAttributeNames: []types.MessageSystemAttributeName{"Color"}}); errorCode(err) != "InvalidAttributeName" {
		t.Error(err)
	}
	if out, err := get(sqs.ReceiveMessageInput{}); err != nil || len(out.Messages) > 0 {
		t.Errorf("an empty queue: %v %v", out, err)
	}
	queue := s.Queues.Get("Cards")
	queue.Send("a", map[string]events.SQSMessageAttribute{"Code": {DataType: "String", StringValue: aws.String("NO_AUTH")}, "Other": {DataType: "String", StringValue: aws.String("x")}}, 0)
	out, err := get(sqs.ReceiveMessageInput{VisibilityTimeout: 43200, MessageAttributeNames: []string{"Code"}, MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"}})
	if err != nil || len(out.Messages) != 1 {
		t.Fatal(out, err)
	}
	m := out.Messages[0]
	if *m.Body != "a" || len(m.MessageAttributes) != 1 || *m.MessageAttributes["Code"].StringValue != "NO_AUTH" || m.Attributes["ApproximateReceiveCount"] != "1" || m.Attributes["SentTimestamp"] == "" {
		t.Errorf("%+v", m)
	}
	if out, err := get(sqs.ReceiveMessageInput{}); err != nil || len(out.Messages) > 0 {
		t.Errorf("an invisible message: %v %v", out, err)
	}
	// A request that waits gets what comes meanwhile.
	time.AfterFunc(50*time.Millisecond, func() { queue.Send("b", nil, 0) })
	if out, err := get(sqs.ReceiveMessageInput{WaitTimeSeconds: 20}); err != nil || len(out.Messages) != 1 || *out.Messages[0].Body != "b" || out.Messages[0].Attributes != nil {
		t.Errorf("%v %v", out, err)
	}
	remove := func(handle string) string {
		_, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: aws.String(queueURL), ReceiptHandle: &handle})
		return errorCode(err)
	}
	for _, row := range []struct{ name, handle, code string }{
		{"a message", *m.ReceiptHandle, ""}, {"again", *m.ReceiptHandle, ""}, {"no handle", "x", "ReceiptHandleIsInvalid"},
	} {
		if code := remove(row.handle); code != row.code || len(queue.Messages()) != 1 {
			t.Errorf("deleting %s: %q, which leaves %d messages", row.name, code, len(queue.Messages()))
		}
	}
	purge := func() string {
		_, err := c.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: aws.String(queueURL)})
		return errorCode(err)
	}
	if first, second := purge(), purge(); first != "" || second != "PurgeQueueInProgress" || len(queue.Messages()) > 0 {
		t.Errorf("%q, then %q", first, second)
	}
}

func TestMessageMoveTask(t *testing.T) {
	s, c := startQueues(t)
	const cards, dead = "arn:aws:sqs:eu-west-1:123456789012:Cards", "arn:aws:sqs:eu-west-1:123456789012:Dead"
	move := func(from, to string, rate int32) string {
		in := &sqs.StartMessageMoveTaskInput{SourceArn: &from, MaxNumberOfMessagesPerSecond: &rate}
		if to != "" {
			in.DestinationArn = &to
		}
		_, err := c.StartMessageMoveTask(t.Context(), in)
		return errorCode(err)
	}
	last := func() types.ListMessageMoveTasksResultEntry {
		t.Helper()
		for range 200 {
			out, err := c.ListMessageMoveTasks(t.Context(), &sqs.ListMessageMoveTasksInput{SourceArn: aws.String(dead)})
			if err != nil || len(out.Results) != 1 {
				t.Fatal(out, err)
			}
			if *out.Results[0].Status != "RUNNING" {
				return out.Results[0]
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal("the task does not end")
		return types.ListMessageMoveTasksResultEntry{}
	}
	for _, row := range []struct {
		name, from, to string
		rate           int32
		code           string
	}{
		{"an unknown queue", dead + "2", cards, 1, "ResourceNotFoundException"},
		{"an unknown destination", dead, cards + "2", 1, "ResourceNotFoundException"},
		{"not a dead-letter queue", cards, dead, 1, "InvalidParameterValue"},
		{"too fast", dead, cards, 501, "InvalidParameterValue"},
	} {
		if code := move(row.from, row.to, row.rate); code != row.code {
			t.Errorf("%s: %q, want %q", row.name, code, row.code)
		}
	}
	letters, to := s.Queues.Get("Dead"), s.Queues.Get("Cards")
	letters.Send("sent here", map[string]events.SQSMessageAttribute{"Code": {DataType: "String", StringValue: aws.String("NO_AUTH")}}, 0)
	letters.Send("sent here too", nil, 0)
	if code := move(dead, "", 100); code != "" {
		t.Fatal(code)
	}
	if task := last(); *task.Status != "FAILED" || *task.FailureReason != "CouldNotDetermineMessageSource" {
		t.Errorf("back to nowhere: %+v", task)
	}
	if first, second := move(dead, cards, 2), move(dead, cards, 2); first != "" || second != "UnsupportedOperation" {
		t.Errorf("%q, then %q", first, second)
	}
	if task := last(); *task.Status != "COMPLETED" || task.ApproximateNumberOfMessagesMoved != 2 || *task.ApproximateNumberOfMessagesToMove != 2 || task.TaskHandle != nil {
		t.Errorf("%+v", task)
	}
	moved := to.Messages()
	if len(moved) != 2 || moved[0].Attributes["Code"] != "NO_AUTH" || moved[0].Received != 0 || len(letters.Messages()) > 0 {
		t.Errorf("%+v", moved)
	}
	// One that the queue has given up goes back there by itself.
	for range 4 {
		for _, m := range receive(to, 10, time.Second) {
			to.Finish(m.ReceiptHandle, false)
		}
	}
	for range 200 {
		if receive(to, 10, 10*time.Millisecond); len(letters.Messages()) == 2 {
			break
		}
	}
	if code := move(dead, "", 500); code != "" {
		t.Fatal(code)
	}
	if task := last(); *task.Status != "COMPLETED" || task.ApproximateNumberOfMessagesMoved != 2 {
		t.Errorf("%+v", task)
	}
}

func TestCopyObject(t *testing.T) {
	s := start(t)
	c := s3Client(s, region, accessKey, secretKey)
	s.S3.Put("plans", "a b.json", []byte("one"))
	s.S3.Put("plans", "a b.json", []byte("two"))
	list, err := c.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: aws.String("plans"), Prefix: aws.String("a b"), EncodingType: "url"})
	if err != nil || len(list.Versions) != 2 {
		t.Fatal(list, err)
	}
	var told []string
	s.S3.OnCreated(func(bucket, key string) {
		s.S3.mu.Lock()
		defer s.S3.mu.Unlock()
		told = append(told, bucket+"/"+key)
	})
	for _, row := range []struct{ source, code string }{
		{"plans/a%20b.json?versionId=" + *list.Versions[1].VersionId, ""},
		{"plans/a%20b.json?versionId=x", "NoSuchVersion"},
		{"plans/b.json", "NoSuchKey"},
		{"other/a.json", "NoSuchBucket"},
		{"plans", "InvalidArgument"},
	} {
		_, err := c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("plans"), Key: aws.String("a b.json"), CopySource: &row.source})
		if errorCode(err) != row.code || (err != nil) != (row.code != "") {
			t.Errorf("%s: %v", row.source, err)
		}
	}
	if _, body, err := getObject(t, c, "plans", "a b.json", ""); err != nil || body != "one" {
		t.Errorf("%q %v", body, err)
	}
	if out, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("plans"), Key: aws.String("a b.json")}); err != nil || *out.ContentLength != 3 {
		t.Errorf("%v %v", out, err)
	}
	for range 100 {
		s.S3.mu.Lock()
		done := slices.Equal(told, []string{"plans/a b.json"})
		s.S3.mu.Unlock()
		if done {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("told of %q", told)
}

func TestReplay(t *testing.T) {
	s, _ := startQueues(t)
	s.Events.CreateBus("cards")
	s.Events.CreateArchive("archive", "cards")
	queue := s.Queues.Get("Cards")
	if err := s.Events.PutRule(template.Rule{LogicalID: "Rule", Bus: "cards", Pattern: []byte(`{"source":["membercard"]}`)}, []*Queue{queue}); err != nil {
		t.Fatal(err)
	}
	c := eventsClient(s, secretKey)
	if _, err := c.PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: []eventtypes.PutEventsRequestEntry{{EventBusName: aws.String("cards"), Source: aws.String("membercard"), DetailType: aws.String("X"), Detail: aws.String("{}")}}}); err != nil {
		t.Fatal(err)
	}
	bus, err := c.DescribeEventBus(t.Context(), &eventbridge.DescribeEventBusInput{Name: aws.String("cards")})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := c.ListRules(t.Context(), &eventbridge.ListRulesInput{EventBusName: aws.String("cards")})
	if err != nil || len(rules.Rules) != 1 {
		t.Fatal(rules, err)
	}
	archive, err := c.DescribeArchive(t.Context(), &eventbridge.DescribeArchiveInput{ArchiveName: aws.String("archive")})
	if err != nil {
		t.Fatal(err)
	}
	from, until := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for _, row := range []struct {
		name, archive, bus, rule string
		until                    time.Time
		code                     string
	}{
		{"good", *archive.ArchiveArn, *bus.Arn, *rules.Rules[0].Arn, until, ""},
		{"good", *archive.ArchiveArn, *bus.Arn, *rules.Rules[0].Arn, until, "ResourceAlreadyExistsException"},
		{"no-archive", *archive.ArchiveArn + "2", *bus.Arn, *rules.Rules[0].Arn, until, "ResourceNotFoundException"},
		{"another-bus", *archive.ArchiveArn, *bus.Arn + "2", *rules.Rules[0].Arn, until, "ValidationException"},
		{"another-rule", *archive.ArchiveArn, *bus.Arn, *rules.Rules[0].Arn + "2", until, "ValidationException"},
		{"backwards", *archive.ArchiveArn, *bus.Arn, *rules.Rules[0].Arn, from, "ValidationException"},
		{"a name", *archive.ArchiveArn, *bus.Arn, *rules.Rules[0].Arn, until, "ValidationException"},
	} {
		_, err := c.StartReplay(t.Context(), &eventbridge.StartReplayInput{ReplayName: &row.name, EventSourceArn: &row.archive, EventStartTime: &from, EventEndTime: &row.until,
			Destination: &eventtypes.ReplayDestination{Arn: &row.bus, FilterArns: []string{row.rule}}})
		if errorCode(err) != row.code || (err != nil) != (row.code != "") {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	for range 200 {
		if out, err := c.DescribeReplay(t.Context(), &eventbridge.DescribeReplayInput{ReplayName: aws.String("good")}); err != nil {
			t.Fatal(err)
		} else if out.State == eventtypes.ReplayStateCompleted && out.EventLastReplayedTime != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if messages := queue.Messages(); len(messages) != 2 || !strings.Contains(messages[1].Body, `"replay-name":"good"`) || strings.Contains(messages[0].Body, "replay") {
		t.Errorf("%+v", messages)
	}
}

func TestDescribeStacks(t *testing.T) {
	s := start(t)
	s.Stacks.Put(Stack{Name: "cards", Outputs: map[string]string{"ApiUrl": "http://a/?b&c"}, Parameters: map[string]string{"Key": "<plan>"}, Resources: map[string]Resource{"Queue": {"AWS::SQS::Queue", queueURL}}})
	c := cloudformation.NewFromConfig(config(s, region, accessKey, secretKey))
	for _, name := range []*string{aws.String("cards"), nil} {
		out, err := c.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: name})
		if err != nil || len(out.Stacks) != 1 || *out.Stacks[0].Outputs[0].OutputValue != "http://a/?b&c" || *out.Stacks[0].Parameters[0].ParameterValue != "<plan>" {
			t.Errorf("%+v %v", out, err)
		}
	}
	resource := func(stack, id string) (*cloudformation.DescribeStackResourceOutput, error) {
		return c.DescribeStackResource(t.Context(), &cloudformation.DescribeStackResourceInput{StackName: &stack, LogicalResourceId: &id})
	}
	if out, err := resource("cards", "Queue"); err != nil || *out.StackResourceDetail.PhysicalResourceId != queueURL || *out.StackResourceDetail.ResourceType != "AWS::SQS::Queue" {
		t.Errorf("%+v %v", out, err)
	}
	for _, row := range [][2]string{{"other", "Queue"}, {"cards", "Other"}} {
		if _, err := resource(row[0], row[1]); errorCode(err) != "ValidationError" {
			t.Errorf("%v: %v", row, err)
		}
	}
	wrong := cloudformation.NewFromConfig(config(s, region, accessKey, "another"))
	if _, err := wrong.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{}); errorCode(err) != "SignatureDoesNotMatch" {
		t.Error(err)
	}
}

// What is not here is refused with a message that says so, in the client's protocol,
// but only if the request is authentic.
func TestWhatIsNotHere(t *testing.T) {
	s := start(t)
	for _, row := range []struct{ service, target, body string }{
		{"logs", "Logs_20140328.StartQuery", "{}"},
		{"monitoring", "GraniteServiceVersion20100801.DescribeAlarms", "{}"},
		{"monitoring", "", "Action=DescribeAlarms"},
		{"ec2", "", "Action=DescribeNatGateways"},
		{"servicequotas", "ServiceQuotasV20190624.RequestServiceQuotaIncrease", "{}"},
		{"cloudformation", "", "Action=DeleteStack"},
		{"secretsmanager", "secretsmanager.RotateSecret", "{}"},
		{"lambda", "", ""},
	} {
		for _, isAuthentic := range []bool{true, false} {
			r, err := http.NewRequest(http.MethodPost, s.URL()+"/", strings.NewReader(row.body))
			if err != nil {
				t.Fatal(err)
			}
			if row.target != "" {
				r.Header.Set("X-Amz-Target", row.target)
			}
			response, body := sendSigned(t, r, hashOf(row.body), row.service, 0, nil, func(r *http.Request) {
				if !isAuthentic {
					r.Header.Set("X-Amz-Date", "20150830T123600Z")
				}
			})
			if response.StatusCode < 400 || response.StatusCode >= 500 || strings.Contains(string(body), "The local stack does not have ") != isAuthentic {
				t.Errorf("%s %s%s: %d %s", row.service, row.target, row.body, response.StatusCode, body)
			}
		}
	}
}

func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

func TestGetFunction(t *testing.T) {
	s := start(t)
	s.Functions.Put("CardSyncFunction", func(context.Context, []byte) ([]byte, bool, error) { return nil, false, nil })
	c := lambda.NewFromConfig(config(s, region, accessKey, secretKey))
	if out, err := c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("CardSyncFunction")}); err != nil || *out.Configuration.FunctionArn != "arn:aws:lambda:eu-west-1:123456789012:function:CardSyncFunction" {
		t.Errorf("%v %v", out, err)
	}
	if _, err := c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("Other")}); errorCode(err) != "ResourceNotFoundException" {
		t.Error(err)
	}
}
