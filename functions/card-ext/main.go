// Command card-ext is the Lambda function for the parameters with which wx.addCard
// adds cards in a mini program. They are signed with the official account's card
// ticket, which the same function renews on a schedule.
package main

import (
	"context"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"membercard/shared/awsconfig"
	"membercard/shared/env"
	"membercard/shared/gateway"
	"membercard/shared/officialaccount"
	"membercard/shared/secret"
)

func main() {
	log, aws := env.Log(), awsconfig.Config()
	account := secret.New(aws, env.Required("OFFICIAL_ACCOUNT_SECRET_ID"), officialaccount.ParseAccount, log)
	id := env.Required("CARD_TICKET_SECRET_ID")
	stored := secret.New(aws, id, parseTicket, log)
	r := refresher{
		wechat: officialaccount.NewClient(account, env.Upstream("WECHAT_ENDPOINTS", officialaccount.Endpoints)),
		stored: stored,
		secret: secretsmanager.NewFromConfig(aws),
		id:     id,
	}

	// Requests need the ticket only: WeChat is not called for them.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	_, _ = stored.Get(ctx) // a failure is logged, and tried again by the requests
	cancel()

	h := handler{stored}
	lambda.Start(gateway.Function{
		Requests: gateway.Handler{Operation: h.sign, Log: log},
		Actions:  map[string]gateway.Action{"refresh": r.refresh},
	})
}
