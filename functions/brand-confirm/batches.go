package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/shared/apierror"
	"membercard/shared/invocation"
	"membercard/shared/signing"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
)

const (
	// callInterval is the least time between the end of a call and the beginning of
	// the next one. WeChat Pay allows 5 confirmations a second per merchant number,
	// and SQS has two invocations at a time, which is the least maximum that AWS
	// allows. So WeChat Pay gets at most 4 calls in any second. Counted from the
	// beginning of a call, a slow one and the next could come closer together.
	callInterval = 500 * time.Millisecond
	// callTimeout limits one confirmation, minCallTime is the least time for which
	// one is begun.
	callTimeout = 5 * time.Second
	minCallTime = time.Second
)

// batches confirms the cards in batches of an SQS queue. Each message is an event of
// the bus, of a type that ends with .USER_CARD.CREATE.
type batches struct {
	wechatpay *signing.Client
	queue     *queue
	log       *telemetry.Log
	interval  time.Duration // callInterval
}

// message is the part of an event of the bus that is needed.
type message struct {
	DetailType string `json:"detail-type"`
	Detail     struct {
		ID       string `json:"id"` // of the notification
		Resource struct {
			BrandID      string `json:"brand_id"`
			CardID       string `json:"card_id"`
			OpenID       string `json:"openid"`
			UserCardCode string `json:"user_card_code"`
		} `json:"resource"`
	} `json:"detail"`
}

// An outcome is what became of a message.
type outcome int

const (
	confirmed outcome = iota
	confirmedBefore
	kept         // it comes again
	deadLettered // it can't succeed
	deferred     // no time was left to try it
	outcomes
)

// names are those of the outcomes in the log.
var names = [outcomes]string{"confirmed", "confirmed_before", "kept", "dead_lettered", "deferred"}

// confirm confirms the cards of a batch one after the other. It returns the messages
// that SQS has to keep. It does not return before the interval after the last call
// has passed, so that the rate holds whichever instance is next.
func (b *batches) confirm(ctx context.Context, messages []events.SQSMessage) events.SQSEventResponse {
	ctx, record := b.log.Begin(ctx, invocation.ID(ctx))
	ctx, cancel := invocation.WithReserve(ctx)
	defer cancel()
	response := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	var counts [outcomes]int
	for _, m := range messages {
		result := deferred
		if b.timeout(ctx) >= minCallTime {
			result = b.settle(ctx, m)
		}
		counts[result]++
		if result == kept || result == deferred {
			response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
		}
	}
	level, code := slog.LevelInfo, "OK"
	if len(response.BatchItemFailures) > 0 || counts[deadLettered] > 0 {
		level, code = slog.LevelWarn, "CONFIRMATIONS_FAILED"
	}
	attrs := []slog.Attr{slog.Int("messages", len(messages))}
	for result, n := range counts {
		attrs = append(attrs, slog.Int(names[result], n))
	}
	record.End(ctx, level, "batch confirmed", code, attrs...)
	return response
}

// settle confirms the card of one message and decides what becomes of the message.
// What may pass (429, 5xx, no answer, a secret that can't be read) is tried again
// later, any other refusal is final.
func (b *batches) settle(ctx context.Context, m events.SQSMessage) outcome {
	var event message
	err := b.try(ctx, m.Body, &event)
	if err == nil {
		return confirmed
	}
	refusal := apierror.From(err)
	mayPass := apierror.Transient(refusal.Status)
	if !mayPass && isConfirmedAlready(refusal) {
		return confirmedBefore
	}
	b.reportFailure(ctx, event, refusal)
	err = nil
	switch {
	case mayPass:
		err = b.queue.delay(ctx, m, refusal.RetryAfter)
	case b.queue.hasDeadLetters():
		err = b.queue.bury(ctx, m, refusal.Code)
	}
	if err != nil {
		b.reportQueueFailure(ctx, event, err)
	}
	if mayPass || err != nil || !b.queue.hasDeadLetters() {
		return kept
	}
	return deadLettered
}

// try confirms the card of an event, and then lets the interval pass. A panic
// becomes an error.
func (b *batches) try(ctx context.Context, body string, event *message) (err error) {
	defer func() {
		if value := recover(); value != nil {
			telemetry.Annotate(ctx, slog.String("stack", string(debug.Stack())))
			err = apierror.FromPanic(value)
		}
	}()
	if json.Unmarshal([]byte(body), event) != nil || !strings.HasSuffix(event.DetailType, ".USER_CARD.CREATE") {
		return malformed(errors.New("the message is not an event of type *.USER_CARD.CREATE"))
	}
	card := event.Detail.Resource
	r := request{BrandID: card.BrandID, CardID: card.CardID, OpenID: card.OpenID, UserCardConfirmState: created}
	if err := r.validate(card.UserCardCode); err != nil {
		return malformed(err)
	}
	defer wait(ctx, b.interval)
	ctx, cancel := context.WithTimeout(ctx, b.timeout(ctx))
	defer cancel()
	// The queue repeats it, at a rate that WeChat Pay allows.
	_, err = confirm(ctx, b.wechatpay, card.UserCardCode, r, upstream.Once)
	return err
}

// timeout returns the time for a call. It leaves time for the interval after the call
// and for delaying or moving the message.
func (b *batches) timeout(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(callTimeout, time.Until(deadline)-b.interval-queueTimeout)
	}
	return callTimeout
}

// malformed is an event that can't be confirmed, however often it comes.
func malformed(cause error) *apierror.Error {
	return &apierror.Error{
		Status:  http.StatusBadRequest,
		Code:    "EVENT_MALFORMED",
		Message: "the event can't be confirmed",
		Cause:   cause,
		Cure:    "look at the event in the dead-letter queue; confirm the card with POST …/user-cards/{user_card_code}/confirm if it is good",
	}
}

// reportFailure logs a message whose card is not confirmed. WeChat's message may
// repeat what identifies the user, so that is left out.
func (b *batches) reportFailure(ctx context.Context, event message, refusal *apierror.Error) {
	cause := refusal.Error()
	for _, private := range []string{event.Detail.Resource.OpenID, event.Detail.Resource.UserCardCode} {
		if private != "" {
			cause = strings.ReplaceAll(cause, private, "…")
		}
	}
	b.log.Failure(ctx, refusal.Metric(), "a card is not confirmed", errors.New(cause), refusal.Cure,
		slog.String("code", refusal.Code), slog.String("event_id", event.Detail.ID), slog.String("wechat_request_id", refusal.RequestID))
}

// reportQueueFailure logs a message that could be neither delayed nor moved to the
// dead-letter queue. It comes again after the queue's visibility timeout.
func (b *batches) reportQueueFailure(ctx context.Context, event message, err error) {
	b.log.Failure(ctx, telemetry.OperatorErrors, "a message could not be delayed or moved", err,
		"check CONFIRM_QUEUE_URL and CONFIRM_DEAD_LETTER_QUEUE_URL, and that the function's role has sqs:ChangeMessageVisibility for the one and sqs:SendMessage for the other",
		slog.String("event_id", event.Detail.ID))
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
