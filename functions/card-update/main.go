// Command card-update is the Lambda function that changes the links of a card on
// request: its mini-program entries and the H5 links beside them.
package main

import (
	"membercard/shared/accountclient"
	"membercard/shared/gateway"
)

func main() { gateway.Start(accountclient.NewWarm, update) }
