package main

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"membercard/shared/apierror"
	"membercard/shared/awsconfig"
	"membercard/shared/strictjson"
	"membercard/shared/wallclock"
)

const (
	// After the nth failure a message is delayed by minDelay·2^(n−1), plus up to half
	// of that as jitter, but by at most maxDelay.
	minDelay = 30 * time.Second
	maxDelay = time.Hour
	// maxReceives is how often a message is received before it is a dead letter: the
	// queue's maxReceiveCount in template.yaml.
	maxReceives = 12
	// queueTimeout limits a request to SQS with its retries.
	queueTimeout = 2 * time.Second
)

// queue is the SQS queue of the messages, and its dead-letter queue. Without url, a failed
// message comes again after the queue's visibility timeout. Without deadLetters, a message
// that can't succeed comes again until the queue's maxReceiveCount.
type queue struct {
	client      *sqs.Client
	url         string
	deadLetters string // URL of the dead-letter queue
}

func newQueue(config aws.Config, url, deadLetters string) *queue {
	return &queue{sqs.NewFromConfig(config), url, deadLetters}
}

// delay makes SQS deliver a message again after a delay that grows with the number of its
// deliveries, and is at least retryAfter.
func (q *queue) delay(ctx context.Context, m events.SQSMessage, retryAfter time.Duration) error {
	if q.url == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	_, err := q.client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl:          &q.url,
		ReceiptHandle:     &m.ReceiptHandle,
		VisibilityTimeout: int32(max(backoff(received(m)), retryAfter) / time.Second),
	})
	if err != nil {
		return awsconfig.Failure("SQS", err)
	}
	return nil
}

// received returns how often SQS has delivered a message, this time included.
func received(m events.SQSMessage) int {
	n, _ := strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
	return n
}

func ageOf(m events.SQSMessage) time.Duration {
	sent, err := strconv.ParseInt(m.Attributes["SentTimestamp"], 10, 64) // milliseconds
	if err != nil {
		return 0
	}
	return max(wallclock.Since(time.UnixMilli(sent)), 0)
}

// backoff returns the delay of a message that was received the given number of times.
func backoff(received int) time.Duration {
	const maxDoublings = 7 // enough to exceed maxDelay
	d := min(minDelay<<min(max(received-1, 0), maxDoublings), maxDelay*2/3)
	return d + rand.N(d/2+1)
}

// sendToDeadLetters sends a copy of a message to the dead-letter queue, with what WeChat
// answered as the attributes Code and ErrorMessage.
func (q *queue) sendToDeadLetters(ctx context.Context, m events.SQSMessage, refusal *apierror.Error) error {
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	attributes := map[string]types.MessageAttributeValue{"Code": {DataType: aws.String("String"), StringValue: &refusal.Code}}
	if text := errorMessage(refusal); text != "" { // SQS refuses an empty attribute
		attributes["ErrorMessage"] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &text}
	}
	_, err := q.client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q.deadLetters, MessageBody: &m.Body, MessageAttributes: attributes})
	if err != nil {
		return awsconfig.Failure("SQS", err)
	}
	return nil
}

// errorMessage returns the message of an error and its detail, if any. It has at most
// 1 KiB, as much as Lambda's own attribute ErrorMessage, and only characters that SQS
// accepts: those of XML 1.0.
func errorMessage(refusal *apierror.Error) string {
	const maxLength = 1 << 10
	text := refusal.Message
	if refusal.Detail != nil {
		text += " " + string(strictjson.Encode(refusal.Detail))
	}
	text = strings.Map(func(c rune) rune {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == '\ufffe' || c == '\uffff' {
			return utf8.RuneError
		}
		return c
	}, text)
	return strings.ToValidUTF8(text[:min(len(text), maxLength)], "")
}
