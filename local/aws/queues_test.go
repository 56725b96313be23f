package aws

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"membercard/local/template"
)

const queueURL = "https://sqs.eu-west-1.amazonaws.com/123456789012/Cards"

// startQueues starts a server with the queue Cards and its dead-letter queue. A
// minute takes 60 ms.
func startQueues(t *testing.T) (*Server, *sqs.Client) {
	t.Helper()
	s := start(t)
	s.Queues.Speed(1000)
	s.Queues.Create([]template.Queue{
		{LogicalID: "Cards", ARN: "arn:aws:sqs:eu-west-1:123456789012:Cards", URL: queueURL, VisibilityTimeout: 60,
			RedrivePolicy: template.RedrivePolicy{DeadLetterTargetArn: "arn:aws:sqs:eu-west-1:123456789012:Dead", MaxReceiveCount: 3}},
		{LogicalID: "Dead", ARN: "arn:aws:sqs:eu-west-1:123456789012:Dead", URL: strings.Replace(queueURL, "Cards", "Dead", 1)},
	})
	return s, sqsClient(s, secretKey)
}

func sqsClient(s *Server, secretKey string) *sqs.Client {
	return sqs.NewFromConfig(config(s, region, accessKey, secretKey))
}

// receive returns the messages that are visible within a time.
func receive(q *Queue, n int, within time.Duration) []events.SQSMessage {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return q.Receive(ctx, n)
}

func TestSendMessage(t *testing.T) {
	text := func(value string) types.MessageAttributeValue {
		return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
	}
	for _, test := range []struct {
		name  string
		input sqs.SendMessageInput
		code  string
	}{
		{"good", sqs.SendMessageInput{MessageBody: aws.String("会员卡 <&>\n")}, ""},
		{"attribute", sqs.SendMessageInput{MessageBody: aws.String("x"), MessageAttributes: map[string]types.MessageAttributeValue{"Code": text("NO_AUTH")}}, ""},
		{"another queue", sqs.SendMessageInput{QueueUrl: aws.String(queueURL + "2"), MessageBody: aws.String("x")}, "QueueDoesNotExist"},
		{"delay", sqs.SendMessageInput{MessageBody: aws.String("x"), DelaySeconds: 901}, "InvalidParameterValue"},
		{"negative delay", sqs.SendMessageInput{MessageBody: aws.String("x"), DelaySeconds: -1}, "InvalidParameterValue"},
		{"empty attribute", sqs.SendMessageInput{MessageBody: aws.String("x"), MessageAttributes: map[string]types.MessageAttributeValue{"Code": text("")}}, "InvalidParameterValue"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, client := startQueues(t)
			if test.input.QueueUrl == nil {
				test.input.QueueUrl = aws.String(queueURL)
			}
			out, err := client.SendMessage(t.Context(), &test.input) // checks the MD5 of the body
			if errorCode(err) != test.code || (err != nil) != (test.code != "") {
				t.Fatalf("error %v, want %q", err, test.code)
			}
			messages := s.Queues.Get("Cards").Messages()
			if err != nil {
				if len(messages) > 0 {
					t.Errorf("messages %+v", messages)
				}
				return
			}
			if len(messages) != 1 || messages[0].ID != *out.MessageId || messages[0].Body != *test.input.MessageBody || len(messages[0].Attributes) != len(test.input.MessageAttributes) {
				t.Errorf("messages %+v", messages)
			}
		})
	}
	s, _ := startQueues(t)
	if _, err := sqsClient(s, "other").SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String("x")}); errorCode(err) != "InvalidSignatureException" {
		t.Errorf("wrong key: error %v, want InvalidSignatureException", err)
	}
}

func TestReceive(t *testing.T) {
	s, client := startQueues(t)
	q := s.Queues.Get("Cards")
	sent := time.Now().UnixMilli()
	for _, body := range []string{"1", "2", "3"} {
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: &body}); err != nil {
			t.Fatal(err)
		}
	}
	first := receive(q, 2, time.Second)
	if len(first) != 2 || first[0].Body != "1" || first[1].Body != "2" {
		t.Fatalf("received %+v", first)
	}
	m := first[0]
	at, _ := strconv.ParseInt(m.Attributes["SentTimestamp"], 10, 64)
	if m.MessageId == "" || m.ReceiptHandle == "" || m.ReceiptHandle == first[1].ReceiptHandle || m.Md5OfBody != "c4ca4238a0b923820dcc509a6f75849b" ||
		m.EventSource != "aws:sqs" || m.EventSourceARN != "arn:aws:sqs:eu-west-1:123456789012:Cards" || m.AWSRegion != region || m.MessageAttributes == nil ||
		m.Attributes["ApproximateReceiveCount"] != "1" || at < sent || m.Attributes["ApproximateFirstReceiveTimestamp"] == "" || m.Attributes["SenderId"] == "" {
		t.Errorf("the message is %+v", m)
	}
	if rest := receive(q, 10, time.Second); len(rest) != 1 || rest[0].Body != "3" {
		t.Errorf("then received %+v", rest)
	}
	if more := receive(q, 10, 150*time.Millisecond); more != nil {
		t.Errorf("received %+v, which are being processed", more)
	}
	q.Finish(first[0].ReceiptHandle, true)
	q.Finish(first[1].ReceiptHandle, false)
	again := receive(q, 10, time.Second)
	if len(again) != 1 || again[0].Body != "2" || again[0].Attributes["ApproximateReceiveCount"] != "2" || again[0].ReceiptHandle == first[1].ReceiptHandle {
		t.Errorf("received again %+v", again)
	}
}

// TestVisibility checks when a received message is visible again, in the queue's
// time, in which a second takes a millisecond.
func TestVisibility(t *testing.T) {
	for _, test := range []struct {
		name    string
		seconds int32 // that the visibility is changed to; negative: it is not
		want    time.Duration
	}{
		{"the queue's", -1, 60 * time.Millisecond},
		{"now", 0, 0},
		{"shorter", 30, 30 * time.Millisecond},
		{"longer", 300, 300 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, client := startQueues(t)
			q := s.Queues.Get("Cards")
			q.Send("x", nil, 0)
			begin := time.Now()
			m := receive(q, 1, time.Second)[0]
			if test.seconds >= 0 {
				if _, err := client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: aws.String(queueURL), ReceiptHandle: &m.ReceiptHandle, VisibilityTimeout: test.seconds}); err != nil {
					t.Fatal(err)
				}
			}
			end := time.Now()
			q.Finish(m.ReceiptHandle, false)
			visible := q.Messages()[0].Visible
			if visible.Before(begin.Add(test.want)) || visible.After(end.Add(test.want)) {
				t.Errorf("visible after %v to %v, want %v", visible.Sub(end), visible.Sub(begin), test.want)
			}
			if again := receive(q, 1, 5*time.Second); len(again) != 1 || time.Now().Before(visible) {
				t.Errorf("received %d, at %v", len(again), time.Since(visible))
			}
		})
	}
}

func TestChangeMessageVisibilityFails(t *testing.T) {
	s, client := startQueues(t)
	q := s.Queues.Get("Cards")
	q.Send("x", nil, 0)
	m := receive(q, 1, time.Second)[0]
	change := func(url, handle string, seconds int32) string {
		_, err := client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: &handle, VisibilityTimeout: seconds})
		return errorCode(err)
	}
	for _, test := range []struct {
		name, url, handle string
		seconds           int32
		code              string
	}{
		{"12 hours", queueURL, m.ReceiptHandle, 43200, ""},
		{"more", queueURL, m.ReceiptHandle, 43201, "InvalidParameterValue"},
		{"less than nothing", queueURL, m.ReceiptHandle, -1, "InvalidParameterValue"},
		{"another handle", queueURL, "x", 1, "ReceiptHandleIsInvalid"},
		{"another queue", queueURL + "2", m.ReceiptHandle, 1, "QueueDoesNotExist"},
		{"nothing", queueURL, m.ReceiptHandle, 0, ""},
	} {
		if code := change(test.url, test.handle, test.seconds); code != test.code {
			t.Errorf("%s: %q, want %q", test.name, code, test.code)
		}
	}
	q.Finish(m.ReceiptHandle, false)
	if code := change(queueURL, m.ReceiptHandle, 1); code != "ReceiptHandleIsInvalid" {
		t.Errorf("visible: %q, want ReceiptHandleIsInvalid", code)
	}
	m = receive(q, 1, time.Second)[0]
	q.Finish(m.ReceiptHandle, true)
	if code := change(queueURL, m.ReceiptHandle, 1); code != "ReceiptHandleIsInvalid" {
		t.Errorf("deleted: %q, want ReceiptHandleIsInvalid", code)
	}
}

// A message that is not deleted is received as often as the queue says, and then is a
// dead letter.
func TestRedrive(t *testing.T) {
	s, _ := startQueues(t)
	q, dead := s.Queues.Get("Cards"), s.Queues.Get("Dead")
	id := q.Send("x", nil, 0)
	var counts []string
	for {
		messages := receive(q, 10, 300*time.Millisecond)
		if messages == nil {
			break
		}
		counts = append(counts, messages[0].Attributes["ApproximateReceiveCount"])
		q.Finish(messages[0].ReceiptHandle, false)
	}
	if !slices.Equal(counts, []string{"1", "2", "3"}) {
		t.Errorf("received as %q", counts)
	}
	if left := q.Messages(); len(left) != 0 {
		t.Errorf("still in the queue: %+v", left)
	}
	if letters := dead.Messages(); len(letters) != 1 || letters[0].ID != id || letters[0].Received != 3 {
		t.Errorf("dead letters: %+v", letters)
	}
}

func TestDelay(t *testing.T) {
	s, client := startQueues(t)
	q := s.Queues.Get("Cards")
	begin := time.Now()
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String("x"), DelaySeconds: 200}); err != nil {
		t.Fatal(err)
	}
	if got := receive(q, 1, 5*time.Second); len(got) != 1 || time.Since(begin) < 199*time.Millisecond {
		t.Errorf("received %d after %v", len(got), time.Since(begin))
	}
}

func TestGetQueueAttributes(t *testing.T) {
	s, client := startQueues(t)
	q := s.Queues.Get("Cards")
	names := []types.QueueAttributeName{"QueueArn", "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"}
	require := func(want ...string) {
		t.Helper()
		out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(queueURL), AttributeNames: names})
		if err != nil {
			t.Fatal(err)
		}
		for i, value := range append([]string{"arn:aws:sqs:eu-west-1:123456789012:Cards"}, want...) {
			if out.Attributes[string(names[i])] != value {
				t.Errorf("%s is %s, want %s", names[i], out.Attributes[string(names[i])], value)
			}
		}
	}
	require("0", "0", "0")
	q.Send("a", nil, 0)
	q.Send("b", nil, 0)
	q.Send("c", nil, 12*time.Hour)
	require("2", "0", "1")
	receive(q, 1, time.Second)
	require("1", "1", "1")
	for _, test := range []struct{ url, name, code string }{
		{queueURL + "2", "QueueArn", "QueueDoesNotExist"},
		{queueURL, "All", "InvalidAttributeName"},
	} {
		_, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &test.url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeName(test.name)}})
		if code := errorCode(err); !strings.Contains(code, test.code) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// An operator looks at a message, and moves others.
func TestReceiveMessage(t *testing.T) {
	s, c := startQueues(t)
	queue, dead := s.Queues.Get("Cards"), s.Queues.Get("Dead")
	get := func() []types.Message {
		out, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(dead.URL()), VisibilityTimeout: 43200})
		if err != nil {
			t.Fatal(err)
		}
		return out.Messages
	}
	if got := get(); len(got) > 0 {
		t.Errorf("an empty queue has %+v", got)
	}
	for range 2 {
		dead.Send("a", map[string]events.SQSMessageAttribute{"Code": {DataType: "String", StringValue: aws.String("NO_AUTH")}}, 0)
	}
	got := get()
	if len(got) != 1 || *got[0].Body != "a" || *got[0].MessageAttributes["Code"].StringValue != "NO_AUTH" || got[0].Attributes["ApproximateReceiveCount"] != "1" {
		t.Fatalf("%+v", got)
	}
	from, to := "arn:aws:sqs:eu-west-1:123456789012:Dead", "arn:aws:sqs:eu-west-1:123456789012:Cards"
	if _, err := c.StartMessageMoveTask(t.Context(), &sqs.StartMessageMoveTaskInput{SourceArn: &from, DestinationArn: &to}); err != nil {
		t.Fatal(err)
	}
	list, err := c.ListMessageMoveTasks(t.Context(), &sqs.ListMessageMoveTasksInput{SourceArn: &from})
	if err != nil || len(list.Results) != 1 || *list.Results[0].Status != "COMPLETED" || list.Results[0].ApproximateNumberOfMessagesMoved != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if moved := queue.Messages(); len(moved) != 1 || moved[0].Attributes["Code"] != "NO_AUTH" || len(dead.Messages()) != 1 {
		t.Errorf("moved %+v", moved)
	}
}
