// Command card-update is the Lambda function that changes the links of a card on
// request: its mini-program entries and the H5 links beside them.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/accountclient"
	"membercard/shared/env"
	"membercard/shared/gateway"
)

func main() {
	log := env.Log()
	h := handler{wechat: accountclient.NewWarm(log)}
	lambda.Start(gateway.Handler{Operation: h.update, Log: log})
}
