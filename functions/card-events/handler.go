package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/gateway"
	"membercard/shared/signing"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

const (
	// maxBody is the maximum size of a notification.
	maxBody = 64 << 10
	// timeout leaves time to answer within 4.5 s. WeChat Pay waits 5 s.
	timeout = 4300 * time.Millisecond
	// minTimeout is the minimum timeout of the first notification.
	minTimeout = time.Second
)

func newHandler(log *telemetry.Log, wechatpay *signing.Client, bus *bus) gateway.Handler {
	h := handler{wechatpay, bus}
	return gateway.Handler{Operation: h.receive, Log: log, MaxBody: maxBody, Timeout: timeout, ErrorBody: fail}
}

type handler struct {
	wechatpay *signing.Client
	bus       *bus
}

// receive verifies and decrypts a notification and puts it on the bus. It answers 204 only
// after the bus has taken the event. WeChat Pay sends the notification again after any
// other answer, so every notification gets to the bus at least once. Every request that is
// not signed gets the same answer, also one that is too large or not base64, so that its
// sender learns nothing.
func (h handler) receive(ctx context.Context, r *gateway.Request) (*gateway.Response, error) {
	if err := signing.CheckHeaders(r.Header()); err != nil {
		return nil, err
	}
	body, err := r.Body()
	if err != nil {
		return nil, apierror.SignatureInvalid(errors.New(apierror.From(err).Message))
	}
	notification, err := h.wechatpay.Notification(ctx, r.Header(), body)
	if err != nil {
		return nil, err
	}
	telemetry.Annotate(ctx, telemetry.NotificationID("id", notification.ID), telemetry.EventType("event_type", notification.EventType))
	if err := h.bus.put(ctx, notification); err != nil {
		return nil, err
	}
	return &gateway.Response{Status: http.StatusNoContent}, nil
}

// fail returns the body of an error answer, as WeChat Pay documents it for notifications.
func fail(e *apierror.Error) []byte {
	return strictjson.Encode(struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{"FAIL", e.Message})
}

// deductInit is a handler that deducts the duration of init from the timeout of its first
// notification, because WeChat Pay waited for init as well. If Lambda started the instance
// in advance, WeChat Pay did not wait, and the timeout is shorter than necessary. That does
// no harm: WeChat Pay sends a notification again that was not processed in time.
type deductInit struct {
	gateway.Handler
	begun time.Time // when init began
	first sync.Once
}

// Invoke implements lambda.Handler.
func (d *deductInit) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	h := d.Handler
	d.first.Do(func() { h.Timeout = max(timeout-time.Since(d.begun), minTimeout) })
	return h.Invoke(ctx, event)
}
