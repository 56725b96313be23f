// Command shop is a shop with members, whole and small: a page that opens a card and greets
// the member, a login, the page that activates cards of JUMP_ACTIVATE, and a consumer of the
// event bus that keeps the members. Copy it, and change what is yours.
//
// On one machine it runs beside the local stack (see local.go):
//
//	go run ./local
//	go run ./examples/shop
//
// In AWS it is two functions, web and consume, and a table: see template.yaml.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// The shop's cards.
const (
	brandID      = "1004"
	brandCard    = "pbLatjvWOibDc5-TBnbUk1pD12o0"
	merchantCard = "pbLatjvWOibDc5-TBnbUk1pD12o0"
)

func main() {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		runLocally()
		return
	}
	ctx := context.Background()
	aws, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	s := &shop{page: page, scheme: "https", members: &table{dynamodb.NewFromConfig(aws), os.Getenv("MEMBERS_TABLE")}}
	if os.Getenv("_HANDLER") == "consume" {
		lambda.Start(s.consume)
		return
	}
	s.membercard = &membercard{os.Getenv("MEMBERCARD_API"), aws.Region, aws.Credentials}
	if s.account, err = readAccount(ctx, secretsmanager.NewFromConfig(aws), os.Getenv("ACCOUNT_SECRET_ID")); err != nil {
		log.Fatal(err)
	}
	lambda.Start(serveLambda(s.handler()))
}

// readAccount reads the official account's secret, {"appid": "wx…", "secret": "…"}.
func readAccount(ctx context.Context, c *secretsmanager.Client, id string) (*account, error) {
	out, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return nil, err
	}
	a := &account{authorize: "https://open.weixin.qq.com/connect/oauth2/authorize", api: "https://api.weixin.qq.com", client: client}
	return a, json.Unmarshal([]byte(*out.SecretString), a)
}
