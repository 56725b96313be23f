// Command merchant-confirm is the Lambda function that tells WeChat Pay whether the
// merchant's own registration of a new member succeeded.
package main

import (
	"membercard/shared/gateway"
	"membercard/shared/merchantclient"
)

func main() { gateway.Start(merchantclient.New, confirm) }
