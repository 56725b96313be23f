// Command wechat-authorizer is the Lambda authorizer that lets users of WeChat
// call the API: it turns a login code of a mini program or of an H5 page into a
// proven openid.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/officialaccount"
	"membercard/shared/secret"
)

func main() {
	log := env.Log()
	apps := secret.New(awsconfig.Load(), env.Required("LOGIN_SECRET_ID"), officialaccount.ParseLogin, log)
	wechat := env.Upstream("WECHAT_ENDPOINTS", officialaccount.Endpoints)
	env.DuringInit(wechat.Open, func(ctx context.Context) { _, _ = apps.Get(ctx) })

	a := authorizer{apps: apps, wechat: wechat, log: log}
	lambda.Start(a.authorize)
}
