// Package accountclient wires the client that calls as the official account, for
// every function that calls its API.
package accountclient

import (
	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/officialaccount"
	"membercard/shared/secret"
	"membercard/shared/telemetry"
)

// New returns a client for the official account's secret
// (OFFICIAL_ACCOUNT_SECRET_ID) and WeChat's endpoints (WECHAT_ENDPOINTS, by
// default [officialaccount.Endpoints]). Nothing is read yet: see
// [officialaccount.Client.Warm].
func New(log *telemetry.Log) *officialaccount.Client {
	account := secret.New(awsconfig.Load(), env.Required("OFFICIAL_ACCOUNT_SECRET_ID"), officialaccount.ParseAccount, log)
	return officialaccount.NewClient(account, env.Upstream("WECHAT_ENDPOINTS", officialaccount.Endpoints))
}

// NewWarm is [New] for functions that call WeChat in every invocation: it gets an
// access token and opens a connection at the same time, and returns after 5 s at
// the latest. What failed is tried again by the requests.
func NewWarm(log *telemetry.Log) *officialaccount.Client {
	client := New(log)
	env.DuringInit(client.Warm)
	return client
}
