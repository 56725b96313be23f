package main

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"membercard/shared/awsconfig"
)

const (
	// A message that failed n times comes again after minDelay·2^(n−1), and up to a
	// half of that more, within maxDelay.
	minDelay = 30 * time.Second
	maxDelay = time.Hour
	// queueTimeout limits a call of SQS and its retries.
	queueTimeout = 2 * time.Second
)

// queue is the SQS queue that the messages come from, and its dead-letter queue.
// Either URL may be empty. Then failed messages come again after the queue's
// visibility timeout, and those that can't succeed until the queue gives them up.
type queue struct {
	client      *sqs.Client
	url         string
	deadLetters string // URL
}

func newQueue(config aws.Config, url, deadLetters string) *queue {
	return &queue{sqs.NewFromConfig(config), url, deadLetters}
}

func (q *queue) hasDeadLetters() bool { return q.deadLetters != "" }

// delay makes a message visible again after a time that grows with the number of
// times that it was received, and not before retryAfter.
func (q *queue) delay(ctx context.Context, m events.SQSMessage, retryAfter time.Duration) error {
	if q.url == "" {
		return nil
	}
	received, _ := strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	_, err := q.client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl:          &q.url,
		ReceiptHandle:     &m.ReceiptHandle,
		VisibilityTimeout: int32(max(backoff(received), retryAfter) / time.Second),
	})
	if err != nil {
		return awsconfig.Failure("SQS", err)
	}
	return nil
}

// backoff is the delay of a message that was received so many times.
func backoff(received int) time.Duration {
	const maxDoublings = 7 // beyond maxDelay
	d := min(minDelay<<min(max(received-1, 0), maxDoublings), maxDelay*2/3)
	return d + rand.N(d/2+1)
}

// bury sends a message to the dead-letter queue, with the code of its failure as the
// attribute Code.
func (q *queue) bury(ctx context.Context, m events.SQSMessage, code string) error {
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	_, err := q.client.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl:          &q.deadLetters,
		MessageBody:       &m.Body,
		MessageAttributes: map[string]types.MessageAttributeValue{"Code": {DataType: aws.String("String"), StringValue: &code}},
	})
	if err != nil {
		return awsconfig.Failure("SQS", err)
	}
	return nil
}
