package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"membercard/shared/apierror"
	"membercard/shared/brandcard"
	"membercard/shared/deadline"
	"membercard/shared/eventbus"
	"membercard/shared/invocation"
	"membercard/shared/signing"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
	"membercard/shared/upstream"
)

const (
	// callInterval is the minimum time from the end of a call to the beginning of the
	// next one. WeChat Pay allows 5 confirmations, and 5 queries, a second per merchant number. SQS
	// runs two invocations at a time, the lowest limit that AWS allows, so WeChat Pay
	// gets at most 4 calls in any second. The interval does not begin with the call,
	// because WeChat Pay might then get a slow call and the next one at the same time.
	callInterval = 500 * time.Millisecond
	// callTimeout limits a call. With less than minCallTime left, none is made.
	callTimeout = 5 * time.Second
	minCallTime = time.Second
)

// batches confirms the cards in batches of SQS messages. Each message is an event from the
// event bus whose type ends in .USER_CARD.CREATE.
type batches struct {
	wechatpay *signing.Client // [signing.Client.Once], because the queue repeats calls at a rate that WeChat Pay allows
	queue     *queue
	log       *telemetry.Log
	interval  time.Duration // callInterval, except in tests
}

// message has the members of an event that a confirmation needs.
type message struct {
	source     string
	detailType string
	id         string // ID of the notification
	request    request
	code       string // user_card_code
}

// parseMessage parses an event. Names are compared case-sensitively. A member that is
// missing or not a string stays empty.
func parseMessage(body string) message {
	m := message{request: request{UserCardConfirmState: created}}
	var detail, resource json.RawMessage
	strictjson.Member([]byte(body), "source", &m.source)
	strictjson.Member([]byte(body), "detail-type", &m.detailType)
	strictjson.Member([]byte(body), "detail", &detail)
	strictjson.Member(detail, "id", &m.id)
	strictjson.Member(detail, "resource", &resource)
	strictjson.Member(resource, "brand_id", &m.request.BrandID)
	strictjson.Member(resource, "card_id", &m.request.CardID)
	strictjson.Member(resource, "openid", &m.request.OpenID)
	strictjson.Member(resource, "user_card_code", &m.code)
	return m
}

// An outcome is what happened to a message.
type outcome string

const (
	confirmed       outcome = "confirmed"
	confirmedBefore outcome = "confirmed_before" // refused, because the card was EFFECTIVE
	kept            outcome = "kept"             // failed, and will be tried again
	deadLettered    outcome = "dead_lettered"    // can't succeed
	deferred        outcome = "deferred"         // not tried, or not asked about, because no time was left
)

// confirm confirms the cards of a batch one after the other, and returns the messages that
// SQS has to keep. It returns only after the interval that follows the last call, so that
// the rate limit is kept even if another instance gets the next batch.
func (b *batches) confirm(ctx context.Context, messages []events.SQSMessage) events.SQSEventResponse {
	ctx, record := b.log.Begin(ctx, invocation.ID(ctx))
	ctx, cancel := deadline.WithReserve(ctx)
	defer cancel()
	response := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	counts := map[outcome]int{}
	var age time.Duration // of the oldest card that is not done
	repeated := false     // a card was tried before
	for _, m := range messages {
		result := deferred
		if b.timeout(ctx) >= minCallTime {
			result = b.process(ctx, m)
		}
		counts[result]++
		if result == kept || result == deferred {
			response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
			age = max(age, ageOf(m))
		}
		repeated = repeated || received(m) > 1
	}
	level, code := slog.LevelInfo, "OK"
	if len(response.BatchItemFailures) > 0 || counts[deadLettered] > 0 {
		level, code = slog.LevelWarn, "CONFIRMATIONS_FAILED"
	}
	attrs := []slog.Attr{slog.Int("messages", len(messages))}
	for _, result := range []outcome{confirmed, confirmedBefore, kept, deadLettered, deferred} {
		attrs = append(attrs, slog.Int(string(result), counts[result]))
	}
	if len(response.BatchItemFailures) > 0 || repeated {
		record.Measure(telemetry.ConfirmAge, int(age/time.Second))
	}
	record.End(ctx, level, "batch confirmed", code, attrs...)
	return response
}

// process confirms the card of a message, and moves the message on if that fails. After a
// failure that may be temporary (429, 5xx, no answer, an unreadable secret) the message
// is tried again later, maxReceives times in all. Any other refusal is final, unless its words
// say that the card is confirmed already and WeChat Pay's query agrees.
func (b *batches) process(ctx context.Context, m events.SQSMessage) outcome {
	event := parseMessage(m.Body)
	err := b.try(ctx, event)
	if err == nil {
		return confirmed
	}
	refusal := apierror.From(err)
	if isConfirmedAlready(refusal) {
		if b.timeout(ctx) < minCallTime {
			return deferred
		}
		state, err := b.query(ctx, event)
		switch failure := apierror.From(err); {
		case err == nil && state == brandcard.Effective:
			return confirmedBefore
		case err != nil && apierror.Transient(failure.Status):
			refusal = failure
		}
	}
	temporary := apierror.Transient(refusal.Status) && received(m) < maxReceives
	b.reportFailure(ctx, event, refusal)
	switch {
	case temporary:
		err = b.queue.delay(ctx, m, refusal.RetryAfter)
	case b.queue.deadLetters != "":
		err = b.queue.sendToDeadLetters(ctx, m, refusal)
	default:
		return kept
	}
	if err != nil {
		b.reportQueueFailure(ctx, event, err)
	}
	if temporary || err != nil {
		return kept
	}
	return deadLettered
}

func (b *batches) try(ctx context.Context, event message) error {
	switch {
	case event.source == "" && event.detailType == "":
		return malformed(errors.New("the message is not an event"))
	case event.source != eventbus.Source:
		return foreign()
	case !strings.HasSuffix(event.detailType, ".USER_CARD.CREATE"):
		return malformed(errors.New("the event's type is not *.USER_CARD.CREATE"))
	}
	if err := event.request.validate(event.code); err != nil {
		return malformed(err)
	}
	_, err := b.call(ctx, func(ctx context.Context) (*upstream.Answer, error) {
		return confirm(ctx, b.wechatpay, event.code, event.request)
	})
	return err
}

func (b *batches) query(ctx context.Context, event message) (state string, err error) {
	card := brandcard.Card{UserCardCode: event.code, BrandID: event.request.BrandID, CardID: event.request.CardID, OpenID: event.request.OpenID}
	answer, err := b.call(ctx, func(ctx context.Context) (*upstream.Answer, error) { return b.wechatpay.Get(ctx, card.Path()) })
	if err != nil {
		return "", err
	}
	return brandcard.State(answer.Body), answer.RequireObject()
}

// call makes a call of WeChat Pay, and then waits for the interval. A panic becomes an error.
func (b *batches) call(ctx context.Context, send func(context.Context) (*upstream.Answer, error)) (answer *upstream.Answer, err error) {
	defer apierror.Recover(ctx, &err)
	defer deadline.Sleep(ctx, b.interval)
	ctx, cancel := context.WithTimeout(ctx, b.timeout(ctx))
	defer cancel()
	return send(ctx)
}

// timeout returns the timeout of a call. It leaves time for the interval after the call,
// and for a request to SQS that delays or moves the message.
func (b *batches) timeout(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(callTimeout, time.Until(deadline)-b.interval-queueTimeout)
	}
	return callTimeout
}

func malformed(cause error) *apierror.Error {
	return &apierror.Error{
		Status:  http.StatusBadRequest,
		Code:    "EVENT_MALFORMED",
		Message: "the event can't be confirmed",
		Cause:   cause,
		Cure:    "look at the event in the dead-letter queue; confirm the card with POST …/user-cards/{user_card_code}/confirm if it is good",
	}
}

// foreign returns the error for an event that card-events did not put on the bus. WeChat
// Pay's signature does not vouch for it.
func foreign() *apierror.Error {
	return &apierror.Error{
		Status:  http.StatusBadRequest,
		Code:    "EVENT_FOREIGN",
		Message: "the event is not from card-events",
		Cause:   errors.New("the event's source is not " + eventbus.Source),
		Cure:    "find out who else may put messages into the queue or events on the bus, and take that permission away; discard the message",
	}
}

// reportFailure logs that a card was not confirmed. WeChat's message is not logged: the
// dead letter has it.
func (b *batches) reportFailure(ctx context.Context, event message, refusal *apierror.Error) {
	attrs := []slog.Attr{slog.String("code", refusal.Code), telemetry.NotificationID("event_id", event.id), slog.String("wechat_request_id", refusal.RequestID)}
	if refusal.Detail != nil {
		attrs = append(attrs, slog.String("field", refusal.Detail.KnownField()))
	}
	metric := refusal.Metric()
	if metric == telemetry.Throttled {
		metric = "" // nobody waits for the answer
	}
	b.log.Failure(ctx, metric, "a card is not confirmed", refusal, refusal.Cure, attrs...)
}

// reportQueueFailure logs that a message could not be delayed, or not be sent to the
// dead-letter queue. SQS delivers it again after the queue's visibility timeout.
func (b *batches) reportQueueFailure(ctx context.Context, event message, err error) {
	b.log.Failure(ctx, telemetry.OperatorErrors, "a message could not be delayed or moved", err,
		"check CONFIRM_QUEUE_URL and CONFIRM_DEAD_LETTER_QUEUE_URL, and that the function's role has sqs:ChangeMessageVisibility for the one and sqs:SendMessage for the other",
		telemetry.NotificationID("event_id", event.id))
}
