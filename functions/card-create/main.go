// Command card-create is the Lambda function that creates a card of the official account,
// with its mini-program entries and the H5 links beside them.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/accountclient"
	"membercard/shared/env"
	"membercard/shared/gateway"
	"membercard/shared/officialaccount"
	"membercard/shared/telemetry"
)

func main() {
	log := env.Log()
	lambda.Start(newHandler(log, accountclient.NewWarm(log)))
}

// newHandler returns the function's handler. A body may have 64 KiB, because a card has
// long texts.
func newHandler(log *telemetry.Log, wechat *officialaccount.Client) gateway.Handler {
	h := gateway.NewHandler(log, wechat, create)
	h.MaxBody = 64 << 10
	return h
}
