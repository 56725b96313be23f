// Command merchant-activate-information is the Lambda function that returns what a
// user filled in to activate a merchant card. It is personal data.
package main

import (
	"membercard/shared/gateway"
	"membercard/shared/merchantclient"
)

func main() { gateway.Start(merchantclient.New, information) }
