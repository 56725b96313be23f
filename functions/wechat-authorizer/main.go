// Command wechat-authorizer is the Lambda authorizer that lets users of WeChat
// call the API: it turns a login code of a mini program or of an H5 page into a
// proven openid.
package main

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/officialaccount"
	"membercard/shared/secret"
)

func main() {
	log := env.Log()
	apps := secret.New(awsconfig.Config(), env.Required("LOGIN_SECRET_ID"), parseApps, log)
	wechat := env.Upstream("WECHAT_ENDPOINTS", officialaccount.Endpoints)

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	var both sync.WaitGroup
	both.Go(func() { wechat.Open(ctx) })
	both.Go(func() { _, _ = apps.Get(ctx) }) // a failure is logged, and tried again by the requests
	both.Wait()
	cancel()

	a := authorizer{apps: apps, wechat: wechat, log: log}
	lambda.Start(a.authorize)
}
