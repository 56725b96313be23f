// Package accountclient makes the client of the functions that call the official-account
// API from their environment.
package accountclient

import (
	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/officialaccount"
	"membercard/shared/secret"
	"membercard/shared/telemetry"
)

// New returns a client for the official account in the secret OFFICIAL_ACCOUNT_SECRET_ID
// and the endpoints in WECHAT_ENDPOINTS, by default [officialaccount.Endpoints]. It does
// not read the secret yet.
func New(log *telemetry.Log) *officialaccount.Client {
	account := secret.New(awsconfig.Load(), env.Required("OFFICIAL_ACCOUNT_SECRET_ID"), officialaccount.ParseAccount, log)
	return officialaccount.NewClient(account, env.Upstream("WECHAT_ENDPOINTS", officialaccount.Endpoints))
}

// NewWarm is [New] for functions that call WeChat in every invocation. It also runs
// [officialaccount.Client.Warm], for at most 5 s.
func NewWarm(log *telemetry.Log) *officialaccount.Client {
	client := New(log)
	env.DuringInit(client.Warm)
	return client
}
