// Command merchant-token is the Lambda function for the merchant
// pre-authorisation: with its permission_token an H5 page or a mini program
// brings up WeChat's card-opening component.
package main

import (
	"context"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/awsenv"
	"membercard/shared/environment"
	"membercard/shared/gateway"
	"membercard/shared/secret"
	"membercard/shared/signing"
)

func main() {
	log := environment.Log()
	merchant := secret.New(awsenv.Config(), environment.Need("MERCHANT_SECRET_ID"), signing.ParseMerchant, log)
	wechatpay := signing.NewClient(merchant, environment.Upstream("WECHATPAY_ENDPOINTS", signing.Endpoints))

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	wechatpay.Warm(ctx)
	cancel()

	h := handler{wechatpay}
	lambda.Start(gateway.Handler{Operation: h.mint, Log: log})
}
