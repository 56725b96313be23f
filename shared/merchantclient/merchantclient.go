// Package merchantclient makes the client of the functions that call WeChat Pay as the
// merchant from their environment.
package merchantclient

import (
	"context"
	"time"

	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/secret"
	"membercard/shared/signing"
	"membercard/shared/telemetry"
)

// New returns a client for the merchant in the secret MERCHANT_SECRET_ID and the
// endpoints in WECHATPAY_ENDPOINTS, by default [signing.Endpoints]. It runs
// [signing.Client.Warm], for at most 5 s.
func New(log *telemetry.Log) *signing.Client {
	client := newCold(log)
	env.DuringInit(client.Warm)
	return client
}

// NewForNotifications is [New] for a function that only verifies notifications. It runs
// [signing.Client.ReadKeys], for at most 3.3 s: WeChat Pay waits 5 s for the answer to a
// notification, and the first one needs a second after that.
func NewForNotifications(log *telemetry.Log) *signing.Client {
	client := newCold(log)
	env.DuringInit(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 3300*time.Millisecond)
		defer cancel()
		client.ReadKeys(ctx)
	})
	return client
}

func newCold(log *telemetry.Log) *signing.Client {
	merchant := secret.New(awsconfig.Load(), env.Required("MERCHANT_SECRET_ID"), signing.ParseMerchant, log)
	return signing.NewClient(merchant, env.Upstream("WECHATPAY_ENDPOINTS", signing.Endpoints))
}
