// Command card-sync is the Lambda function that updates cards to match the card plan: on a
// schedule, when the plan changes, and by hand.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"membercard/shared/accountclient"
	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/invocation"
)

func main() {
	log := env.Log()
	plans := planObject{
		// An S3 at a configured endpoint has no hostname for each bucket.
		client: s3.NewFromConfig(awsconfig.Load(), func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }),
		bucket: env.Required("CARD_PLAN_BUCKET"),
		key:    env.Required("CARD_PLAN_KEY"),
	}
	h := handler{syncer: &syncer{wechat: accountclient.NewWarm(log)}, plans: plans}
	lambda.Start(invocation.Actions{Log: log, ByName: map[string]invocation.Action{"sync": h.sync}})
}
