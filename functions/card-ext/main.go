// Command card-ext is the Lambda function that signs the parameters of wx.addCard with the
// official account's card ticket. It also renews the ticket, on a schedule.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"membercard/shared/accountclient"
	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/gateway"
	"membercard/shared/invocation"
	"membercard/shared/secret"
)

func main() {
	log, aws, id := env.Log(), awsconfig.Load(), env.Required("CARD_TICKET_SECRET_ID")
	stored := secret.New(aws, id, parseTicket, log)
	r := refresher{wechat: accountclient.New(log), stored: stored, client: secretsmanager.NewFromConfig(aws), id: id}
	// Requests need only the ticket, so init opens no connection to WeChat.
	env.DuringInit(func(ctx context.Context) { _, _ = stored.Get(ctx) })
	lambda.Start(invocation.Action{
		Log:      log,
		Name:     "refresh",
		Do:       r.refresh,
		Requests: gateway.NewHandler(log, tickets(stored), sign),
	})
}
