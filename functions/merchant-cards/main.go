// Command merchant-cards is the Lambda function that returns the codes of a user's merchant
// cards.
package main

import (
	"membercard/shared/gateway"
	"membercard/shared/merchantclient"
)

func main() { gateway.Start(merchantclient.New, list) }
