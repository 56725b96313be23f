package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"membercard/shared/apierror"
	"membercard/shared/deadline"
	"membercard/shared/invocation"
	"membercard/shared/signing"
	"membercard/shared/strictjson"
	"membercard/shared/telemetry"
)

type handler struct {
	wechatpay *signing.Client
	notifyURL string // where WeChat Pay sends the notification; may be empty
}

type request struct {
	Action string `json:"action"`
	Notify bool   `json:"notify"`
}

// check runs WeChat Pay's self-test (POST /v3/security/echo, 商户签名验签/加解密测试) and
// returns its steps. The event is {"action": "check"}. With "notify": true, WeChat Pay also
// sends a notification to NOTIFY_URL, which tests apiv3_key.
//
// If a step fails, check returns an error that names the step and the cure, so that Lambda
// counts the invocation as failed.
func (h *handler) check(ctx context.Context, record *telemetry.Record, event []byte) ([]byte, error) {
	var r request
	if err := invocation.Decode(event, &r); err != nil {
		return nil, err
	}
	notifyURL := ""
	if r.Notify {
		notifyURL = h.notifyURL
	}
	result, err := h.selfTest(ctx, notifyURL)
	if err != nil {
		step := result.Failed()
		record.Count(telemetry.KeyCheckFailures)
		record.End(ctx, slog.LevelError, "the key check failed", apierror.From(err).Code, slog.String("step", step.Name),
			slog.String("cause", step.Name+": "+step.Cause), slog.String("cure", step.Cure))
		return nil, fmt.Errorf("the key check failed at %q: %s; cure: %s", step.Name, step.Cause, step.Cure)
	}
	if r.Notify && notifyURL == "" {
		result.Skip(signing.StepNotification, "NOTIFY_URL is empty: set it to the URL of /wechatpay/notifications")
	}
	record.End(ctx, slog.LevelInfo, "keys checked", "OK", slog.Any("steps", result.Steps))
	return strictjson.Encode(result), nil
}

const minCheck = 2 * time.Second

// selfTest runs the self-test. It waits out a 429, as long as there is time: nobody waits
// for the answer, and a limit says nothing about the keys.
func (h *handler) selfTest(ctx context.Context, notifyURL string) (*signing.SelfTest, error) {
	for {
		result, err := h.wechatpay.SelfTest(ctx, notifyURL)
		limit, ok := errors.AsType[*apierror.Error](err)
		if !ok || limit.Status != http.StatusTooManyRequests {
			return result, err
		}
		if !deadline.Leaves(ctx, limit.RetryAfter+minCheck) || !deadline.Sleep(ctx, limit.RetryAfter) {
			return result, err
		}
	}
}
