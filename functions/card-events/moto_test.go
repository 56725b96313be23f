package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"membercard/shared/awsconfig"
	"membercard/shared/awsconfig/mototest"
	"membercard/shared/gateway/gatewaytest"
	"membercard/shared/signing"
	"membercard/shared/signing/wechatpaytest"
	"membercard/shared/upstream"
)

// TestAnEventInMoto puts a notification on a bus of another implementation of
// EventBridge than our own, and takes it from the queue that a rule sends it to.
func TestAnEventInMoto(t *testing.T) {
	mototest.Use(t, "AWS_ENDPOINT_URL_EVENTBRIDGE")
	mototest.Use(t, "AWS_ENDPOINT_URL_SQS")
	config := awsconfig.Load()
	bridge, queues := eventbridge.NewFromConfig(config), sqs.NewFromConfig(config)
	name := aws.String("events-" + rand.Text())
	if _, err := bridge.CreateEventBus(t.Context(), &eventbridge.CreateEventBusInput{Name: name}); err != nil {
		t.Fatal(err)
	}
	queue, err := queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		_, _ = queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: queue.QueueUrl})
		_, _ = bridge.RemoveTargets(ctx, &eventbridge.RemoveTargetsInput{EventBusName: name, Rule: name, Ids: []string{"queue"}})
		_, _ = bridge.DeleteRule(ctx, &eventbridge.DeleteRuleInput{EventBusName: name, Name: name})
		_, _ = bridge.DeleteEventBus(ctx, &eventbridge.DeleteEventBusInput{Name: name})
	})
	attributes, err := queues.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: queue.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{"QueueArn"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bridge.PutRule(t.Context(), &eventbridge.PutRuleInput{EventBusName: name, Name: name, EventPattern: aws.String(`{"source":["membercard"],"detail-type":[{"suffix":".USER_CARD.CREATE"}]}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := bridge.PutTargets(t.Context(), &eventbridge.PutTargetsInput{EventBusName: name, Rule: name, Targets: []types.Target{{Id: aws.String("queue"), Arn: aws.String(attributes.Attributes["QueueArn"])}}}); err != nil {
		t.Fatal(err)
	}

	wechatpay := signing.NewClient(&versions{secrets: []string{wechatpaytest.Secret("apiv3_key", apiv3Key)}}, upstream.New([]string{gatewaytest.Nowhere}))
	event := signed(good())
	header := http.Header{}
	for name, value := range event.Headers {
		header.Set(name, value)
	}
	n, err := wechatpay.Notification(t.Context(), header, []byte(event.Body))
	if err != nil {
		t.Fatal(err)
	}
	if err := newBus(config, *name).put(t.Context(), n); err != nil {
		t.Fatal(err)
	}

	received, err := queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: queue.QueueUrl, WaitTimeSeconds: 2})
	if err != nil || len(received.Messages) != 1 {
		t.Fatalf("%+v, %v", received, err)
	}
	var got struct {
		Source     string `json:"source"`
		DetailType string `json:"detail-type"`
		Time       string `json:"time"`
		Detail     struct {
			ID       string `json:"id"`
			Resource struct {
				UserCardCode string `json:"user_card_code"`
			} `json:"resource"`
		} `json:"detail"`
	}
	if err := json.Unmarshal([]byte(*received.Messages[0].Body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Source != "membercard" || got.DetailType != cardCreated || got.Time != "2025-06-22T02:34:56Z" || got.Detail.ID != wechatpaytest.NotificationID || got.Detail.Resource.UserCardCode != "478515832665000000000001" {
		t.Errorf("%s", *received.Messages[0].Body)
	}
}
