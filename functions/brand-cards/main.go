// Command brand-cards is the Lambda function that returns a user's cards of a brand. They
// have personal data.
package main

import (
	"membercard/shared/gateway"
	"membercard/shared/merchantclient"
)

func main() { gateway.Start(merchantclient.New, list) }
