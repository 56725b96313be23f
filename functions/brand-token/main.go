// Command brand-token is the Lambda function for the brand
// pre-authorisation: with its token an H5 page or a mini program brings up
// WeChat's card-opening component for a user of the brand.
package main

import (
	"membercard/shared/gateway"
	"membercard/shared/merchantclient"
)

func main() { gateway.Start(merchantclient.New, mint) }
