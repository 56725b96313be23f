// Command key-check is the Lambda function that runs WeChat Pay's self-test of the
// merchant's keys: on a schedule, and by hand. It finds a revoked certificate, a rotated
// public key or a wrong apiv3_key before customers do.
package main

import (
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/env"
	"membercard/shared/invocation"
	"membercard/shared/merchantclient"
)

func main() {
	log := env.Log()
	h := handler{wechatpay: merchantclient.New(log), notifyURL: os.Getenv("NOTIFY_URL")}
	lambda.Start(invocation.Action{Log: log, Name: "check", Do: h.check})
}
