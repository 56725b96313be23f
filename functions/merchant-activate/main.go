// Command merchant-activate is the Lambda function that activates a user's merchant
// card after JUMP_ACTIVATE. Until then the card can't be used.
package main

import (
	"membercard/shared/gateway"
	"membercard/shared/merchantclient"
)

func main() { gateway.Start(merchantclient.New, activate) }
