// Command card-code is the Lambda function that decrypts the code of a card that a
// page got from wx.addCard. wx.openCard needs it in the clear.
package main

import (
	"membercard/shared/accountclient"
	"membercard/shared/gateway"
)

func main() { gateway.Start(accountclient.NewWarm, decrypt) }
