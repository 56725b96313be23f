// Command crm-consumer is an example of a consumer of membercard's event bus: a Lambda
// function that passes each event on to the webhook of a merchant's CRM.
//
// The same event may come more than once: WeChat Pay repeats notifications,
// EventBridge and SQS deliver at least once, and an archive can be replayed. So every
// request has the header Idempotency-Key with the event's id, and the CRM does the work
// of a key once. It stores the key in the same transaction as its result. Only the CRM
// can do that. If the function remembered the ids itself, for instance in DynamoDB, a
// crash between the webhook and the table would either lose an event or repeat it.
package main

import (
	"context"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"membercard/shared/awsconfig" // elsewhere use config.LoadDefaultConfig of aws-sdk-go-v2
)

func main() {
	secrets := secretsmanager.NewFromConfig(awsconfig.Load())
	id := os.Getenv("CRM_TOKEN_SECRET_ID")
	c := &consumer{url: os.Getenv("CRM_URL"), readToken: func(ctx context.Context) (string, error) {
		out, err := secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
		if err != nil {
			return "", err
		}
		return aws.ToString(out.SecretString), nil
	}}
	lambda.Start(c.consume)
}
