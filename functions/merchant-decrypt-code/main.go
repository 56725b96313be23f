// Command merchant-decrypt-code is the Lambda function that decrypts the encrypt_code
// with which WeChat sends a user to the merchant's page to activate a card.
package main

import (
	"membercard/shared/gateway"
	"membercard/shared/merchantclient"
)

func main() { gateway.Start(merchantclient.New, decrypt) }
