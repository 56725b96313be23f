// Command card-events is the Lambda function that receives WeChat Pay's notifications of
// membership cards and puts them on an EventBridge bus.
package main

import (
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/merchantclient"
)

func main() {
	begun := time.Now()
	log := env.Log()
	bus := newBus(awsconfig.Load(), env.Required("EVENT_BUS_NAME"))
	handler := newHandler(log, merchantclient.NewForNotifications(log), bus)
	lambda.Start(&deductInit{Handler: handler, begun: begun})
}
