package wechatpay

import (
	"testing"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
)

// While a certificate is being replaced, the old one and the new one are in force.
func TestCertificatesOfTheMerchantInForce(t *testing.T) {
	s := newSandbox(t)
	old := libraryClient(t, s, PublicKey)
	s.IssueMerchantKey()
	renewed := libraryClient(t, s, PublicKey)
	works := func(c *core.Client) bool {
		answer, err := post(c, s.Endpoints()[0]+"/v3/security/echo", `{"echo_message":"hello"}`)
		return err == nil && answer["echo_message"] == "hello"
	}
	if !works(old) || !works(renewed) {
		t.Error("a certificate in force is refused")
	}
	s.RevokeOldMerchantKeys()
	if works(old) || !works(renewed) {
		t.Error("the old certificate is accepted, or the new one refused")
	}
}
