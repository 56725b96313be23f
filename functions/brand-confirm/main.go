// Command brand-confirm is the Lambda function that tells WeChat Pay whether a user became
// a member with a brand card: on request, and for the cards in a queue.
package main

import (
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/merchantclient"
)

func main() {
	log := env.Log()
	queue := newQueue(awsconfig.Load(), os.Getenv("CONFIRM_QUEUE_URL"), os.Getenv("CONFIRM_DEAD_LETTER_QUEUE_URL"))
	lambda.Start(newFunction(log, merchantclient.New(log), queue))
}
