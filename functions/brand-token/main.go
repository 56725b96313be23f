// Command brand-token is the Lambda function for the brand
// pre-authorisation: with its token an H5 page or a mini program brings up
// WeChat's card-opening component for a user of the brand.
package main

import (
	"context"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/gateway"
	"membercard/shared/secret"
	"membercard/shared/signing"
)

func main() {
	log := env.Log()
	merchant := secret.New(awsconfig.Config(), env.Required("MERCHANT_SECRET_ID"), signing.ParseMerchant, log)
	wechatpay := signing.NewClient(merchant, env.Upstream("WECHATPAY_ENDPOINTS", signing.Endpoints))

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	wechatpay.Warm(ctx)
	cancel()

	h := handler{wechatpay}
	lambda.Start(gateway.Handler{Operation: h.mint, Log: log})
}
