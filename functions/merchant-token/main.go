// Command merchant-token is the Lambda function for the merchant
// pre-authorisation: with its permission_token an H5 page or a mini program
// brings up WeChat's card-opening component.
package main

import (
	"membercard/shared/env"
	"membercard/shared/gateway"
	"membercard/shared/merchantclient"
)

func main() { gateway.Start(merchantclient.New, allowedJumps(env.Log()).mint) }
