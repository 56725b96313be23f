package main

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"membercard/shared/apierror"
	"membercard/shared/awsconfig"
	"membercard/shared/awsconfig/mototest"
)

// TestQueuesInMoto delays a message and moves one to the dead-letter queue in
// another implementation of SQS than our own.
func TestQueuesInMoto(t *testing.T) {
	mototest.Use(t, "AWS_ENDPOINT_URL_SQS")
	client := sqs.NewFromConfig(awsconfig.Load())
	create := func() *string {
		t.Helper()
		made, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("confirm-" + rand.Text())})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_, _ = client.DeleteQueue(context.Background(), &sqs.DeleteQueueInput{QueueUrl: made.QueueUrl})
		})
		return made.QueueUrl
	}
	const visibility = 3 * time.Second
	receive := func(queue *string) []types.Message {
		t.Helper()
		received, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: queue, VisibilityTimeout: int32(visibility / time.Second), MessageAttributeNames: []string{"All"},
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{"ApproximateReceiveCount"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return received.Messages
	}
	url, deadLetterURL := create(), create()
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String(createdEvent())}); err != nil {
		t.Fatal(err)
	}
	received := time.Now()
	messages := receive(url)
	if len(messages) != 1 {
		t.Fatalf("%d messages", len(messages))
	}
	m := events.SQSMessage{ReceiptHandle: *messages[0].ReceiptHandle, Body: *messages[0].Body, Attributes: messages[0].Attributes}

	q := newQueue(awsconfig.Load(), *url, *deadLetterURL)
	if err := q.delay(t.Context(), m, 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(received.Add(visibility + time.Second/2)))
	if early := receive(url); len(early) > 0 {
		t.Error("the message is visible before its delay is over")
	}
	refusal := &apierror.Error{Code: "NO_AUTH", Message: "商户暂无权限使用此功能 \x00\xff😀\n\ufffe"}
	if err := q.sendToDeadLetters(t.Context(), m, refusal); err != nil {
		t.Fatal(err)
	}
	buried := receive(deadLetterURL)
	if len(buried) != 1 || *buried[0].Body != createdEvent() || aws.ToString(buried[0].MessageAttributes["Code"].StringValue) != "NO_AUTH" ||
		aws.ToString(buried[0].MessageAttributes["ErrorMessage"].StringValue) != "商户暂无权限使用此功能 \ufffd\ufffd😀\n\ufffd" {
		t.Errorf("dead letters: %+v", buried)
	}
	if err := newQueue(awsconfig.Load(), *url+"-none", *deadLetterURL+"-none").sendToDeadLetters(t.Context(), m, refusal); err == nil {
		t.Error("a queue that does not exist took a message")
	} else {
		t.Log(err)
	}
}
