// Command service-module-sync is the Lambda function that brings the service modules of cards
// of the new kind in line with the card plan: on a schedule, when the plan changes, and by
// hand.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/env"
	"membercard/shared/invocation"
	"membercard/shared/merchantclient"
	"membercard/shared/plansync"
)

func main() {
	log, plan := env.Log(), plansync.Plan()
	s := syncer{wechatpay: merchantclient.New(log), memory: plan.Beside(plansync.ServiceModules), log: log}
	sync := plansync.Sync{Log: log, Plan: plan, Lease: plansync.ServiceModulesLease, Has: has, Apply: s.sync}
	lambda.Start(invocation.Action{Log: log, Name: "sync", Do: sync.Invoke})
}
