package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// client does not follow redirects, because the events have personal data.
var client = &http.Client{
	Timeout:       5 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// consumer passes events on to a webhook.
type consumer struct {
	url       string                                // of the webhook
	readToken func(context.Context) (string, error) // reads the webhook's bearer token
	token     string                                // "" until it was read
}

// consume passes on the events of a batch and returns those that SQS has to keep. SQS
// delivers them again, and moves them to the dead-letter queue after some failures.
func (c *consumer) consume(ctx context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
	response := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for _, message := range batch.Records {
		if err := c.pass(ctx, message.Body); err != nil {
			slog.ErrorContext(ctx, "an event was not passed on", "message", message.MessageId, "cause", err.Error())
			response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: message.MessageId})
		}
	}
	return response, nil
}

// pass passes on one event. Its errors contain nothing of the event but its id.
func (c *consumer) pass(ctx context.Context, body string) error {
	var event struct {
		Detail json.RawMessage `json:"detail"`
	}
	var detail struct {
		ID string `json:"id"` // of the notification: the same however often the event comes
	}
	if json.Unmarshal([]byte(body), &event) != nil || json.Unmarshal(event.Detail, &detail) != nil || detail.ID == "" {
		return errors.New("the message is not an event with an id")
	}
	status, err := c.post(ctx, detail.ID, event.Detail)
	if err == nil && status == http.StatusUnauthorized {
		c.token = "" // it may have been rotated
		status, err = c.post(ctx, detail.ID, event.Detail)
	}
	switch {
	case err != nil:
		return fmt.Errorf("event %s: %w", detail.ID, err)
	case status < 200 || status > 299:
		return fmt.Errorf("event %s: the CRM answered %d", detail.ID, status)
	}
	return nil
}

func (c *consumer) post(ctx context.Context, id string, detail []byte) (status int, err error) {
	if c.token == "" {
		if c.token, err = c.readToken(ctx); err != nil {
			return 0, fmt.Errorf("reading the CRM's token: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(detail))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Idempotency-Key", id)
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	const most = 64 << 10 // bytes that are read so that the connection can be used again
	_, _ = io.CopyN(io.Discard, response.Body, most)
	return response.StatusCode, nil
}
