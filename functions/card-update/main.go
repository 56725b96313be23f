// Command card-update is the Lambda function for the fields of cards that lead
// to mini programs and H5 pages: it changes them on request, and keeps them as a
// plan says.
package main

import (
	"context"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/gateway"
	"membercard/shared/officialaccount"
	"membercard/shared/secret"
	"membercard/shared/telemetry"
)

func main() {
	log, aws := env.Log(), awsconfig.Config()
	account := secret.New(aws, env.Required("OFFICIAL_ACCOUNT_SECRET_ID"), officialaccount.ParseAccount, log)
	wechat := officialaccount.NewClient(account, env.Upstream("WECHAT_ENDPOINTS", officialaccount.Endpoints))
	plans := planObject{
		// An endpoint of one's own has no name for each bucket.
		client: s3.NewFromConfig(aws, func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }),
		bucket: env.Required("CARD_PLAN_BUCKET"),
		key:    env.Required("CARD_PLAN_KEY"),
	}

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	wechat.Warm(ctx)
	cancel()

	lambda.Start(function(wechat, plans, log))
}

// function is all that this Lambda function is invoked for: requests, by API
// Gateway, and syncs, by schedules and by hand.
func function(wechat *officialaccount.Client, plans planObject, log *telemetry.Log) gateway.Function {
	u := updater{wechat}
	s := syncing{syncer: &syncer{wechat: wechat}, plans: plans}
	return gateway.Function{
		Requests: gateway.Handler{Operation: u.update, Log: log},
		Actions:  map[string]gateway.Action{"sync": s.sync},
	}
}
