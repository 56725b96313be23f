// Command merchant-card is the Lambda function that returns a user's merchant card. It has
// personal data.
package main

import (
	"membercard/shared/gateway"
	"membercard/shared/merchantclient"
)

func main() { gateway.Start(merchantclient.New, query) }
