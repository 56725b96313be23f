// Command brand-token is the Lambda function for the brand
// pre-authorisation: with its token an H5 page or a mini program brings up
// WeChat's card-opening component for a user of the brand.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/env"
	"membercard/shared/gateway"
	"membercard/shared/merchantclient"
)

func main() {
	log := env.Log()
	h := handler{wechatpay: merchantclient.New(log)}
	lambda.Start(gateway.Handler{Operation: h.mint, Log: log})
}
