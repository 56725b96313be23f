package main

import (
	"testing"

	"membercard/shared/invocation"
	"membercard/shared/officialaccount"
	wechattest "membercard/shared/officialaccount/officialaccounttest"
	"membercard/shared/plansync"
	"membercard/shared/telemetry/telemetrytest"
	"membercard/shared/tlsdial/tlsdialtest"
)

func TestMain(m *testing.M) { tlsdialtest.Main(m) }

const (
	cardID = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	taken  = `{"errcode":0,"errmsg":"ok","send_check":false}` // the answer of /card/update

	pair         = `"custom_app_brand_user_name":"gh_86a091e50ad4@app","custom_app_brand_pass":"API/cardPage"`
	activatePair = `"activate_app_brand_user_name":"gh_86a091e50ad4@app","activate_app_brand_pass":"API/cardPage"`
)

// newFunction returns the function that main starts, and its log.
func newFunction(from officialaccount.Source, endpoint string, plan plansync.Object) (invocation.Action, *telemetrytest.Records) {
	log, records := telemetrytest.New()
	s := &syncer{wechat: wechattest.Client(from, endpoint), checkpoint: plan.Beside(plansync.CardSync), log: log}
	sync := plansync.Sync{Log: log, Plan: plan, Lease: plansync.CardSyncLease, Has: has, Apply: s.sync}
	return invocation.Action{Log: log, Name: "sync", Do: sync.Invoke}, records
}
