// Command card-sync is the Lambda function that updates cards to match the card plan: on a
// schedule, when the plan changes, and by hand.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/accountclient"
	"membercard/shared/env"
	"membercard/shared/invocation"
	"membercard/shared/plansync"
)

func main() {
	log, plan := env.Log(), plansync.Plan()
	s := syncer{wechat: accountclient.NewWarm(log), checkpoint: plan.Beside(plansync.CardSync), log: log}
	sync := plansync.Sync{Log: log, Plan: plan, Lease: plansync.CardSyncLease, Has: has, Apply: s.sync}
	lambda.Start(invocation.Action{Log: log, Name: "sync", Do: sync.Invoke})
}
