// Package merchantclient wires the client that signs as the merchant, for every
// function that calls WeChat Pay.
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

// New returns a client for the merchant's secret (MERCHANT_SECRET_ID) and WeChat
// Pay's endpoints (WECHATPAY_ENDPOINTS, by default [signing.Endpoints]). It reads
// the secret and opens a connection at the same time, and returns after 5 s at
// the latest. What failed is tried again by the requests.
func New(log *telemetry.Log) *signing.Client {
	client := unready(log)
	env.DuringInit(client.Warm)
	return client
}

// NewForNotifications is [New] for a function that only verifies notifications: it
// opens no connection, unless platform certificates are needed. It returns after 3 s
// at the latest, because WeChat Pay waits for 5 s in all.
func NewForNotifications(log *telemetry.Log) *signing.Client {
	client := unready(log)
	env.DuringInit(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		client.ReadKeys(ctx)
	})
	return client
}

func unready(log *telemetry.Log) *signing.Client {
	merchant := secret.New(awsconfig.Load(), env.Required("MERCHANT_SECRET_ID"), signing.ParseMerchant, log)
	return signing.NewClient(merchant, env.Upstream("WECHATPAY_ENDPOINTS", signing.Endpoints))
}
